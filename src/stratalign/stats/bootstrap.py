"""The clustered bootstrap: clusters are drawn with replacement, and each brings all of its rows.

Works on sums per cluster, so a resample is one row of counts times a matrix, whatever the number of rows.
Knows nothing of what the sums are sums of.

Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 8 (the unit that is drawn is the one
that is independent) and ch. 13 (percentile interval).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from stratalign.stats.groups import Floats

DRAWS_AT_ONCE = 1 << 21
"""How many cluster draws are held in memory at once (16 MiB each for draws and counts)."""


class Interval(NamedTuple):
    """Percentile interval and bootstrap standard error of one statistic, in the statistic's unit."""

    low: float
    high: float
    standard_error: float


def resampled_sums(sums: Floats, resamples: int, seed: int) -> Floats:
    """Totals [resamples, k] of `sums` [C, k] over C clusters drawn with replacement.

    All k columns see the same draws. The result does not depend on how the draws are cut into chunks.
    """
    generator = np.random.default_rng(seed)
    clusters = sums.shape[0]
    chunk = max(1, DRAWS_AT_ONCE // clusters)
    totals = np.empty((resamples, sums.shape[1]))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        draws = generator.integers(0, clusters, size=(size, clusters))
        flat = (draws + np.arange(size)[:, None] * clusters).ravel()
        counts = np.bincount(flat, minlength=size * clusters).reshape(size, clusters)
        totals[start : start + size] = counts.astype(np.float64) @ sums
    return totals


def percentile_interval(replicates: Floats, level: float) -> Interval:
    """The interval that holds `level` of `replicates` [resamples], between two of them.

    The two order statistics lie equally far from both ends, so negating every replicate negates and swaps the
    bounds exactly; interpolated quantiles do so only up to rounding.
    """
    outside = math.floor((1 - level) / 2 * (len(replicates) - 1))
    ordered = np.sort(replicates)
    return Interval(
        low=float(ordered[outside]),
        high=float(ordered[len(ordered) - 1 - outside]),
        # Rounding in the mean of equal replicates must not look like variation.
        standard_error=0.0 if ordered[0] == ordered[-1] else float(np.std(replicates, ddof=1)),
    )
