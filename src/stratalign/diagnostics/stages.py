"""Gradients before, during and after a training: those of the base and of every kept adapter, on the same pairs.

Chunks, the base's log-probabilities and the model are shared; one stage's gradients are held at a time. Knows nothing
of recipes, folders or training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratalign.blocks import Site
from stratalign.diagnostics.chunks import cut_chunks
from stratalign.diagnostics.gathering import BASELINE, Gathered, References, chunk_gradients, losses_of
from stratalign.diagnostics.gradients import GradientSettings
from stratalign.diagnostics.loss_table import LossTable
from stratalign.engine import JointEngine
from stratalign.losses import Objective
from stratalign.models import weight_norm
from stratalign.preferences import Tree
from stratalign.records import Progress, silent


def measure_stages(
    engine: JointEngine,
    stages: Mapping[str, float],
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    trees: Sequence[Tree],
    objective: Objective,
    settings: GradientSettings,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Each stage's gradients as `measure_gradients` has them, and how each block's share moved from the first stage.

    Args:
        engine: with every stage attached as a run, its replay starting at layer 0.
        stages: run -> the share of the training done there, in order; the first is what the others are held against.
        trees: training pairs, or demonstrations, of which only `sft` is measured.
        objective, settings, seed: as for `measure_gradients`.

    Returns:
        `stages` [{name, share}]; `losses`: by loss, a list over stages of what the record of gradients has, with
        `changes` by block; `scores`: stage -> module -> the first loss's gradient over the weight's norm.
    """
    chunks = cut_chunks(trees, settings.pairs, settings.chunks, seed)
    losses = losses_of(trees, objective)
    references: References = {}
    first: dict[str, LossTable] = {}
    described: dict[str, list[dict[str, Any]]] = {loss: [] for loss in losses}
    scores: dict[str, dict[str, float]] = {}
    for number, stage in enumerate(stages):
        with engine.active(stage, frozenset()):
            weights = {site.name: weight_norm(engine.model, site.name) for site in sites}
        kept = chunk_gradients(engine, stage, sites, chunks, losses, silent, references)
        own = Gathered(chunks, losses, kept)
        tables = {loss: own.table(loss, sites, blocks, weights) for loss in losses}
        first = first or tables
        for loss, table in tables.items():
            found = table.describe(settings.ratio, None if loss == BASELINE else tables[BASELINE])
            modules = found.pop("modules")
            scores.setdefault(stage, {row["module"]: float(row["relative"] or 0.0) for row in modules})
            changes = {} if number == 0 else table.changes(first[loss])
            described[loss].append({"stage": stage, **found, "changes": changes})
        progress("gradients", number + 1, len(stages))
    return {
        "pairs": sum(map(len, chunks)),
        "clusters": len({tree.cluster for chunk in chunks for tree in chunk}),
        "chunks": len(chunks),
        "stages": [{"name": stage, "share": share} for stage, share in stages.items()],
        "losses": described,
        "scores": scores,
    }
