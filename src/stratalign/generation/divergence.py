"""How far a run's answers lead from the base: the KL divergence along each answer, exact over the vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stratalign.engine import JointEngine, for_each_pack
from stratalign.preferences import Tree

BATCH_TOKENS = 2048
"""Tokens in a batch. A few numbers for each token and word of the vocabulary are held at once: at 150,000 words
and this many tokens 1.2 GB apiece."""


@torch.no_grad()
def divergence_from_base(engine: JointEngine, run: str, answers: Sequence[Tree]) -> list[float]:
    """KL(run || base) of each answer, in nats, summed over its tokens.

    At every position of the answer the divergence between the two next-token distributions (temperature 1) is
    summed over the whole vocabulary, which has the same mean as log pi(y) - log pi_base(y) of sampled answers
    at temperature 1, and less variance. Logarithms are float32 as the logits are, sums over tokens float64.

    Args:
        answers: one-branch trees of prompt and the run's own answer.
    """
    found = [0.0] * len(answers)
    if not engine.bank.specs[run].modules:  # the base itself
        return found

    def measure(_number: int, part: list[int]) -> None:
        batch = engine.collate([answers[i] for i in part])
        passed = engine.base(batch)
        with engine.active(run):
            own = _log_softmax(engine.logits(batch, run, passed))
        base = _log_softmax(engine.base_logits(batch, passed))
        per_label = (own.exp() * own.sub(base)).sum(-1)
        for i, total in zip(part, batch.totals(per_label)[:, 0].tolist(), strict=True):
            found[i] = total

    for_each_pack(engine, answers, measure, most=BATCH_TOKENS, lower="generation.max_new_tokens")
    return found


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
