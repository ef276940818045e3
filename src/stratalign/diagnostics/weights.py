"""Weights: how far each linear module's weight stands out of noise (Spectrum), without any data.

One weight at a time is read, in float64. Knows nothing of recipes, data or training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from stratalign.blocks import Site, ranked
from stratalign.diagnostics.significance import heatmap
from stratalign.diagnostics.spectra import Floats, effective_rank, signal_to_noise, stable_rank
from stratalign.records import Progress, silent
from stratalign.stats import rank_correlation

SIGNALS = ("snr", "spectrum")
AVERAGED = ("snr", "snr_in_kind", "spectrum_in_kind", "effective_rank", "stable_rank", "spectral_norm")


class WeightSettings(BaseModel):
    """`diagnose weights` has nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def measure_weights(
    model: nn.Module,
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    progress: Progress = silent,
) -> dict[str, Any]:
    """Signal-to-noise ratios, norms and ranks of every site's weight, as plain numbers for a record.

    A fused weight (Phi-3's qkv_proj) is one matrix, as the model has it. `scores` leave out modules without a ratio,
    so that no selector can choose them; what is in `<signal>_in_kind` is the module's place among those of its kind,
    from 0 to 1, so that a top share of it is that share of every kind, as in Spectrum.
    """
    rows = []
    for number, site in enumerate(sites):
        module: Any = model.get_submodule(site.name)
        rows.append(_described(site, module.weight))
        progress("weights", number + 1, len(sites))
    scores: dict[str, dict[str, float]] = {}
    for signal in SIGNALS:
        known = {row["module"]: row[signal] for row in rows if row[signal] is not None}
        scores[signal] = known
        scores[f"{signal}_in_kind"] = places_in_kind(known, {site.name: site.kind for site in sites})
    places = {name: at for at, name in enumerate(ranked(scores["snr"]), 1)}
    for row in rows:
        row |= {f"{signal}_in_kind": scores[f"{signal}_in_kind"].get(row["module"]) for signal in SIGNALS}
        row |= _ranks(row, rows, places)
    return {
        "modules": rows,
        "blocks": {
            block: _means([row for row in rows if row["layer"] in layers]) for block, layers in blocks.items()
        },
        "heatmap": heatmap(sites, {row["module"]: row["snr"] for row in rows}),
        "heatmap_in_kind": heatmap(sites, {row["module"]: row["snr_in_kind"] for row in rows}),
        "missing": {row["module"]: row["missing"] for row in rows if row["missing"] is not None},
        "agreement": _agreement(scores),
        "scores": scores,
    }


def singular_values(weight: Tensor) -> Floats:
    """Singular values [min(shape)] of a matrix, largest first, in float64; none where a number is not finite."""
    wide = weight.detach().double()
    if not torch.isfinite(wide).all():
        return np.empty(0)
    found: Floats = torch.linalg.svdvals(wide).cpu().numpy()
    return found


def places_in_kind(scores: Mapping[str, float], kinds: Mapping[str, str]) -> dict[str, float]:
    """Each name's place among those of its kind: the share of them with a smaller number, equal ones counted half."""
    found = {}
    for name, own in scores.items():
        others = [value for other, value in scores.items() if kinds[other] == kinds[name]]
        found[name] = sum((v < own) + 0.5 * (v == own) for v in others) / len(others)
    return found


def _described(site: Site, weight: Tensor) -> dict[str, Any]:
    values = singular_values(weight)
    finite = len(values) > 0
    return {
        "module": site.name,
        "layer": site.layer,
        "kind": site.kind,
        "shape": [site.out_features, site.in_features],
        **signal_to_noise(values, (site.out_features, site.in_features))._asdict(),
        "norm": float(np.linalg.norm(values)) if finite else None,
        "spectral_norm": float(values[0]) if finite else None,
        "effective_rank": effective_rank(values),
        "stable_rank": stable_rank(values),
    }


def _ranks(
    row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], places: Mapping[str, int]
) -> dict[str, int | None]:
    """A module's rank by `snr` among all and among its kind, 1 for the largest; None where it has no ratio."""
    own = places.get(row["module"])
    kin = [
        places[other["module"]]
        for other in rows
        if other["kind"] == row["kind"] and other["module"] in places
    ]
    return {"rank": own, "rank_in_kind": None if own is None else sum(place <= own for place in kin)}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Means over the modules that have a number."""
    known = {key: [row[key] for row in rows if row[key] is not None] for key in AVERAGED}
    return {key: float(np.mean(values)) if values else None for key, values in known.items()}


def _agreement(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float | None]:
    """Rank correlations, within kinds, between the two ratios over the modules that have both."""
    one, other = (scores[f"{signal}_in_kind"] for signal in SIGNALS)
    both = [name for name in one if name in other]
    return {
        "snr_and_spectrum": rank_correlation([one[n] for n in both], [other[n] for n in both])
        if len(both) > 1
        else None
    }
