"""How far a run's answers lead from the base: the KL divergence along each answer, exact over the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stratalign.engine import JointEngine, collate
from stratalign.preferences import Tree


@torch.no_grad()
def divergence_from_base(engine: JointEngine, run: str, answers: Sequence[Tree]) -> list[float]:
    """KL(run || base) of each answer, in nats, summed over its tokens.

    At every position of the answer the divergence between the two next-token distributions (temperature 1) is
    summed over the whole vocabulary, which has the same mean as log pi(y) - log pi_base(y) of sampled answers
    at temperature 1, and less variance.

    Args:
        answers: one-branch trees of prompt and the run's own answer.
    """
    device = next(engine.model.parameters()).device
    batch = collate(answers, device)
    passed = engine.base(batch)
    with engine.active(run):
        own = engine.logits(batch, run, passed).double().log_softmax(-1)
    base = engine.base_logits(batch, passed).double().log_softmax(-1)
    per_label = (own.exp() * (own - base)).sum(-1)
    matrix = per_label.new_zeros(batch.ids.shape).index_put((batch.rows, batch.positions), per_label)
    return [float(value) for value in matrix.sum(dim=1)]
