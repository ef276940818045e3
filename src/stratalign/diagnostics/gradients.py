"""Gradients: where the gradient of each loss lies, by module, layer and block, and how surely (Hypothesis 2).

The gradient is that of the effective weights, on training pairs, at the model as it is: the base, or a run of a study.
Beside every preference loss stands plain likelihood of the chosen responses, on the same pairs: what both show
says nothing about preferences. Knows nothing of recipes, folders or other objectives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stratalign.blocks import Site
from stratalign.diagnostics.chunks import cut_chunks
from stratalign.diagnostics.concentration import Estimate, cosines, jackknife
from stratalign.diagnostics.gathering import BASELINE, Gathered, chunk_gradients, losses_of
from stratalign.engine import JointEngine
from stratalign.losses import Objective
from stratalign.models import weight_norm
from stratalign.preferences import Tree
from stratalign.records import Progress, silent


class GradientSettings(BaseModel):
    """What `diagnose gradients` reads; all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(256, ge=8, description="training pairs, drawn by cluster")
    chunks: int = Field(16, ge=4, description="parts of the pairs that intervals are taken over")
    ratio: float = Field(
        2.0, gt=1, description="a block's gradient is much greater than another's from this ratio on"
    )
    against: list[str] = Field(
        [],
        description="other preference sources to measure beside the recipe's own, as in preferences.source",
    )
    run: str | None = Field(
        None, description="a trained run of the study's folder to measure; null: the base"
    )
    adapter: str | None = Field(None, description="a PEFT adapter folder to measure in place of a run")
    stages: bool = Field(
        False, description="measure before, during and after the training that `diagnose significance` keeps"
    )


def measure_gradients(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    sources: Mapping[str, Sequence[Tree]],
    objective: Objective,
    settings: GradientSettings,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The gradients of every preference source, and the cosines between them, as plain numbers for a record.

    Args:
        engine: with the run attached and its replay starting at layer 0, so that every module is reached.
        run: base, or a run with an adapter.
        sites: the linear modules to measure.
        blocks: of the partition, name -> layers.
        sources: training pairs, or demonstrations, of which only `sft` can be measured; by source.
        objective: the preference loss.
        seed: draws the pairs and chunks.
    """
    gathered: dict[str, Gathered] = {}
    with engine.active(run, frozenset()):
        weights = {site.name: weight_norm(engine.model, site.name) for site in sites}
        for source, trees in sources.items():
            chunks = cut_chunks(trees, settings.pairs, settings.chunks, seed)
            losses = losses_of(trees, objective)
            kept = chunk_gradients(engine, run, sites, chunks, losses, progress)
            gathered[source] = Gathered(chunks, losses, kept)
    return {
        "sources": {
            source: _describe(own, sites, blocks, weights, settings.ratio) for source, own in gathered.items()
        },
        "cosines": _cosines(gathered, sites, blocks),
    }


def gradient_signals(measured: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What selectors may choose by: module -> a number, for the first loss of a source that was measured.

    `relative` is the gradient's norm over the weight's (Auto-RGN: Lee et al. 2023, arXiv:2210.11466, section 4).
    """
    first = next(iter(measured["losses"].values()))
    keys = ("relative", "per_root_parameter", "norm")
    return {key: {row["module"]: float(row[key] or 0.0) for row in first["modules"]} for key in keys}


def _describe(
    own: Gathered,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    weights: Mapping[str, float],
    ratio: float,
) -> dict[str, Any]:
    tables = {loss: own.table(loss, sites, blocks, weights) for loss in own.losses}
    baseline = tables[BASELINE]
    return {
        "pairs": int(own.sizes.sum()),
        "clusters": len({tree.cluster for chunk in own.chunks for tree in chunk}),
        "chunks": len(own.chunks),
        "losses": {
            loss: table.describe(ratio, None if table is baseline else baseline)
            for loss, table in tables.items()
        },
    }


def _cosines(
    gathered: Mapping[str, Gathered], sites: Sequence[Site], blocks: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """Cosines between the losses of one source, and between sources of one loss: over all modules, and by block.

    Chunks are left out together, the n-th of both: where clusters have the same names in both sources, these are the
    same people. With fewer chunks in one source, the other's last ones are not used.
    """
    places = {"all": [True] * len(sites)} | {
        name: [site.layer in layers for site in sites] for name, layers in blocks.items()
    }
    rows = np.array(list(places.values()), dtype=np.float64)
    found = []
    every = [(source, loss) for source, own in gathered.items() for loss in own.losses]
    for (source, loss), (other_source, other_loss) in combinations(every, 2):
        if source != other_source and loss != other_loss:
            continue
        one, two = gathered[source], gathered[other_source]
        count = min(len(one.chunks), len(two.chunks))
        pairs = ((one, loss, one, loss), (one, loss, two, other_loss), (two, other_loss, two, other_loss))
        grams = np.stack(
            [
                np.stack([a.products(site.name, of, b, and_of)[:count, :count] for site in sites])
                for a, of, b, and_of in pairs
            ]
        )
        sizes = np.stack([one.sizes[:count], two.sizes[:count]], axis=1)
        estimates = jackknife(np.einsum("rm,kmij->krij", rows, grams), sizes, cosines)
        by_place = dict(zip(places, (asdict(_within_one(e)) for e in estimates), strict=True))
        found.append(
            {
                "of": {"source": source, "loss": loss},
                "and": {"source": other_source, "loss": other_loss},
                "all": by_place.pop("all"),
                "blocks": by_place,
            }
        )
    return found


def _within_one(cosine: Estimate) -> Estimate:
    """A cosine and its interval, held to what cosines can be."""
    value, low, high = (max(-1.0, min(1.0, x)) for x in (cosine.value, cosine.low, cosine.high))
    return Estimate(cosine.value if math.isnan(cosine.value) else value, cosine.standard_error, low, high)
