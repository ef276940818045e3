"""Held-out log-probabilities of every run, by the engine that trained them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from stratalign.engine import JointEngine, collate
from stratalign.preferences import Tree
from stratalign.records import LogProbRecord, Progress, silent


@torch.no_grad()
def evaluate(
    engine: JointEngine,
    runs: Sequence[str],
    trees: Sequence[Tree],
    batch_size: int,
    progress: Progress = silent,
) -> Iterator[LogProbRecord]:
    """One record for each run and held-out pair, batch by batch; log-probabilities summed over tokens, nats."""
    device = next(engine.model.parameters()).device
    for first in range(0, len(trees), batch_size):
        part = trees[first : first + batch_size]
        batch = collate(part, device)
        passed = engine.base(batch)
        for run in runs:
            with engine.active(run):
                policy = engine.forward(batch, run, passed)
            for tree, own, base in zip(part, policy.tolist(), passed.reference.tolist(), strict=True):
                chosen, rejected = (len(branch.ids) - branch.first_label for branch in tree.branches)
                yield LogProbRecord(
                    run=run,
                    prompt_id=tree.row_id,
                    cluster=tree.cluster,
                    chosen=own[0],
                    rejected=own[1],
                    base_chosen=base[0],
                    base_rejected=base[1],
                    tokens_chosen=chosen,
                    tokens_rejected=rejected,
                )
        progress("held-out log-probabilities", min(first + batch_size, len(trees)), len(trees))
