"""How far a mean of clustered rows may be from the truth: its sampling distribution, by the method that fits the rows.

- Three training seeds or more: seeds are a random level, crossed with clusters; a t distribution (`seeds`).
- Fewer than `FEW_CLUSTERS` clusters: a t distribution with C - 1 degrees of freedom and the cluster-robust standard
  error (CR1). Bootstrap percentiles are too narrow there: with 6 to 10 clusters they miss the truth in 9 to 15 %.
- Otherwise: the percentiles of a clustered bootstrap.

docs/statistics.md says how often each was measured to hold what it promises. Sources: Cameron & Miller (2015), Journal
of Human Resources 50(2), 317-372, section VI (few clusters: t with C - 1 degrees of freedom); those of `bootstrap` and
`seeds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stratalign.stats.bootstrap import FEW_CLUSTERS, percentile_bounds, resampled_sums
from stratalign.stats.clustered import clustered_mean
from stratalign.stats.differences import Differences, paired_differences
from stratalign.stats.groups import Clusters, Floats, cluster_sums, score_array
from stratalign.stats.seeds import seed_level

RANDOM_SEEDS = 3
"""From this many seeds on they are a random level. Two give a variance that is known to within a factor of 900."""

ROUNDING = 1e-12
"""A standard error below this share of the largest value is rounding."""


class Ends(NamedTuple):
    """The ends of an interval and the standard error behind it, in the estimate's unit."""

    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class Uncertainty:
    """The sampling distribution of one mean, in the unit of its values.

    `standard_error` has `freedom` degrees of freedom, and holds for other seeds as well where `over_seeds`;
    `seed_error` is the part of it that more prompts do not make smaller. Bounds and p values come from `replicates`
    where there are some, else from the t distribution.
    """

    estimate: float
    standard_error: float
    freedom: float
    over_seeds: bool
    replicates: Floats | None
    seed_error: float = 0.0

    def bounds(self, level: float) -> Ends:
        """The interval that holds the true mean with probability `level`."""
        from scipy.special import stdtrit

        if self.replicates is not None:
            return Ends(*percentile_bounds(self.replicates, level), self.standard_error)
        half = float(stdtrit(self.freedom, (1 + level) / 2)) * self.standard_error
        return Ends(self.estimate - half, self.estimate + half, self.standard_error)

    def p_at_most(self, value: float) -> float:
        """One-sided p value of the hypothesis that the true mean is at most `value`."""
        if self.replicates is not None:
            return (1 + int((self.replicates <= value).sum())) / (1 + len(self.replicates))
        return self._below(value - self.estimate)

    def p_at_least(self, value: float) -> float:
        """One-sided p value of the hypothesis that the true mean is at least `value`."""
        if self.replicates is not None:
            return (1 + int((self.replicates >= value).sum())) / (1 + len(self.replicates))
        return self._below(self.estimate - value)

    def p_zero(self) -> float:
        """Two-sided p value of the hypothesis that the true mean is 0, by the t distribution."""
        return min(1.0, 2 * self._below(-abs(self.estimate)))

    def _below(self, distance: float) -> float:
        """The probability that a t variable lies below `distance`, which is in the estimate's unit."""
        from scipy.special import stdtr

        if self.standard_error == 0:
            return float(distance >= 0)
        return float(stdtr(self.freedom, distance / self.standard_error))


def bounds_over_seeds(
    estimate: float, influence: Floats, clusters: Clusters, seeds: Clusters | None, level: float
) -> Ends | None:
    """The interval of any smooth statistic over seeds and clusters, by the delta method; None below `RANDOM_SEEDS`.

    Args:
        estimate: the statistic.
        influence: by how much each row [n] moves it: the statistic's derivative by the row's weight, times n; its mean
            over the rows is 0.
        clusters: the cluster of each row [n].
        seeds: the training seed of each row [n].
        level: of the interval.
    """
    if seeds is None or len(set(seeds)) < RANDOM_SEEDS:
        return None
    found = mean_uncertainty(estimate + influence, clusters, seeds)
    return None if found is None else found.bounds(level)


def selected_bounds(
    estimate: float, standard_error: float, freedom: float, candidates: int, level: float = 0.95
) -> Ends:
    """An interval for the estimate that was picked as one of several, usually the highest.

    The highest of several estimates is too high on average, and its own interval holds the truth too rarely. Intervals
    at 1 - (1 - level) / candidates hold for all of them together with probability `level` (Bonferroni), so for
    whichever is picked.
    """
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 1 - (1 - level) / (2 * candidates))) * standard_error
    return Ends(estimate - half, estimate + half, standard_error)


def mean_uncertainty(values: object, clusters: Clusters, seeds: Clusters | None = None) -> Uncertainty | None:
    """The standard error of the mean of `values` [n] and what belongs to it, without a bootstrap; None below two
    clusters. `clusters` and `seeds` [n] are those of the rows."""
    numbers = score_array(values, "values")[:, None]
    (column,) = paired_differences(numbers, np.zeros_like(numbers), clusters, seeds)
    if column.clusters < 2:
        return None
    if column.seed_count >= RANDOM_SEEDS:
        return _over_seeds(column, column.values)
    return _by_clusters(column, column.values, None)


def uncertainties(
    parts: Sequence[tuple[Differences, Floats]], resamples: int, seed: int
) -> list[Uncertainty | None]:
    """The uncertainty of the mean of each part's values [n], one for each row of its differences; None below two
    clusters. All parts have rows in the same clusters, so that they share their draws."""
    clusters = parts[0][0].clusters
    if clusters < 2:
        return [None] * len(parts)
    found: dict[int, Uncertainty] = {}
    for at, (column, values) in enumerate(parts):
        if column.seed_count >= RANDOM_SEEDS:
            found[at] = _over_seeds(column, values)
        elif clusters < FEW_CLUSTERS:
            found[at] = _by_clusters(column, values, None)
    left = [at for at in range(len(parts)) if at not in found]
    if left:
        sums = np.stack(
            [
                cluster_sums(part, parts[at][0].codes, clusters)
                for at in left
                for part in (np.ones_like(parts[at][1]), parts[at][1])
            ],
            axis=1,
        )
        totals = resampled_sums(sums, resamples, seed)
        for place, at in enumerate(left):
            found[at] = _by_clusters(*parts[at], totals[:, 2 * place + 1] / totals[:, 2 * place])
    return [found[at] for at in range(len(parts))]


def _over_seeds(column: Differences, values: Floats) -> Uncertainty:
    assert column.seeds is not None
    level = seed_level(values, column.seeds, column.codes)
    assert level.standard_error is not None
    estimate = _mean(values)
    freedom = level.degrees_of_freedom or float(len(level.seeds) - 1)
    by_prompts = level.cluster_error or 0.0
    seed_error = math.sqrt(max(0.0, level.standard_error**2 - by_prompts**2))
    return Uncertainty(estimate, level.standard_error, freedom, True, None, seed_error)


def _by_clusters(column: Differences, values: Floats, replicates: Floats | None) -> Uncertainty:
    mean = clustered_mean(values, column.codes)
    assert mean.standard_error is not None
    # Rounding in the mean of clusters that are alike must not look like variation.
    error = mean.standard_error if mean.standard_error > ROUNDING * np.abs(values).max() else 0.0
    return Uncertainty(_mean(values), error, float(column.clusters - 1), False, replicates)


def _mean(values: Floats) -> float:
    """The mean by one division, so that the mean of signs is the same number as (wins - losses) / n."""
    return float(values.sum() / len(values))
