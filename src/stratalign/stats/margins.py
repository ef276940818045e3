"""Whether a difference is smaller than a margin that was stated beforehand: equivalence, and "no loss larger than".

A difference that was not found is no evidence of equality; that takes a test whose null hypothesis is a difference of
the margin's size. Knows nothing of which direction is better, nor of which margin matters.

Sources: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15(6), 657-680 (two one-sided tests at
alpha each; both reject where the 1 - 2 alpha interval lies within the margin); Davison & Hinkley (1997), Bootstrap
Methods and their Application, section 5.4 (the p value that goes with a percentile interval); Hanley & Lippman-Hand
(1983), JAMA 249(13), 1743-1745 (what samples without a single event can exclude).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stratalign.stats.differences import Differences, alike, check_draws, one_dimension, paired_differences
from stratalign.stats.groups import Clusters, Floats
from stratalign.stats.uncertainty import Uncertainty, uncertainties

Statistic = Literal["net win rate", "mean difference"]


@dataclass(frozen=True)
class MarginTest:
    """An effect of `a` against `b` held against a margin, both in the statistic's unit.

    `low` and `high` bound the effect at `level`, 0.90 for tests at 0.05. `p_not_below` is of the hypothesis that the
    effect is at most -margin; where it is small, `a` is not lower by the margin (non-inferiority). `p_not_above` is
    of the hypothesis that it is at least +margin. `p_within`, the larger one, is that of equivalence. All but counts
    are None without rows; without a second cluster there are no bounds and every p value is 1.
    """

    margin: float
    n: int
    clusters: int
    missing: int
    effect: float | None
    low: float | None
    high: float | None
    level: float
    p_not_below: float | None
    p_not_above: float | None

    @property
    def p_within(self) -> float | None:
        if self.p_not_below is None or self.p_not_above is None:
            return None
        return max(self.p_not_below, self.p_not_above)

    @property
    def within(self) -> bool:
        """Whether both one-sided tests reject, alone. Then the interval lies within the margin, never conversely:
        samples of few clusters that all tie have an interval without width."""
        return self.p_within is not None and self.p_within <= (1 - self.level) / 2


def within_margin(
    a: object,
    b: object,
    clusters: Clusters,
    margin: float,
    *,
    seeds: Clusters | None = None,
    statistic: Statistic = "net win rate",
    largest: float = 1.0,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.90,
) -> MarginTest:
    """Two one-sided tests of `a` against `b` [n], by the clustered bootstrap.

    Each p value is (1 + replicates at or beyond the margin) / (1 + `resamples`), so at the default numbers it is at
    most 0.05 exactly where the 90 % percentile interval ends before the margin. With few clusters, and with three
    seeds or more, it is that of a t test instead (`uncertainty`). It is never below

        (1 - margin / largest)^C

    which is how often C clusters show none of the differences that make up an effect of the margin: if a share
    margin / largest of clusters differs by `largest` and all others tie. So a sample in which everything ties needs
    29 clusters to exclude 0.1 of a net win rate.

    Args:
        a: scores [n]; NaN where missing.
        b: scores [n] of the same rows, in the same unit.
        clusters: the cluster of each row [n].
        seeds: the training seed of each row [n], where there are several; three or more are a random level.
        margin: above 0, in the unit of the statistic.
        statistic: the net win rate, mean of sign(a - b), or the mean of a - b.
        largest: the largest difference that a row can have, in the unit of the statistic: 1 for net win rates, the
            scale's range for mean differences.
        resamples: bootstrap replicates.
        seed: of the draws.
        level: of the interval; the tests are at (1 - level) / 2 each.
    """
    first, second = one_dimension(a, b)
    (found,) = within_margins(
        first, second, clusters, [margin], seeds=seeds, statistic=statistic, largest=[largest],
        resamples=resamples, seed=seed, level=level,
    )  # fmt: skip
    return found


def within_margins(
    a: object,
    b: object,
    clusters: Clusters,
    margins: Sequence[float],
    *,
    seeds: Clusters | None = None,
    statistic: Statistic = "net win rate",
    largest: Sequence[float] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.90,
) -> list[MarginTest]:
    """`within_margin` for every column of `a` and `b` [n, dimensions], each with its margin and its largest difference
    (all 1 where None). Columns that have rows in the same clusters share one set of draws."""
    check_draws(resamples, level)
    ranges = [1.0] * len(margins) if largest is None else list(largest)
    for margin, most in zip(margins, ranges, strict=True):
        if not 0 < margin <= most:
            raise ValueError(f"A margin is above 0 and at most `largest`; got {margin} and {most}.")
    columns = paired_differences(a, b, clusters, seeds)
    done: dict[int, MarginTest] = {}
    for indices in alike(columns):
        parts = [(columns[index], _values(columns[index], statistic)) for index in indices]
        for index, found in zip(indices, uncertainties(parts, resamples, seed), strict=True):
            done[index] = _test(columns[index], found, statistic, margins[index], ranges[index], level)
    return [done[index] for index in range(len(columns))]


def _values(column: Differences, statistic: Statistic) -> Floats:
    return np.sign(column.values) if statistic == "net win rate" else column.values


def _test(
    column: Differences,
    found: Uncertainty | None,
    statistic: Statistic,
    margin: float,
    largest: float,
    level: float,
) -> MarginTest:
    effect = float(_values(column, statistic).mean()) if column.n else None
    if found is None:
        p = None if effect is None else 1.0
        return MarginTest(margin, column.n, column.clusters, column.missing, effect, None, None, level, p, p)
    least = (1 - margin / largest) ** column.clusters
    low, high, _ = found.bounds(level)
    return MarginTest(
        margin, column.n, column.clusters, column.missing, effect, low, high, level,
        p_not_below=max(least, found.p_at_most(-margin)),
        p_not_above=max(least, found.p_at_least(margin)),
    )  # fmt: skip
