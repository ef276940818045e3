"""Patching: at which depth a tuned model's preference for the chosen responses is made.

The residual stream of all positions, on entry to layer l, of one model is put into the other, which goes on from
there. Tuned into base (denoising) asks what of the tuned model's margin is made below l by the tuned layers; base
into tuned (noising) what tuned layers from l on still make of the base's states. Margin is log p(chosen) - log
p(rejected), in nats, scaled so that the base has 0 and the tuned model 1. Both models differ by an adapter's updates
alone, so a patched model is the adapter with its updates of some layers open and all others closed, and gates compute
it exactly.

The two directions need not agree: layers may build on each other (Zhang & Nanda, arXiv:2309.16042v2; Heimersheim &
Nanda, arXiv:2404.15255v1). That a layer's update carries the margin of this adapter does not say that training
elsewhere could not make it. Knows nothing of recipes or folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stratalign.blocks import Site
from stratalign.diagnostics.gates import Gates
from stratalign.diagnostics.similarity import by_layer
from stratalign.engine import JointEngine
from stratalign.errors import UserError
from stratalign.preferences import Tree
from stratalign.records import Progress, keyed_seed, silent
from stratalign.stats import percentile_interval, resampled_sums

Floats = NDArray[np.float64]
LEVEL = 0.95


class PatchingSettings(BaseModel):
    """What `diagnose patching` does; all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(256, ge=8, description="training pairs, drawn by cluster")
    window: int = Field(3, ge=1, description="neighbouring layers that are exchanged together")
    resamples: int = Field(2000, ge=200, description="resamples of clusters")
    run: str | None = Field(None, description="a trained run of the study's folder, to patch with the base")
    adapter: str | None = Field(None, description="a PEFT adapter folder in place of a run")


def open_layers(sites: Sequence[Site], layers: Sequence[int]) -> dict[str, float]:
    """Gates under which only these layers' updates are there."""
    return {site.name: float(site.layer in layers) for site in sites}


def gated_margins(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    settings: Mapping[str, Gates],
    trees: Sequence[Tree],
    progress: Progress = silent,
) -> dict[str, Floats]:
    """Setting -> margin [pairs] in nats of every pair, in the order of `trees`, under each setting of gates 0 and 1.

    A setting that begins as the base or as the tuned model goes on from that model's states; both models' states of one
    batch at all depths are held at a time, which is less than training keeps.
    """
    found = {name: np.zeros(len(trees)) for name in settings}
    parts = engine.cut(trees)
    for number, part in enumerate(parts):
        batch = engine.collate([trees[i] for i in part])
        passed = engine.base(batch, torch.zeros(len(part), batch.branches, dtype=torch.float64))
        states: dict[str, dict[int, Tensor]] = {"base": {}, "tuned": {}}
        engine.walk(batch, passed, states["base"].__setitem__)
        with engine.active(run, frozenset()):
            engine.walk(batch, passed, states["tuned"].__setitem__)
            for name, gates in settings.items():
                model, layer = _beginning(sites, gates, len(engine.anatomy.layers))
                with engine.bank.gated(run, gates):
                    both = engine.resume(batch, passed, layer, states[model][layer])
                found[name][part] = (both[:, 0] - both[:, 1]).cpu().numpy()
        progress("patching", number + 1, len(parts))
    return found


def _beginning(sites: Sequence[Site], gates: Gates, n_layers: int) -> tuple[str, int]:
    """Which of the two models these gates begin as, and the first layer at which they part from it."""
    first = {
        value: min((site.layer for site in sites if gates[site.name] == value), default=n_layers)
        for value in (0.0, 1.0)
    }
    return ("base", first[1.0]) if first[1.0] > first[0.0] else ("tuned", first[0.0])


def measure_patching(
    engine: JointEngine,
    run: str,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    n_layers: int,
    trees: Sequence[Tree],
    settings: PatchingSettings,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Everything that a record of patching holds, as plain numbers.

    Args:
        engine: with the run attached, its replay starting at layer 0.
        sites: of the run's modules.
        blocks: of the partition, name -> layers.
        n_layers: of the model.
        trees: training pairs.
        seed: draws the resamples.

    Raises:
        UserError: demonstrations, or an adapter that changes no margin.
    """
    if len(trees[0].branches) < 2:
        raise UserError("Patching compares a chosen with a rejected response; these rows are demonstrations.")
    every = range(n_layers)
    windows = [range(at, at + settings.window) for at in range(max(1, n_layers - settings.window + 1))]
    parts: dict[str, Sequence[int]] = {f"below {at}": range(at) for at in range(n_layers + 1)}
    parts |= {f"from {at}": range(at, n_layers) for at in range(n_layers + 1)}
    parts |= {f"in {own.start}": own for own in windows}
    parts |= {f"out {own.start}": [at for at in every if at not in own] for own in windows}
    parts |= {f"only {name}": own for name, own in blocks.items()}
    parts |= {f"without {name}": [at for at in every if at not in own] for name, own in blocks.items()}
    # many of these are the same model where the adapter has few layers
    gates = {name: open_layers(sites, own) for name, own in parts.items()}
    distinct = {tuple(own.values()): name for name, own in reversed(gates.items())}
    margins = gated_margins(
        engine, run, sites, {name: gates[name] for name in distinct.values()}, trees, progress
    )
    values = {name: margins[distinct[tuple(own.values())]] for name, own in gates.items()}
    scaled = _Scaled(values, values["below 0"], values["from 0"], trees, settings.resamples, seed)
    total = scaled.total()
    if total["tells"] is False and not np.any(values["from 0"] != values["below 0"]):
        raise UserError(
            "The adapter changes no margin at all: was it trained? `stratalign audit` lists what it holds."
        )
    layers: list[dict[str, Any]] = [
        {
            "layer": at,
            "denoising": scaled.share(f"below {at}"),
            "noising": scaled.share(f"from {at}"),
            # what a step over this layer adds, and what it takes away
            "made": scaled.share(f"below {at + 1}", f"below {at}"),
            "lost": scaled.share(f"from {at}", f"from {at + 1}"),
        }
        for at in every
    ]
    effects = [(row["made"]["value"] + row["lost"]["value"]) / 2 for row in layers]
    return {
        "pairs": len(trees),
        "clusters": len({tree.cluster for tree in trees}),
        "margin": {
            "base": float(values["below 0"].mean()),
            "tuned": float(values["from 0"].mean()),
            **total,
        },
        "layers": layers,
        "top": {"denoising": scaled.share(f"below {n_layers}"), "noising": scaled.share(f"from {n_layers}")},
        "windows": [
            {
                "layers": [own.start, min(own.stop, n_layers) - 1],
                "alone": scaled.share(f"in {own.start}"),
                "without": scaled.share("from 0", f"out {own.start}"),
            }
            for own in windows
        ],
        "blocks": {
            name: {
                "alone": scaled.share(f"only {name}"),
                "without": scaled.share("from 0", f"without {name}"),
            }
            for name in blocks
        },
        "scores": by_layer({"effect": effects}, sites),
    }


class _Scaled:
    """Mean margins as shares of the total effect, with intervals over resampled clusters of the ratio of sums."""

    def __init__(
        self,
        values: Mapping[str, Floats],
        base: Floats,
        tuned: Floats,
        trees: Sequence[Tree],
        resamples: int,
        seed: int,
    ) -> None:
        names = sorted({tree.cluster for tree in trees})
        place = {name: at for at, name in enumerate(names)}
        self._at = {name: column for column, name in enumerate(values)}
        columns = np.stack(
            [own - base for own in values.values()] + [tuned - base, np.ones(len(base))], axis=1
        )
        sums = np.zeros((len(names), columns.shape[1]))
        np.add.at(sums, [place[tree.cluster] for tree in trees], columns)
        self._whole = sums.sum(axis=0)
        self._drawn = resampled_sums(sums, resamples, keyed_seed("patching", seed))

    def total(self) -> dict[str, Any]:
        """The rise of the mean margin in nats, and whether it can be told from 0; if not, shares say nothing."""
        interval = percentile_interval(self._drawn[:, -2] / self._drawn[:, -1], LEVEL)
        return {
            "rise": float(self._whole[-2] / self._whole[-1]),
            "low": interval.low,
            "high": interval.high,
            "tells": bool(interval.low > 0 or interval.high < 0),
        }

    def share(self, name: str, less: str | None = None) -> dict[str, Any]:
        """A setting's share of the total effect, or the difference of two settings' shares."""
        whole, drawn = self._whole[self._at[name]], self._drawn[:, self._at[name]]
        if less is not None:
            whole, drawn = whole - self._whole[self._at[less]], drawn - self._drawn[:, self._at[less]]
        with np.errstate(divide="ignore", invalid="ignore"):
            interval = percentile_interval(drawn / self._drawn[:, -2], LEVEL)
            value = float(whole / self._whole[-2])
        return {"value": value, "low": interval.low, "high": interval.high}
