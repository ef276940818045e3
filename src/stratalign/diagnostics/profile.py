"""The layer profile as an instrument: what training each window of layers alone does to the loss of pairs held back.

Windows, random draws and the full model are trained somewhere else, on some clusters of the training pairs; here their
losses on the other clusters become shares of full's fall, by window and by layer. Held-out rows take no part, so that
selectors may use the record. Knows nothing of recipes, folders or training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stratalign import stats
from stratalign.blocks import Site
from stratalign.engine import JointEngine
from stratalign.errors import UserError
from stratalign.losses import Objective, preference_loss
from stratalign.preferences import Tree
from stratalign.records import Progress, keyed_seed, silent

Floats = NDArray[np.float64]

FULL, BASE = "full", "base"
READ = 4
"""Of this many clusters one is read, the others are trained on (ours)."""
FEWEST_CLUSTERS = 8
ALPHA = 0.05
PARTS = ("ratio", "low", "high", "numerator", "numerator_low", "numerator_high")
NAMES = ("share", "share_low", "share_high", "fall", "fall_low", "fall_high")


class HeldBack(NamedTuple):
    """Training pairs in two parts that share no cluster."""

    train: tuple[Tree, ...]
    read: tuple[Tree, ...]


def hold_back(trees: Sequence[Tree], seed: int) -> HeldBack:
    """A quarter of the clusters, drawn by the seed, is read; the pairs of all others train, in their order.

    Raises:
        UserError: there are too few clusters for an interval over those that are read.
    """
    names = sorted({tree.cluster for tree in trees})
    if len(names) < FEWEST_CLUSTERS:
        raise UserError(
            f"The profile trains on three quarters of the training pairs' clusters and reads the rest: it takes at "
            f"least {FEWEST_CLUSTERS} clusters, got {len(names)}. Give more training pairs."
        )
    order = np.random.default_rng(keyed_seed("held back", seed)).permutation(len(names))
    drawn = {names[at] for at in order[: len(names) // READ]}
    return HeldBack(
        tuple(tree for tree in trees if tree.cluster not in drawn),
        tuple(tree for tree in trees if tree.cluster in drawn),
    )


@torch.no_grad()
def run_losses(
    engine: JointEngine,
    runs: Sequence[str],
    trees: Sequence[Tree],
    objective: Objective,
    progress: Progress = silent,
) -> dict[str, list[float]]:
    """Run -> the loss of every row in nats, in the order of `trees`, `base` among them; one base pass serves all."""
    found: dict[str, list[float]] = {name: [0.0] * len(trees) for name in (BASE, *runs)}
    done = 0
    for part in engine.cut(trees):
        batch = engine.collate([trees[i] for i in part])
        passed = engine.base(batch)
        for name in found:
            policy = passed.reference
            if name != BASE:
                with engine.active(name):
                    policy = engine.forward(batch, name, passed)
            loss = preference_loss(policy, passed.reference, batch.lengths(), objective).loss
            for i, value in zip(part, loss.tolist(), strict=True):
                found[name][i] = value
        done += len(part)
        progress("losses of windows", done, len(trees))
    return found


def describe_profile(
    losses: Mapping[str, Sequence[float]],
    clusters: Sequence[str],
    windows: Mapping[str, Sequence[int]],
    draws: Mapping[str, Sequence[int]],
    sites: Sequence[Site],
) -> dict[str, Any]:
    """The record's numbers from the rows' losses.

    A fall is base's loss minus the run's, in nats per row; a share is a fall over full's, on the same rows, with one
    clustered bootstrap for both (`stats.mean_ratios`). A layer's fall is the mean over the windows that cover it.

    Args:
        losses: run -> loss of every row, with `base` and `full`.
        clusters: of every row.
        windows: run -> its consecutive layers; together they cover every layer of `sites`.
        draws: run -> its drawn layers.
        sites: the modules that get a score: that of their layer.

    Returns:
        `why_none` is a sentence where full's own fall cannot be told from 0: then shares, and the signal `share`, are
        left out. `per_cluster` holds every run's mean fall in each cluster, so that others can test differences.
    """
    base = np.array(losses[BASE])
    falls = {name: base - np.array(values) for name, values in losses.items() if name != BASE}
    layers = sorted({site.layer for site in sites})
    of_layer = {
        layer: np.mean([falls[name] for name, own in windows.items() if layer in own], axis=0)
        for layer in layers
    }
    (full,) = stats.mean_ratios(falls[FULL][:, None], falls[FULL], clusters)
    why = None
    if full.ratio is None or (full.denominator or 0.0) < 0:
        why = "Cannot tell: full's own fall of the loss on the pairs held back cannot be told from 0, or is a rise."

    def rows(columns: Sequence[Floats]) -> list[dict[str, float | None]]:
        if not columns:
            return []
        found = stats.mean_ratios(np.stack(columns, axis=1), falls[FULL], clusters)
        named = [dict(zip(NAMES, (getattr(one, part) for part in PARTS), strict=True)) for one in found]
        return [row | dict.fromkeys(NAMES[:3]) if why else row for row in named]

    def described(runs: Mapping[str, Sequence[int]]) -> list[dict[str, Any]]:
        own = rows([falls[name] for name in runs])
        return [
            {"run": name, "layers": list(runs[name]), "loss": float(np.mean(losses[name])), **row}
            for name, row in zip(runs, own, strict=True)
        ]

    by_layer = rows([of_layer[layer] for layer in layers])
    signals = (
        {} if why else {"share": {layer: row["share"] for layer, row in zip(layers, by_layer, strict=True)}}
    )
    signals["fall"] = {layer: row["fall"] for layer, row in zip(layers, by_layer, strict=True)}
    return {
        "rows": len(base),
        "why_none": why,
        "loss": {BASE: float(base.mean()), FULL: float(np.mean(losses[FULL]))},
        "full": {
            "fall": full.denominator,
            "fall_low": full.denominator_low,
            "fall_high": full.denominator_high,
        },
        "windows": _beside_draws(described(windows), falls, list(draws), clusters),
        "draws": described(draws),
        "layers": [
            {"layer": layer, "windows": sum(layer in own for own in windows.values()), **row}
            for layer, row in zip(layers, by_layer, strict=True)
        ],
        "per_cluster": per_cluster(falls, clusters),
        "scores": {
            signal: {site.name: values[site.layer] for site in sites} for signal, values in signals.items()
        },
    }


def per_cluster(falls: Mapping[str, Floats], clusters: Sequence[str]) -> dict[str, Any]:
    """Every run's mean fall in each cluster, in nats, the clusters' names in order and how many rows each has."""
    names = sorted(set(clusters))
    at = [[i for i, cluster in enumerate(clusters) if cluster == name] for name in names]
    return {
        "clusters": names,
        "rows": [len(rows) for rows in at],
        "falls": {run: [float(values[rows].mean()) for rows in at] for run, values in falls.items()},
    }


def _beside_draws(
    rows: list[dict[str, Any]], falls: Mapping[str, Floats], draws: Sequence[str], clusters: Sequence[str]
) -> list[dict[str, Any]]:
    """Whether each window falls by more, or by less, than every random draw for certain (Holm over windows)."""
    if not draws:
        return [row | {"p_value": None, "p_holm": None, "standing": None} for row in rows]
    others = np.stack([falls[name] for name in draws], axis=1)
    found = [stats.beside_all(falls[row["run"]], others, clusters) for row in rows]
    corrected = stats.holm([one.p_value for one in found])
    return [
        row
        | {
            "p_value": one.p_value,
            "p_holm": p_holm,
            "standing": one.side if p_holm is not None and p_holm <= ALPHA else "cannot tell",
        }
        for row, one, p_holm in zip(rows, found, corrected, strict=True)
    ]
