"""Deltas: how large what a training added is, module by module, beside the weight that it is added to.

Of LoRA the update scale x B A is never built: its singular values are those of a matrix of the rank's size. That an
update is large does not say that it does much. Knows nothing of recipes, folders or data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from stratalign.blocks import Site
from stratalign.diagnostics.significance import heatmap
from stratalign.diagnostics.spectra import Floats, effective_rank, stable_rank
from stratalign.diagnostics.weights import singular_values
from stratalign.errors import UserError


class DeltaSettings(BaseModel):
    """What `diagnose deltas` looks at; without any of them, every trained run of the study's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str | None = Field(None, description="one trained run of the study's folder; null: all of them")
    adapter: str | None = Field(None, description="a PEFT adapter folder in place of a run")
    tuned: str | None = Field(None, description="a fully trained checkpoint of the model in place of a run")


class LowRank(NamedTuple):
    """An update scale x B A: `a` [rank, in], `b` [out, rank]."""

    a: Tensor
    b: Tensor
    scale: float


Update = LowRank | Tensor


def update_singular_values(update: Update) -> Floats:
    """Singular values of an update, largest first, in float64: of LoRA [rank] many, the others are 0.

    With B = Q R and A^T = P S, Q and P orthonormal, B A = Q (R S^T) P^T has the singular values of R S^T.
    """
    if isinstance(update, Tensor):
        return singular_values(update)
    right = torch.linalg.qr(update.b.detach().double(), mode="r").R
    left = torch.linalg.qr(update.a.detach().double().t(), mode="r").R
    return singular_values(update.scale * right @ left.t())


def measure_deltas(
    update_of: Callable[[str], Update],
    modules: Sequence[Site],
    weight_norms: Mapping[str, float],
    blocks: Mapping[str, Sequence[int]],
    who: str,
) -> dict[str, Any]:
    """One training's updates, as plain numbers for a record.

    Args:
        update_of: a module's update; asked for one module at a time.
        modules: those that were trained, in model order.
        weight_norms: Frobenius norms of the base's weights, by module.
        blocks: of the partition, name -> layers.
        who: whose updates they are, for messages.

    Raises:
        UserError: an update is not finite.
    """
    rows = [_described(site, update_of(site.name), weight_norms[site.name], who) for site in modules]
    layers = sorted({site.layer for site in modules})
    whole = sum(row["norm"] ** 2 for row in rows)
    return {
        "all": _summed(rows, whole),
        "blocks": {
            name: _summed([row for row in rows if row["layer"] in own], whole) for name, own in blocks.items()
        },
        "layers": [
            {"layer": layer, **_summed([row for row in rows if row["layer"] == layer], whole)}
            for layer in layers
        ],
        "heatmap": heatmap(modules, {row["module"]: row["relative"] for row in rows}),
        "modules": rows,
    }


def relative_sizes(measured: Mapping[str, Any]) -> dict[str, float]:
    """What selectors may choose by: module -> the update's norm over its weight's; of the trained modules alone."""
    return {row["module"]: row["relative"] for row in measured["modules"] if row["relative"] is not None}


def _described(site: Site, update: Update, weight: float, who: str) -> dict[str, Any]:
    finite = (torch.isfinite(part).all() for part in ([update] if isinstance(update, Tensor) else update[:2]))
    if not all(finite):
        raise UserError(
            f"The update of {site.name} in {who} is not finite: its training diverged. Look at another run (--run)."
        )
    values = update_singular_values(update)
    norm = float(np.linalg.norm(values))
    return {
        "module": site.name,
        "layer": site.layer,
        "kind": site.kind,
        "norm": norm,
        "weight_norm": weight,
        "relative": norm / weight if weight else None,
        "spectral_norm": float(values[0]),
        "effective_rank": effective_rank(values),
        "stable_rank": stable_rank(values),
    }


def _summed(rows: Sequence[Mapping[str, Any]], whole: float) -> dict[str, Any]:
    """Norms over several modules, and their share of the squared norm of all; means of what is no norm."""
    squared = sum(row["norm"] ** 2 for row in rows)
    weights = sum(row["weight_norm"] ** 2 for row in rows)
    ranks = [row["effective_rank"] for row in rows if row["effective_rank"] is not None]
    return {
        "modules": len(rows),
        "norm": math.sqrt(squared),
        "relative": math.sqrt(squared / weights) if weights else None,
        "share": squared / whole if whole else None,
        "spectral_norm": max((row["spectral_norm"] for row in rows), default=None),
        "effective_rank": float(np.mean(ranks)) if ranks else None,
    }
