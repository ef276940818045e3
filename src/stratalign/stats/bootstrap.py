"""The clustered bootstrap: clusters are drawn with replacement, and each brings all of its rows.

Works on sums per cluster, so a resample is one row of counts times a matrix, whatever the number of rows.
Knows nothing of what the sums are sums of.

Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 8 (the unit that is drawn is the one
that is independent) and ch. 13 (percentile interval).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratalign.stats.groups import Floats

FEW_CLUSTERS = 30
"""Below this many clusters percentiles are too narrow, and bounds come from a t distribution. Ours: in simulations both
hold from here on (docs/statistics.md)."""
DRAWS_AT_ONCE = 1 << 18
"""How many cluster draws are made at once: draws and counts (2 MiB each) then stay in the processor's cache, and are
made in a fifth of the time that they take in memory."""
DRAWS_KEPT = 1 << 24
"""Draws up to this many are kept for the next statistics over as many clusters (16 MiB each, eight of them): a report
asks for the same ones many times, and drawing costs more than summing."""


class Interval(NamedTuple):
    """Interval and bootstrap standard error of one statistic, in the statistic's unit."""

    low: float
    high: float
    standard_error: float


def resampled_sums(sums: Floats, resamples: int, seed: int) -> Floats:
    """Totals [resamples, k] of `sums` [C, k] over C clusters drawn with replacement.

    All k columns see the same draws. The result does not depend on how the draws are cut into chunks.
    """
    clusters = sums.shape[0]
    kept = clusters * resamples <= DRAWS_KEPT
    chunks = _kept_counts(clusters, resamples, seed) if kept else _counts(clusters, resamples, seed)
    return np.concatenate([counts.astype(np.float64) @ sums for counts in chunks])


@lru_cache(maxsize=8)
def _kept_counts(clusters: int, resamples: int, seed: int) -> list[NDArray[np.unsignedinteger]]:
    return [
        counts.astype(np.uint8 if counts.max() < 256 else np.uint32)
        for counts in _counts(clusters, resamples, seed)
    ]


def _counts(clusters: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each cluster is drawn in each resample, in chunks [some, clusters]."""
    generator = np.random.default_rng(seed)
    chunk = max(1, DRAWS_AT_ONCE // clusters)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        draws = generator.integers(0, clusters, size=(size, clusters))
        flat = (draws + np.arange(size)[:, None] * clusters).ravel()
        yield np.bincount(flat, minlength=size * clusters).reshape(size, clusters)


def clustered_interval(replicates: Floats, estimate: float, clusters: int, level: float) -> Interval:
    """The interval of any statistic of `clusters` clusters, from its `replicates` [resamples] and its own value.

    Percentiles; with fewer than `FEW_CLUSTERS` clusters estimate +- t_{C-1} x SE instead, where SE is the standard
    deviation of the replicates x sqrt(C / (C - 1)), which is the cluster-robust (CR1) error where the statistic is a
    mean and clusters have equally many rows.
    """
    from scipy.special import stdtrit

    found = percentile_interval(replicates, level)
    if clusters >= FEW_CLUSTERS:
        return found
    error = math.sqrt(clusters / (clusters - 1)) * found.standard_error
    half = float(stdtrit(clusters - 1, (1 + level) / 2)) * error
    return Interval(estimate - half, estimate + half, error)


def percentile_interval(replicates: Floats, level: float) -> Interval:
    """The interval that holds `level` of `replicates` [resamples], between two of them.

    The two order statistics lie equally far from both ends, so negating every replicate negates and swaps the
    bounds exactly; interpolated quantiles do so only up to rounding.
    """
    low, high = percentile_bounds(replicates, level)
    # Rounding in the mean of equal replicates must not look like variation.
    alike = replicates.min() == replicates.max()
    return Interval(low, high, 0.0 if alike else float(np.std(replicates, ddof=1)))


def percentile_bounds(replicates: Floats, level: float) -> tuple[float, float]:
    """`percentile_interval` without a standard error, which infinite replicates do not have."""
    outside = math.floor((1 - level) / 2 * (len(replicates) - 1))
    ordered = np.sort(replicates)
    return float(ordered[outside]), float(ordered[len(ordered) - 1 - outside])
