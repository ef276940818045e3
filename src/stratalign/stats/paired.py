"""Two sets of scores for the same rows: who scores higher how often, by how much, and how surely.

Knows nothing of prompts, judges or which direction is better: "win" means that `a` is higher than `b`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stratalign.stats.differences import Differences, alike, check_draws, one_dimension, paired_differences
from stratalign.stats.flips import cluster_flip_p_values, sign_flip_p_values
from stratalign.stats.groups import Clusters, Floats, cluster_sums
from stratalign.stats.ranks import wilcoxon_p_value
from stratalign.stats.uncertainty import RANDOM_SEEDS, Uncertainty, uncertainties


@dataclass(frozen=True)
class Comparison:
    """`a` against `b` over the rows that have both.

    net_win_rate = (wins - losses) / n = mean of sign(a - b), in [-1, 1]; ties count in n. `low` and `high` bound it,
    and `standard_error` is cluster-robust, with `freedom` degrees of freedom (`uncertainty` has the methods).
    mean_difference = mean of a - b in the scores' unit, with its own bounds. `p_value` is two-sided, of the net win
    rate, by sign flips of whole clusters (`flips`), and where `over_seeds` the larger one of that and of the t test
    over seeds and clusters; it is 1 where all rows tie or there is one cluster. `seeds` counts training seeds;
    `over_seeds` says that they are a random level, so that bounds and p value hold for other seeds too; `seed_error` is
    the part of `standard_error` that more prompts do not make smaller. Rates and the p value are None without rows;
    bounds and standard errors are None with fewer than two clusters.
    """

    n: int
    clusters: int
    missing: int
    wins: int
    ties: int
    losses: int
    net_win_rate: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    p_value: float | None
    mean_difference: float | None
    difference_low: float | None
    difference_high: float | None
    difference_standard_error: float | None
    level: float
    freedom: float | None = None
    seeds: int = 1
    over_seeds: bool = False
    seed_error: float = 0.0


def compare(
    a: object,
    b: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare two scores of the same rows, paired and clustered.

    Args:
        a: scores [n]; NaN where missing. A row that lacks `a` or `b` is dropped and counted in `missing`.
        b: scores [n] of the same rows, in the same unit.
        clusters: the cluster of each row [n]; all rows of a cluster are resampled together.
        seeds: the training seed of each row [n], where there are several; three or more are a random level.
        resamples: bootstrap replicates.
        seed: of the draws; the same seed and clusters give the same draws for any scores.
        level: of the intervals.
    """
    first, second = one_dimension(a, b)
    (comparison,) = compare_dimensions(
        first, second, clusters, seeds=seeds, resamples=resamples, seed=seed, level=level
    )
    return comparison


def compare_dimensions(
    a: object,
    b: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Comparison]:
    """`compare` for every column of `a` and `b` [n, dimensions], at the cost of about one.

    Columns that have rows in the same clusters share one set of draws. A column that lacks whole clusters is
    resampled over those that it has, exactly as if its missing rows had never been there.
    """
    check_draws(resamples, level)
    columns = paired_differences(a, b, clusters, seeds)
    done: dict[int, Comparison] = {}
    for indices in alike(columns):
        together = [columns[index] for index in indices]
        done.update(zip(indices, _compare_together(together, resamples, seed, level), strict=True))
    return [done[index] for index in range(len(columns))]


class DifferenceTests(NamedTuple):
    """Two-sided p values of the differences a - b themselves, beside the net win rate's own: the rank test, which
    takes every row as independent, and flips of whole clusters (with three seeds or more the larger one of that and of
    the t test over seeds and clusters). None without rows, 1 where all rows tie."""

    wilcoxon_p: float | None
    flip_p: float | None


def difference_tests(
    a: object,
    b: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> list[DifferenceTests]:
    """`wilcoxon_p_value` and `cluster_flip_p_values` of every column of `a` and `b` [n, dimensions]; NaN is missing."""
    columns = paired_differences(a, b, clusters, seeds)
    done: dict[int, DifferenceTests] = {}
    for indices in alike(columns):
        together = [columns[index] for index in indices]
        count = together[0].clusters
        flips: list[float | None] = [None] * len(together)
        if count:
            sums = np.stack([cluster_sums(column.values, column.codes, count) for column in together], axis=1)
            flips = [
                _over_seeds(float(p), column, column.values)
                for p, column in zip(
                    cluster_flip_p_values(sums, draws=draws, seed=seed), together, strict=True
                )
            ]
        for index, column, p in zip(indices, together, flips, strict=True):
            done[index] = DifferenceTests(wilcoxon_p_value(column.values), p)
    return [done[index] for index in range(len(columns))]


def _compare_together(
    columns: Sequence[Differences], resamples: int, seed: int, level: float
) -> list[Comparison]:
    """Comparisons of columns that have rows in the same clusters, from one set of draws."""
    clusters = columns[0].clusters
    if clusters == 0:
        return [_comparison(column, None, None, None, level) for column in columns]
    signs = np.stack(
        [cluster_sums(np.sign(column.values), column.codes, clusters) for column in columns], axis=1
    )
    p_values = [
        _over_seeds(float(p), column, np.sign(column.values))
        for p, column in zip(sign_flip_p_values(signs), columns, strict=True)
    ]
    parts = [(column, part) for column in columns for part in (np.sign(column.values), column.values)]
    found = uncertainties(parts, resamples, seed)
    return [
        _comparison(column, rate, mean, p, level)
        for column, rate, mean, p in zip(columns, found[::2], found[1::2], p_values, strict=True)
    ]


def _over_seeds(p_value: float, column: Differences, values: Floats) -> float:
    """The p value of sign flips, which take seeds as given; where seeds are a random level no smaller than theirs."""
    if column.seed_count < RANDOM_SEEDS or column.clusters < 2:
        return p_value
    (found,) = uncertainties([(column, values)], 2, 0)
    return p_value if found is None else max(p_value, found.p_zero())


def _comparison(
    column: Differences,
    rate: Uncertainty | None,
    mean: Uncertainty | None,
    p_value: float | None,
    level: float,
) -> Comparison:
    """Put the sample's own numbers and the intervals together."""
    n = column.n
    wins, losses = int((column.values > 0).sum()), int((column.values < 0).sum())
    low, high, _ = (None, None, None) if rate is None else rate.bounds(level)
    difference_low, difference_high, _ = (None, None, None) if mean is None else mean.bounds(level)
    return Comparison(
        n=n,
        clusters=column.clusters,
        missing=column.missing,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        net_win_rate=(wins - losses) / n if n else None,
        low=None if low is None else max(low, -1.0),
        high=None if high is None else min(high, 1.0),
        standard_error=rate.standard_error if rate else None,
        p_value=p_value,
        mean_difference=float(column.values.mean()) if n else None,
        difference_low=difference_low,
        difference_high=difference_high,
        difference_standard_error=mean.standard_error if mean else None,
        level=level,
        freedom=rate.freedom if rate else None,
        seeds=column.seed_count,
        over_seeds=rate.over_seeds if rate else False,
        seed_error=rate.seed_error if rate else 0.0,
    )
