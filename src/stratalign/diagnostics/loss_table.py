"""What the gradients of one loss say, from inner products of chunks alone: by module, layer and block, with intervals.

Knows nothing of models, and nothing of how the products came about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from stratalign.blocks import Site
from stratalign.diagnostics.concentration import (
    Estimate,
    Floats,
    evenness,
    gini,
    jackknife,
    much_greater,
    pair_norms,
    shares,
    squared_norms,
)
from stratalign.diagnostics.naming import name_layers_by_gradients


class LossTable:
    """One loss: chunk products of every module, summed over whatever is asked for."""

    def __init__(
        self,
        sites: Sequence[Site],
        blocks: Mapping[str, Sequence[int]],
        grams: Floats,
        sizes: Floats,
        weights: Mapping[str, float],
    ) -> None:
        self.sites = sites
        self.blocks = {name: list(layers) for name, layers in blocks.items()}
        self.grams = grams  # [modules, C, C]
        self.sizes = sizes
        self.parameters = np.array([site.out_features * site.in_features for site in sites], dtype=np.float64)
        self.weights = np.array([weights[site.name] for site in sites])

    def describe(self, ratio: float, baseline: LossTable | None) -> dict[str, Any]:
        """Everything about the loss that the record holds."""
        layers = sorted({site.layer for site in self.sites})
        of_layers = [[site.layer == layer for site in self.sites] for layer in layers]
        everything = [[True] * len(self.sites)]
        modules = np.eye(len(self.sites), dtype=bool)
        named = {} if baseline is None else {"named": self._named(layers, np.array(of_layers), baseline)}
        return {
            **named,
            "all": self._rows(np.array(everything))[0],
            "blocks": self._blocks(ratio, baseline),
            "layers": [
                {"layer": layer} | row
                for layer, row in zip(layers, self._rows(np.array(of_layers), baseline), strict=True)
            ],
            "evenness": {
                "over_layers": self._spread(np.array(of_layers), evenness),
                "over_blocks": self._spread(self._block_rows(), evenness),
            },
            "gini": {
                "over_layers": self._spread(np.array(of_layers), gini),
                "over_blocks": self._spread(self._block_rows(), gini),
            },
            "modules": [
                {"module": site.name, "layer": site.layer, "kind": site.kind} | row
                for site, row in zip(self.sites, self._rows(modules), strict=True)
            ],
        }

    def changes(self, before: LossTable) -> dict[str, dict[str, Any]]:
        """Each block's share over what it was in another table of the same chunks, with a reading."""
        estimates = self._over(before, self._block_rows())
        return {
            name: _ratio(estimate) | {"reading": _reading(estimate)}
            for name, estimate in zip(self.blocks, estimates, strict=True)
        }

    def _named(self, layers: Sequence[int], rows: Any, baseline: LossTable) -> dict[str, Any] | None:
        """What each signal names among the layers; None where there is only one."""
        if len(layers) < 2:
            return None
        return name_layers_by_gradients(
            self._summed(rows),
            self.sizes,
            layers,
            np.sqrt(rows @ self.weights**2),
            rows @ self.parameters,
            baseline._summed(rows),
        )

    def _summed(self, rows: Any) -> Floats:
        """Chunk products [rows, C, C] of groups of modules, given as rows of a matrix of truth values."""
        found: Floats = np.einsum("rm,mij->rij", rows.astype(np.float64), self.grams)
        return found

    def _block_rows(self) -> Any:
        return np.array(
            [[site.layer in layers for site in self.sites] for layers in self.blocks.values()], dtype=bool
        )

    def _rows(self, rows: Any, baseline: LossTable | None = None) -> list[dict[str, Any]]:
        """A description of each group of modules."""
        grams = self._summed(rows)
        parameters = rows @ self.parameters
        weights = np.sqrt(rows @ self.weights**2)
        lengths = jackknife(grams, self.sizes, squared_norms)
        parts = jackknife(grams, self.sizes, _shares)
        single = pair_norms(grams, self.sizes)
        naive = np.sqrt(grams.sum(axis=(1, 2))) / self.sizes.sum()
        found: list[dict[str, Any]] = [
            {
                "parameters": int(count),
                "norm": _root(length.value),
                "low": _root(length.low),
                "high": _root(length.high),
                "naive_norm": float(biased),
                "per_root_parameter": _root(length.value) / math.sqrt(count),
                "relative": _root(length.value) / weight if weight else None,
                "pair_norm": float(of_pair),
                "share": asdict(part),
            }
            for count, length, biased, weight, of_pair, part in zip(
                parameters, lengths, naive, weights, single, parts, strict=True
            )
        ]
        if baseline is not None:
            for row, estimate in zip(found, self._over(baseline, rows), strict=True):
                row["share_over_baseline"] = _ratio(estimate) | {"reading": _reading(estimate)}
        return found

    def _blocks(self, ratio: float, baseline: LossTable | None) -> dict[str, Any]:
        """Every block; and the verdict on the mean gradient, which training follows, and on that of single pairs."""
        described = self._rows(self._block_rows(), baseline)
        return {
            "by_name": dict(zip(self.blocks, described, strict=True)),
            "mean_gradient": self._verdict(ratio, squared_norms),
            "single_pairs": self._verdict(ratio, _squared_pair_norms),
        }

    def _verdict(self, ratio: float, lengths_of: Callable[[Floats, Floats], Floats]) -> dict[str, Any]:
        """Whether the largest block's gradient is much greater than every other's, tested pair by pair.

        Per root parameter, so that a block's size does not count; Hypothesis 2 has blocks of equal size. It needs
        every one of the ratios to be large, so testing several makes it no easier.
        """
        rows, names = self._block_rows(), list(self.blocks)
        parameters = rows @ self.parameters
        top = int(np.argmax(lengths_of(self._summed(rows), self.sizes) / parameters))
        over: dict[str, Any] = {}
        for other, name in enumerate(names):
            if other == top:
                continue
            both = [top, other]

            def statistic(grams: Floats, sizes: Floats, both: list[int] = both) -> Floats:
                lengths = lengths_of(grams, sizes) / parameters[both]
                return np.atleast_1d(0.5 * (np.log(lengths[0]) - np.log(lengths[1])))

            estimate = jackknife(self._summed(rows[both]), self.sizes, statistic)[0]
            over[name] = _ratio(estimate) | {"verdict": much_greater(estimate, ratio)}
        verdicts = [one["verdict"] for one in over.values()]
        worst = next((v for v in ("not much greater", "cannot tell") if v in verdicts), "much greater")
        return {"largest": names[top], "over": over, "verdict": worst if over else "cannot tell"}

    def _over(self, baseline: LossTable, rows: Any) -> list[Estimate]:
        """The logarithm of each group's share over its share in the baseline, on the same chunks."""

        def statistic(grams: Floats, sizes: Floats) -> Floats:
            own, other = (shares(squared_norms(part, sizes)) for part in grams)
            return np.log(own) - np.log(other)

        both = np.stack([self._summed(rows), baseline._summed(rows)])
        return jackknife(both, self.sizes, statistic)

    def _spread(self, rows: Any, measure: Any) -> dict[str, float]:
        statistic = partial(_of_shares, measure)
        return asdict(jackknife(self._summed(rows), self.sizes, statistic)[0])


def _shares(grams: Floats, sizes: Floats) -> Floats:
    return shares(squared_norms(grams, sizes))


def _squared_pair_norms(grams: Floats, sizes: Floats) -> Floats:
    found: Floats = pair_norms(grams, sizes) ** 2
    return found


def _of_shares(measure: Any, grams: Floats, sizes: Floats) -> Floats:
    return np.atleast_1d(measure(_shares(grams, sizes)))


def _root(value: float) -> float:
    """A norm from an estimate of its square, which may be negative: then nothing is seen above the noise."""
    return math.sqrt(max(0.0, value))


def _ratio(log_ratio: Estimate) -> dict[str, float]:
    return {
        "ratio": math.exp(log_ratio.value),
        "low": math.exp(log_ratio.low),
        "high": math.exp(min(log_ratio.high, 700.0)),
    }


def _reading(log_ratio: Estimate) -> str:
    if log_ratio.low > 0:
        return "above"
    return "below" if log_ratio.high < 0 else "cannot tell"
