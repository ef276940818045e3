"""The ratio of two paired means: which share of one effect another one is, and how surely.

Knows nothing of what is measured. Numerator and denominator come from the same rows, so one clustered bootstrap draws
both; an interval from two separate ones would be far too wide where they move together.

Sources: Efron & Tibshirani (1993), An Introduction to the Bootstrap, sections 10.3 and 25 (percentile intervals of a
ratio of means); Fieller (1954), J. R. Statist. Soc. B 16(2), 175-185 (no bounded interval unless the denominator can
be told from 0). The bounds here are those between which no x - ratio * y can be told from 0, which for denominators
above 0 in all resamples is the percentile interval of the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratalign.stats.bootstrap import percentile_bounds, resampled_sums
from stratalign.stats.differences import Differences, check_draws
from stratalign.stats.groups import Clusters, Floats, cluster_codes, cluster_sums, score_array
from stratalign.stats.uncertainty import uncertainties


@dataclass(frozen=True)
class MeanRatio:
    """mean(x) / mean(y) over the rows that have both, without unit; both means and their bounds in the rows' unit.

    `ratio`, `low` and `high` are None where the denominator's interval holds 0, or where so few clusters could not
    tell it from 0 whatever they showed: no share can be given of what may be nothing. Bounds of the means are None
    below two clusters, the means without rows.
    """

    ratio: float | None
    low: float | None
    high: float | None
    numerator: float | None
    numerator_low: float | None
    numerator_high: float | None
    denominator: float | None
    denominator_low: float | None
    denominator_high: float | None
    n: int
    clusters: int
    missing: int
    level: float


def mean_ratios(
    numerators: object,
    denominator: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> list[MeanRatio]:
    """The ratio of every column's mean to that of `denominator`, with a clustered paired bootstrap; with few clusters
    or three seeds or more by linearisation instead: the uncertainty of the mean of (x - ratio * y) / mean(y).

    Args:
        numerators: [n, k], NaN where missing. A row that lacks either side is dropped from that column alone.
        denominator: [n], of the same rows.
        clusters: the cluster of each row [n]; all rows of a cluster are resampled together.
        seeds: the training seed of each row [n], where there are several; three or more are a random level.
        resamples: bootstrap replicates.
        seed: of the draws; columns with rows in equally many clusters see the same ones.
        level: of the intervals.

    Raises:
        ValueError: the shapes do not fit, or a number is infinite.
    """
    check_draws(resamples, level)
    x, y = score_array(numerators, "numerators"), score_array(denominator, "denominator")
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"`numerators` is [rows, k], `denominator` [rows]; got {x.shape} and {y.shape}.")
    codes = cluster_codes(clusters, len(y))
    by_seed = None if seeds is None else cluster_codes(seeds, len(y))
    found = []
    for column in x.T:
        kept = ~np.isnan(column - y)
        present, renumbered = np.unique(codes[kept], return_inverse=True)
        rows = Differences(
            column[kept],
            renumbered.astype(np.int64),
            present,
            int((~kept).sum()),
            None if by_seed is None else by_seed[kept],
        )
        found.append(_ratio(rows, y[kept], resamples, seed, level))
    return found


def _ratio(rows: Differences, below: Floats, resamples: int, seed: int, level: float) -> MeanRatio:
    """The ratio of the mean of `rows` to that of `below`, which has the same rows."""
    n, count, missing = rows.n, rows.clusters, rows.missing
    x, y = (float(part.mean()) if n else None for part in (rows.values, below))
    if x is None or y is None or count < 2:
        return MeanRatio(None, None, None, x, None, None, y, None, None, n, count, missing, level)
    top, bottom = uncertainties([(rows, rows.values), (rows, below)], resamples, seed)
    assert top is not None
    assert bottom is not None
    above, under = top.bounds(level), bottom.bounds(level)
    ratio = low = high = None
    if (under.low > 0 or under.high < 0) and 2 * 0.5**count <= 1 - level:
        ratio = x / y
        if bottom.replicates is None:
            (linear,) = uncertainties([(rows, (rows.values - ratio * below) / y)], resamples, seed)
            assert linear is not None
            low, high = (ratio + end for end in linear.bounds(level)[:2])
        else:
            low, high = _resampled(rows, below, under.low > 0, resamples, seed, level)
    return MeanRatio(
        ratio, low, high, x, above.low, above.high, y, under.low, under.high, n, count, missing, level
    )


def _resampled(
    rows: Differences, below: Floats, positive: bool, resamples: int, seed: int, level: float
) -> tuple[float, float]:
    """Percentiles of the resampled ratios."""
    sums = np.stack([cluster_sums(part, rows.codes, rows.clusters) for part in (rows.values, below)], axis=1)
    tops, bottoms = ((1.0 if positive else -1.0) * resampled_sums(sums, resamples, seed)).T
    # The few resamples without a denominator have no bounded ratio: they lie beyond the end that they lean to.
    shares = np.where(tops > 0, np.inf, -np.inf)
    np.divide(tops, bottoms, out=shares, where=bottoms > 0)
    return percentile_bounds(shares, level)
