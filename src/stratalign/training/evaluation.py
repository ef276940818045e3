"""Held-out log-probabilities of every run, by the engine that trained them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from stratalign.engine import JointEngine, for_each_pack
from stratalign.preferences import Tree
from stratalign.records import LogProbRecord, Progress, silent


@torch.no_grad()
def evaluate(
    engine: JointEngine,
    runs: Sequence[str],
    trees: Sequence[Tree],
    progress: Progress = silent,
) -> Iterator[LogProbRecord]:
    """One record for each run and held-out row, in that order; log-probabilities summed over tokens, nats.

    Rows are all pairs or all demonstrations.
    """
    found: dict[tuple[str, int], LogProbRecord] = {}

    def record(_number: int, part: list[int]) -> None:
        batch = engine.collate([trees[i] for i in part])
        passed = engine.base(batch)
        for run in runs:
            with engine.active(run):
                policy = engine.forward(batch, run, passed)
            for i, own, base in zip(part, policy.tolist(), passed.reference.tolist(), strict=True):
                found[run, i] = _record(run, trees[i], own, base)
        progress("held-out log-probabilities", len(found) // len(runs), len(trees))

    for_each_pack(engine, trees, record)
    yield from (found[run, i] for run in runs for i in range(len(trees)))


def _record(run: str, tree: Tree, own: Sequence[float], base: Sequence[float]) -> LogProbRecord:
    tokens = [len(branch.ids) - branch.first_label for branch in tree.branches]
    paired = len(tree.branches) > 1
    return LogProbRecord(
        run=run,
        prompt_id=tree.row_id,
        cluster=tree.cluster,
        chosen=own[0],
        rejected=own[1] if paired else None,
        base_chosen=base[0],
        base_rejected=base[1] if paired else None,
        tokens_chosen=tokens[0],
        tokens_rejected=tokens[1] if paired else None,
    )
