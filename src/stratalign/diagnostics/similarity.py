"""Similarity: how alike layers' states are, how far each one turns them, and where blocks would part.

Layer l stands for what leaves it (state l + 1). Beside the matrix: what each layer changes (from its own entry to its
exit), how far a tuned model's states have moved from the base's at each depth, and the division into contiguous
blocks that the matrix suggests, with how often halves of the clusters agree on it. Knows nothing of recipes or
folders.

CKA says how alike two clouds of states are shaped, up to rotation and scale. It is moved by few odd rows, and says
nothing of what a layer is good for. A later layer inherits what an earlier one changed: drift is not where a change
begins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stratalign.blocks import Site, partition, segment
from stratalign.diagnostics.activations import Singles, States
from stratalign.diagnostics.alikeness import (
    FEWEST_ROWS,
    Floats,
    angular_distances,
    cosines,
    debiased_cka,
    grams,
    half_samples,
)
from stratalign.errors import UserError
from stratalign.stats import clustered_mean

Z = 1.959963984540054
"""Two-sided 95 % of the normal distribution."""


class SimilaritySettings(BaseModel):
    """What `diagnose similarity` reads; all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(512, ge=FEWEST_ROWS, description="training pairs, drawn by cluster")
    states: Literal["response", "prompt"] = Field(
        "response",
        description="of each pair: the mean over the chosen response's tokens, or the prompt's last token",
    )
    halves: int = Field(200, ge=20, description="draws of half of the clusters, for intervals")
    run: str | None = Field(
        None, description="a trained run of the study's folder, whose states stand beside the base's"
    )
    adapter: str | None = Field(None, description="a PEFT adapter folder in place of a run")


def measure_similarity(
    base: States,
    tuned: States | None,
    clusters: Sequence[str],
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    settings: SimilaritySettings,
    *,
    seed: int,
) -> dict[str, Any]:
    """Everything that a record of similarity holds, as plain numbers.

    Args:
        base: states of the base on the training pairs.
        tuned: of the model that is looked at, on the same pairs; None for the base itself.
        clusters: of the pairs.
        sites: the modules that scores are given to.
        blocks: of the partition, name -> layers: how many blocks are looked for.
        seed: draws the halves.

    Raises:
        UserError: too few rows, or states that do not vary.
    """
    own, beside = _rows(base, settings), None if tuned is None else _rows(tuned, settings)
    kept: NDArray[np.bool_] = np.asarray(np.isfinite(own).all(axis=(1, 2)))
    if beside is not None:
        kept &= np.isfinite(beside).all(axis=(1, 2))
    names = [name for name, there in zip(clusters, kept, strict=True) if there]
    if len(names) < FEWEST_ROWS or len(set(names)) < FEWEST_ROWS:
        raise UserError(
            f"Similarity takes at least {FEWEST_ROWS} training pairs of as many clusters, with a token at the place "
            f"that is read; got {len(names)} of {len(set(names))}. Give more pairs."
        )
    own = own[kept]
    looked = own if beside is None else beside[kept]
    gram, before = grams(looked), None if beside is None else grams(own)
    whole = debiased_cka(gram)
    # what enters layer 0 may be the same at every prompt's end; what leaves a layer may not
    rows = list(half_samples(names, settings.halves, seed))
    halves = np.stack([debiased_cka(gram[:, r[:, None], r]) for r in rows])
    if not np.isfinite(whole[1:, 1:]).all() or not np.isfinite(halves[:, 1:, 1:]).all():
        raise UserError(
            "The states of a layer do not vary between pairs, so nothing can be alike. Give other pairs."
        )
    record: dict[str, Any] = {
        "pairs": len(names),
        "clusters": len(set(names)),
        "left_out_positions": base.left_out if tuned is None else tuned.left_out,
        "layer_similarity": whole[1:, 1:].tolist(),
        "entry_similarity": [_finite(value) for value in whole[0, 1:]],
        "layers": _layers(whole, halves, looked, names),
        "boundaries": _boundaries(whole[1:, 1:], halves[:, 1:, 1:], len(blocks)),
    }
    per_layer = {
        "change": [1 - _number(row["entry_to_exit"]) for row in record["layers"]],
        "angle": [_number(row["angle"]) for row in record["layers"]],
    }
    if before is not None:
        record["drift"] = _drift(gram, before, looked, own, rows, names)
        per_layer["drift"] = [1 - _number(row["similarity"]) for row in record["drift"][1:]]
    return {**record, "scores": by_layer(per_layer, sites)}


def by_layer(signals: Mapping[str, Sequence[float]], sites: Sequence[Site]) -> dict[str, dict[str, float]]:
    """Signal -> module -> the number of its layer; what is not finite counts as the least of its signal."""
    found = {}
    for name, values in signals.items():
        finite = [value for value in values if np.isfinite(value)]
        least = min(finite, default=0.0)
        found[name] = {
            site.name: float(values[site.layer]) if np.isfinite(values[site.layer]) else least
            for site in sites
        }
    return found


def _rows(states: States, settings: SimilaritySettings) -> Singles:
    return states.prompt if settings.states == "prompt" else states.responses[:, 0]


def _layers(whole: Floats, halves: Floats, looked: Singles, clusters: Sequence[str]) -> list[dict[str, Any]]:
    """Of each layer: CKA of what enters and what leaves it, and the angle between the two."""
    turned = angular_distances(looked[:, :-1], looked[:, 1:])
    return [
        {
            "layer": layer,
            "entry_to_exit": _around(whole[layer, layer + 1], halves[:, layer, layer + 1]),
            "angle": _mean(turned[:, layer], clusters),
        }
        for layer in range(len(whole) - 1)
    ]


def _drift(
    gram: Floats,
    before: Floats,
    looked: Singles,
    own: Singles,
    rows: Sequence[NDArray[np.int64]],
    clusters: Sequence[str],
) -> list[dict[str, Any]]:
    """Of each state, tuned beside base: CKA, cosine of the rows, and the length of their difference over the base's."""

    def diagonal(one: Floats, other: Floats) -> Floats:
        return np.array([debiased_cka(a[None], b[None])[0, 0] for a, b in zip(one, other, strict=True)])

    whole = diagonal(gram, before)
    halves = np.stack([diagonal(gram[:, r[:, None], r], before[:, r[:, None], r]) for r in rows])
    turned = cosines(looked, own)
    length = np.linalg.norm(own.astype(np.float64), axis=-1)
    moved = np.linalg.norm(looked.astype(np.float64) - own, axis=-1) / np.where(length > 0, length, np.nan)
    return [
        {
            "state": state,
            "similarity": _around(whole[state], halves[:, state]),
            "cosine": _mean(turned[:, state], clusters),
            "relative_change": _mean(moved[:, state], clusters),
        }
        for state in range(len(whole))
    ]


def _boundaries(whole: Floats, halves: Floats, count: int) -> dict[str, Any]:
    """Contiguous blocks by similarity, how often halves of the clusters put each boundary where, and the even ones."""
    layers = len(whole)
    even = [own[0] for own in partition(layers, "even", count).values()][1:]
    found = [block.start for block in segment(whole, count)][1:]
    drawn = np.array([[block.start for block in segment(half, count)][1:] for half in halves])
    rows = []
    for at, (start, third) in enumerate(zip(found, even, strict=True)):
        starts = np.sort(drawn[:, at])
        outside = int(0.025 * (len(starts) - 1))
        counts = Counter(starts.tolist())
        rows.append(
            {
                "first_layer": start,
                "low": int(starts[outside]),
                "high": int(starts[len(starts) - 1 - outside]),
                "even": third,
                "shift": start - third,
                "agree": counts[start] / len(starts),
                "seen": {str(layer): counts[layer] / len(starts) for layer in sorted(counts)},
            }
        )
    return {
        "blocks": [[block.start, block.stop - 1] for block in segment(whole, count)],
        "agree": float((drawn == np.array(found)).all(axis=1).mean()) if found else 1.0,
        "rows": rows,
    }


def _around(value: float, halves: Floats) -> dict[str, float | None]:
    """A value with the standard deviation of its halves; they vary as the whole sample's estimate does."""
    error = float(halves.std(ddof=1))
    return {
        "value": _finite(value),
        "standard_error": _finite(error),
        "low": _finite(value - Z * error),
        "high": _finite(value + Z * error),
    }


def _mean(values: Floats, clusters: Sequence[str]) -> dict[str, float | None]:
    mean = clustered_mean(values, clusters)
    reach = None if mean.standard_error is None else Z * mean.standard_error
    return {
        "value": mean.mean,
        "standard_error": mean.standard_error,
        "low": None if reach is None or mean.mean is None else mean.mean - reach,
        "high": None if reach is None or mean.mean is None else mean.mean + reach,
    }


def _number(row: Mapping[str, float | None]) -> float:
    value = row["value"]
    return np.nan if value is None else value


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
