"""What each condition gains on the objective, and what it loses on its worst other dimension, with intervals. Pure.

Both are net win rates against base, turned so that above 0 is better. The worst is the lowest of many estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stratalign.reporting.comparisons.contrasts import Contrast, Measure
from stratalign.reporting.findings.evidence import objective_measures
from stratalign.reporting.results import Results


class Bound(NamedTuple):
    """A net win rate turned so that above 0 is better, with its interval."""

    value: float
    low: float | None
    high: float | None


class Tradeoff(NamedTuple):
    """One condition: its gain on a dimension of the objective, and its worst one of the others."""

    condition: str
    dimension: str
    gain: Bound
    worst_dimension: str
    worst: Bound
    verdict: str


def tradeoffs(results: Results) -> tuple[Tradeoff, ...]:
    """Each condition on the first dimension of the objective (or what stands in); none without another dimension."""
    measures = [one for one in results.measures if one.key[:2] == results.judged and one.better]
    meant = objective_measures(measures, results.objective) or measures[:1]
    others = [one for one in measures if one not in meant]
    found = []
    for condition in dict.fromkeys(one.condition for one in results.comparisons):
        gain = _contrasts(results, condition, meant[:1])
        rest = _contrasts(results, condition, others)
        if gain and rest:
            worst = min(rest, key=lambda one: one.gain)
            found.append(
                Tradeoff(
                    condition,
                    gain[0].dimension,
                    turned(gain[0]),
                    worst.dimension,
                    turned(worst),
                    gain[0].verdict,
                )
            )
    return tuple(found)


def turned(one: Contrast) -> Bound:
    """The contrast's net win rate and interval, turned so that above 0 is better."""
    return Bound(one.gain, *one.gain_bounds)


def _contrasts(results: Results, condition: str, measures: Sequence[Measure]) -> list[Contrast]:
    keys = {one.key for one in measures}
    return [
        one
        for one in results.comparisons
        if one.condition == condition
        and one.seed is None
        and one.key in keys
        and one.net_win_rate is not None
    ]
