"""Two sets of scores for the same rows: who scores higher how often, by how much, and how surely.

Knows nothing of prompts, judges or which direction is better: "win" means that `a` is higher than `b`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stratalign.stats.bootstrap import percentile_interval, resampled_sums
from stratalign.stats.differences import Differences, alike, check_draws, one_dimension, paired_differences
from stratalign.stats.flips import cluster_flip_p_values, sign_flip_p_values
from stratalign.stats.groups import Clusters, Floats, cluster_sums
from stratalign.stats.ranks import wilcoxon_p_value


@dataclass(frozen=True)
class Comparison:
    """`a` against `b` over the rows that have both.

    net_win_rate = (wins - losses) / n = mean of sign(a - b), in [-1, 1]; ties count in n. `low` and `high` bound
    it, and `standard_error` is the standard deviation of its bootstrap replicates. mean_difference = mean of
    a - b in the scores' unit, with its own bounds. `p_value` is two-sided, of the net win rate, by sign flips of
    whole clusters (`flips`); it is 1 where all rows tie or there is one cluster. Rates and the p value are None
    without rows; bounds and standard errors are None with fewer than two clusters, where nothing can be resampled.
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


def compare(
    a: object, b: object, clusters: Clusters, *, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Comparison:
    """Compare two scores of the same rows, with a clustered paired bootstrap.

    Args:
        a: scores [n]; NaN where missing. A row that lacks `a` or `b` is dropped and counted in `missing`.
        b: scores [n] of the same rows, in the same unit.
        clusters: the cluster of each row [n]; all rows of a cluster are resampled together.
        resamples: bootstrap replicates.
        seed: of the draws; the same seed and clusters give the same draws for any scores.
        level: of the percentile intervals.
    """
    first, second = one_dimension(a, b)
    (comparison,) = compare_dimensions(first, second, clusters, resamples=resamples, seed=seed, level=level)
    return comparison


def compare_dimensions(
    a: object, b: object, clusters: Clusters, *, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> list[Comparison]:
    """`compare` for every column of `a` and `b` [n, dimensions], at the cost of about one.

    Columns that have rows in the same clusters share one set of draws. A column that lacks whole clusters is
    resampled over those that it has, exactly as if its missing rows had never been there.
    """
    check_draws(resamples, level)
    columns = paired_differences(a, b, clusters)
    done: dict[int, Comparison] = {}
    for indices in alike(columns):
        together = [columns[index] for index in indices]
        done.update(zip(indices, _compare_together(together, resamples, seed, level), strict=True))
    return [done[index] for index in range(len(columns))]


class DifferenceTests(NamedTuple):
    """Two-sided p values of the differences a - b themselves, beside the net win rate's own: the rank test, which
    takes every row as independent, and flips of whole clusters. None without rows, 1 where all rows tie."""

    wilcoxon_p: float | None
    flip_p: float | None


def difference_tests(
    a: object, b: object, clusters: Clusters, *, draws: int = 10_000, seed: int = 0
) -> list[DifferenceTests]:
    """`wilcoxon_p_value` and `cluster_flip_p_values` of every column of `a` and `b` [n, dimensions]; NaN is missing."""
    columns = paired_differences(a, b, clusters)
    done: dict[int, DifferenceTests] = {}
    for indices in alike(columns):
        together = [columns[index] for index in indices]
        count = together[0].clusters
        flips: list[float | None] = [None] * len(together)
        if count:
            sums = np.stack([cluster_sums(column.values, column.codes, count) for column in together], axis=1)
            flips = [float(p) for p in cluster_flip_p_values(sums, draws=draws, seed=seed)]
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
    parts = [
        cluster_sums(part, column.codes, clusters)
        for column in columns
        for part in (np.ones_like(column.values), np.sign(column.values), column.values)
    ]
    sums = np.stack(parts, axis=1)
    p_values = [float(p) for p in sign_flip_p_values(sums[:, 1::3])]
    if clusters == 1:
        return [
            _comparison(column, None, None, p, level) for column, p in zip(columns, p_values, strict=True)
        ]
    totals = resampled_sums(sums, resamples, seed)
    return [
        _comparison(column, totals[:, at + 1] / totals[:, at], totals[:, at + 2] / totals[:, at], p, level)
        for column, at, p in zip(columns, range(0, totals.shape[1], 3), p_values, strict=True)
    ]


def _comparison(
    column: Differences, rates: Floats | None, means: Floats | None, p_value: float | None, level: float
) -> Comparison:
    """Put the sample's own numbers and the replicates' intervals together."""
    n = column.n
    wins, losses = int((column.values > 0).sum()), int((column.values < 0).sum())
    rate = None if rates is None else percentile_interval(rates, level)
    mean = None if means is None else percentile_interval(means, level)
    return Comparison(
        n=n,
        clusters=column.clusters,
        missing=column.missing,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        net_win_rate=(wins - losses) / n if n else None,
        low=rate.low if rate else None,
        high=rate.high if rate else None,
        standard_error=rate.standard_error if rate else None,
        p_value=p_value,
        mean_difference=float(column.values.mean()) if n else None,
        difference_low=mean.low if mean else None,
        difference_high=mean.high if mean else None,
        difference_standard_error=mean.standard_error if mean else None,
        level=level,
    )
