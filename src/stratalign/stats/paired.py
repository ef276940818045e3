"""Two sets of scores for the same rows: who scores higher how often, by how much, and how surely.

Knows nothing of prompts, judges or which direction is better: "win" means that `a` is higher than `b`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from stratalign.stats.bootstrap import percentile_interval, resampled_sums
from stratalign.stats.flips import sign_flip_p_values
from stratalign.stats.groups import Clusters, Codes, Floats, cluster_codes, cluster_sums, score_array


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
    first, second = score_array(a, "a"), score_array(b, "b")
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"`a` and `b` are one number per row; got shapes {first.shape} and {second.shape}.")
    (comparison,) = compare_dimensions(
        first[:, None], second[:, None], clusters, resamples=resamples, seed=seed, level=level
    )
    return comparison


def compare_dimensions(
    a: object, b: object, clusters: Clusters, *, resamples: int = 10_000, seed: int = 0, level: float = 0.95
) -> list[Comparison]:
    """`compare` for every column of `a` and `b` [n, dimensions], at the cost of about one.

    Columns that have rows in the same clusters share one set of draws. A column that lacks whole clusters is
    resampled over those that it has, exactly as if its missing rows had never been there.
    """
    first, second = score_array(a, "a"), score_array(b, "b")
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"`a` and `b` are [rows, dimensions]; got shapes {first.shape} and {second.shape}.")
    if resamples < 2 or not 0 < level < 1:
        raise ValueError(
            f"`resamples` is at least 2 and `level` between 0 and 1; got {resamples} and {level}."
        )
    codes = cluster_codes(clusters, len(first))
    columns = [_column(first[:, index], second[:, index], codes) for index in range(first.shape[1])]
    alike = defaultdict(list)
    for index, column in enumerate(columns):
        alike[column.present.tobytes()].append(index)
    done: dict[int, Comparison] = {}
    for indices in alike.values():
        together = [columns[index] for index in indices]
        done.update(zip(indices, _compare_together(together, resamples, seed, level), strict=True))
    return [done[index] for index in range(len(columns))]


@dataclass(frozen=True)
class _Column:
    """One dimension's differences a - b [n] without missing rows, and which clusters they come from."""

    difference: Floats
    codes: Codes  # [n], renumbered over the clusters that are present
    present: Codes  # the present clusters' codes, ascending
    missing: int


def _column(a: Floats, b: Floats, codes: Codes) -> _Column:
    difference = a - b
    kept = ~np.isnan(difference)
    present, renumbered = np.unique(codes[kept], return_inverse=True)
    return _Column(difference[kept], renumbered.astype(np.int64), present, int((~kept).sum()))


def _compare_together(columns: list[_Column], resamples: int, seed: int, level: float) -> list[Comparison]:
    """Comparisons of columns that have rows in the same clusters, from one set of draws."""
    clusters = len(columns[0].present)
    if clusters == 0:
        return [_comparison(column, None, None, None, level) for column in columns]
    parts = [
        cluster_sums(part, column.codes, clusters)
        for column in columns
        for part in (np.ones_like(column.difference), np.sign(column.difference), column.difference)
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
    column: _Column, rates: Floats | None, means: Floats | None, p_value: float | None, level: float
) -> Comparison:
    """Put the sample's own numbers and the replicates' intervals together."""
    n = len(column.difference)
    wins, losses = int((column.difference > 0).sum()), int((column.difference < 0).sum())
    rate = None if rates is None else percentile_interval(rates, level)
    mean = None if means is None else percentile_interval(means, level)
    return Comparison(
        n=n,
        clusters=len(column.present),
        missing=column.missing,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
        net_win_rate=(wins - losses) / n if n else None,
        low=rate.low if rate else None,
        high=rate.high if rate else None,
        standard_error=rate.standard_error if rate else None,
        p_value=p_value,
        mean_difference=float(column.difference.mean()) if n else None,
        difference_low=mean.low if mean else None,
        difference_high=mean.high if mean else None,
        difference_standard_error=mean.standard_error if mean else None,
        level=level,
    )
