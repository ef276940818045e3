"""How far raters agree beyond chance: Krippendorff's alpha, weighted kappa, exact agreement, with intervals.

Ratings are [raters, units] with NaN where a rater did not rate. Every measure is a function of sums over units, so a
bootstrap over units (or clusters of them) is a matrix product. Knows nothing of who the raters are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import krippendorff
import numpy as np

from stratalign.stats.bootstrap import clustered_interval, resampled_sums
from stratalign.stats.groups import Clusters, Floats, cluster_codes, cluster_sums, score_array

MOST_ORDINAL_VALUES = 64
"""More make the coincidence matrices of all units too large; ratings on a scale have far fewer."""


@dataclass(frozen=True)
class Agreement:
    """One measure of agreement, 1 at best; alpha and kappa are 0 at what chance gives, and may be negative.

    `value` is None (undefined) without units that two raters rated, and where chance alone would agree always: all
    those ratings are equal. `low` and `high` are its percentile interval over resampled clusters, None with fewer
    than two of them; resamples in which the measure is undefined are left out. `units` counts those that at least
    two raters rated.
    """

    value: float | None
    low: float | None
    high: float | None
    units: int
    level: float


def krippendorff_alpha(
    ratings: object,
    metric: Literal["ordinal", "interval"] = "ordinal",
    clusters: Clusters | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """alpha = 1 - D_observed / D_expected (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability).

    Args:
        ratings: [raters, units]; NaN where missing.
        metric: distance of two ratings; "ordinal" counts the ratings that lie between them, "interval" is their
            difference.
        clusters: the cluster of each unit [units]; by default each is its own.
        resamples: bootstrap replicates.
        seed: of the draws.
        level: of the interval.

    Raises:
        ValueError: ratings are not a table, or too many different ones for the ordinal metric.
    """
    table, codes = _paired_units(ratings, clusters)
    rated = table[~np.isnan(table)]
    values = np.unique(rated)
    if len(values) < 2:
        return Agreement(None, None, None, table.shape[1], level)
    if metric == "interval":
        sums = _moments(table - rated.mean())
        return _with_interval(None, sums, _interval_alpha, codes, resamples, seed, level)
    if len(values) > MOST_ORDINAL_VALUES:
        raise ValueError(
            f"{len(values)} different ratings are more than {MOST_ORDINAL_VALUES}; use metric='interval'."
        )
    alpha = float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal"))
    return _with_interval(alpha, _coincidences(table, values), _ordinal_alpha, codes, resamples, seed, level)


def quadratic_kappa(
    ratings: object,
    clusters: Clusters | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Cohen's kappa of two raters, weighted by squared differences (Cohen 1968); see `krippendorff_alpha`.

    Raises:
        ValueError: there are not two raters.
    """
    table, codes = _paired_units(ratings, clusters)
    if len(table) != 2:
        raise ValueError(f"Weighted kappa compares two raters, got {len(table)}.")
    # Kappa does not depend on where the scale begins; small numbers keep the sums of integers exact.
    first, second = table - (float(table.min()) if table.size else 0.0)
    sums = np.stack([np.ones_like(first), (first - second) ** 2, first, second, first**2 + second**2], axis=1)
    return _with_interval(None, sums, _kappa, codes, resamples, seed, level)


def exact_agreement(
    ratings: object,
    clusters: Clusters | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Agreement:
    """Share of a unit's pairs of raters that agree exactly, averaged over units; see `krippendorff_alpha`."""
    table, codes = _paired_units(ratings, clusters)
    raters = (~np.isnan(table)).sum(axis=0)
    agreeing = np.zeros(table.shape[1])
    for value in np.unique(table[~np.isnan(table)]):
        same = (table == value).sum(axis=0)
        agreeing += same * (same - 1)
    sums = np.stack([np.ones(table.shape[1]), agreeing / (raters * (raters - 1))], axis=1)
    return _with_interval(None, sums, _share, codes, resamples, seed, level)


def _paired_units(ratings: object, clusters: Clusters | None) -> tuple[Floats, Clusters]:
    """The units that at least two raters rated, [raters, units], and their clusters."""
    table = score_array(ratings, "ratings")
    if table.ndim != 2:
        raise ValueError(f"`ratings` are [raters, units]; got the shape {table.shape}.")
    names = np.arange(table.shape[1]) if clusters is None else np.array([str(name) for name in clusters])
    if len(names) != table.shape[1]:
        raise ValueError(f"Got {len(names)} clusters for {table.shape[1]} units; give one cluster per unit.")
    paired = (~np.isnan(table)).sum(axis=0) >= 2
    return table[:, paired], names[paired]


def _with_interval(
    value: float | None,
    sums: Floats,
    statistic: Callable[[Floats], Floats],
    clusters: Clusters,
    resamples: int,
    seed: int,
    level: float,
) -> Agreement:
    """The statistic of the sums [units, k] over all units, unless given, and its interval over resampled clusters."""
    units = len(sums)
    if value is None:
        (found,) = statistic(sums.sum(axis=0)[None]) if units else (np.nan,)
        if np.isnan(found):
            return Agreement(None, None, None, units, level)
        value = float(found)
    codes = cluster_codes(clusters, units)
    count = int(codes.max()) + 1
    if count < 2:
        return Agreement(value, None, None, units, level)
    grouped = np.stack([cluster_sums(column, codes, count) for column in sums.T], axis=1)
    replicates = statistic(resampled_sums(grouped, resamples, seed))
    interval = clustered_interval(replicates[~np.isnan(replicates)], value, count, level)
    return Agreement(value, max(interval.low, -1.0), min(interval.high, 1.0), units, level)


def _coincidences(table: Floats, values: Floats) -> Floats:
    """Each unit's share in the coincidence matrix [units, values * values]: its ordered pairs over its raters - 1."""
    counts = np.stack([(table == value).sum(axis=0) for value in values], axis=1).astype(np.float64)
    pairs: Floats = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(len(values))
    pairs[:, diagonal, diagonal] -= counts
    pairs /= (counts.sum(axis=1) - 1)[:, None, None]
    return pairs.reshape(len(counts), -1)


def _ordinal_alpha(sums: Floats) -> Floats:
    """Alpha [k] of summed coincidence matrices [k, values * values].

    The ordinal distance of two values, all ratings from one to the other less half of those at both ends, is the
    distance of their mean ranks.
    """
    size = round(sums.shape[1] ** 0.5)
    coincidences = sums.reshape(-1, size, size)
    totals = coincidences.sum(axis=2)
    ranks = totals.cumsum(axis=1) - totals / 2
    distances = (ranks[:, :, None] - ranks[:, None, :]) ** 2
    observed = (coincidences * distances).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distances).sum(axis=(1, 2))
    return _one_minus(observed * (totals.sum(axis=1) - 1), expected, expected)


def _moments(table: Floats) -> Floats:
    """Each unit's [ratings, squared differences of its ordered pairs over its raters - 1, sum, sum of squares]."""
    raters = (~np.isnan(table)).sum(axis=0).astype(np.float64)
    total, squares = np.nansum(table, axis=0), np.nansum(table**2, axis=0)
    spread = 2 * raters * np.nanvar(table, axis=0) * raters
    return np.stack([raters, spread / (raters - 1), total, squares], axis=1)


def _interval_alpha(sums: Floats) -> Floats:
    """Alpha [k] of summed moments [k, 4]."""
    ratings, observed, total, squares = sums.T
    return _one_minus(observed * (ratings - 1), 2 * (ratings * squares - total**2), ratings * squares)


def _kappa(sums: Floats) -> Floats:
    """Kappa [k] of [units, squared differences, sum of either rater, sum of both raters' squares]."""
    units, observed, first, second, squares = sums.T
    return _one_minus(observed * units, units * squares - 2 * first * second, units * squares)


def _share(sums: Floats) -> Floats:
    units, agreeing = sums.T
    return np.asarray(agreeing / units, dtype=np.float64)


def _one_minus(observed: Floats, expected: Floats, size: Floats) -> Floats:
    """1 - observed / expected, NaN where chance alone would agree.

    `expected` is a difference of terms as large as `size`: equal ratings leave their rounding in place of 0.
    """
    disagrees = expected > 1e-12 * size
    return np.where(disagrees, 1 - observed / np.where(disagrees, expected, 1.0), np.nan)
