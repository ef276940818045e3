"""A condition beside the mean of several random draws, row by row. Pure.

A row's outcome for a condition is +1, 0 or -1: it scores better than base, the same, or worse; its mean is the net win
rate. The difference to the draws is the mean of the condition's outcome less the mean outcome of the draws on the same
row, with the clustered paired bootstrap and sign flips of clusters. Interval and test are over prompts (from three
seeds on over seeds too): they hold for these draws. How far other draws would differ is seen in the draws themselves;
that one more draw is better than all R of them has probability 1 / (R + 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stratalign import stats
from stratalign.reporting.comparisons.comparing import Floats, ScoreTable, aligned, sides_with_base
from stratalign.reporting.comparisons.contrasts import LEVEL, RESAMPLES, SEED, Measure


class Outcomes(NamedTuple):
    """Outcomes against base [rows] by condition, NaN where a score is missing; each row's cluster and training seed."""

    by_name: dict[str, Floats]
    clusters: Sequence[str]
    seeds: Sequence[int]

    def gain(self, name: str) -> float | None:
        """The condition's net win rate over the rows that it has."""
        known = self.by_name[name][~np.isnan(self.by_name[name])]
        return float(known.mean()) if len(known) else None


class ToDraws(NamedTuple):
    """A condition's outcomes less the mean outcome of draws: p by sign flips, corrected over the conditions that were
    asked about together, and how many of the draws gain less."""

    comparison: stats.Comparison
    p_value: float | None
    p_holm: float | None
    beaten: int
    draws: int


def outcomes_against_base(table: ScoreTable, names: Sequence[str], measure: Measure) -> Outcomes | None:
    """The outcomes of those of `names` that have scores; None where none has.

    Raises:
        ValueError: neither direction of the measure is better.
    """
    if measure.better is None:
        raise ValueError(f"{measure.dimension} has no better direction, so that nothing on it is an outcome.")
    sides = [side for group in sides_with_base(table, names, [measure]) for side in group]
    if not sides:
        return None
    rows = aligned(sides, table.cluster)
    outcomes: Floats = np.sign(rows.a - rows.b) * (-1.0 if measure.better == "lower" else 1.0)
    by_name = {side.condition: outcomes[:, at] for at, side in enumerate(sides)}
    return Outcomes(by_name, rows.clusters, rows.seeds)


def to_draws(outcomes: Outcomes, draws: Mapping[str, Sequence[str]]) -> dict[str, ToDraws]:
    """Every condition of `draws` beside the mean of its draws."""
    if not draws:
        return {}
    mine = np.stack([outcomes.by_name[name] for name in draws], axis=1)
    means = [np.mean([outcomes.by_name[draw] for draw in drawn], axis=0) for drawn in draws.values()]
    beside = np.stack(means, axis=1)
    compared = stats.compare_dimensions(
        mine,
        beside,
        outcomes.clusters,
        seeds=outcomes.seeds,
        resamples=RESAMPLES,
        seed=SEED,
        level=LEVEL,
    )
    tests = stats.difference_tests(
        mine, beside, outcomes.clusters, seeds=outcomes.seeds, draws=RESAMPLES, seed=SEED
    )
    corrected = stats.holm([one.flip_p for one in tests])
    found = {}
    for at, (name, drawn) in enumerate(draws.items()):
        own, rivals = outcomes.gain(name), [outcomes.gain(draw) for draw in drawn]
        beaten = sum(own is not None and one is not None and own > one for one in rivals)
        found[name] = ToDraws(compared[at], tests[at].flip_p, corrected[at], beaten, len(rivals))
    return found
