"""Gains held against each other at the same distance from the base, where the distances that were reached differ.

A condition that moved farther had more room to gain. Knows nothing of models: gains and divergences are numbers.

Source: Gao, Schulman & Hilton 2023, arXiv:2210.10760v1, section 3 and figure 1: gains as a function of sqrt(KL), a
length from the policy that training started from. There the curve starts at 0 and is nearly straight at first and
concave later on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stratalign.stats.bootstrap import clustered_interval, resampled_sums
from stratalign.stats.differences import check_draws
from stratalign.stats.groups import Clusters, Floats, cluster_codes, cluster_sums, score_array
from stratalign.stats.uncertainty import bounds_over_seeds


@dataclass(frozen=True)
class MatchedGains:
    """Two conditions' gains at the same KL to base. Divergences in nats, gains in their own unit.

    `kl_a`, `kl_b`, `gain_a` and `gain_b` are what was reached, `kl` is the smaller divergence, `matched_a` and
    `matched_b` the gains there, `difference` a's minus b's, with its bounds. What needs rows is None without them, and
    what needs a second cluster is None with one; where either KL is 0 nothing can be matched.
    """

    n: int
    clusters: int
    missing: int
    kl_a: float | None
    kl_b: float | None
    gain_a: float | None
    gain_b: float | None
    kl: float | None
    matched_a: float | None
    matched_b: float | None
    difference: float | None
    low: float | None
    high: float | None
    level: float


def gain_at_kl(kls: Sequence[float], gains: Sequence[float], kl: float) -> float:
    """The gain at divergence `kl` on the broken line from (0, 0) through the points (sqrt(KL), gain).

    Args:
        kls: the divergences of the points, in nats, each above 0 and no two equal.
        gains: the gains of the points.
        kl: where to read the line.

    Raises:
        ValueError: `kl` is negative or beyond the largest of `kls`: a gain is never extrapolated.
    """
    if not kls or not 0 <= kl <= max(kls):
        raise ValueError(f"A gain is read between 0 and the largest KL reached; got {kl} of {list(kls)}.")
    points = sorted(zip(kls, gains, strict=True))
    line = np.sqrt([0.0, *(at for at, _ in points)])
    return float(np.interp(np.sqrt(kl), line, [0.0, *(gain for _, gain in points)]))


def matched_gains(
    gain_a: object,
    kl_a: object,
    gain_b: object,
    kl_b: object,
    clusters: Clusters,
    *,
    seeds: Clusters | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> MatchedGains:
    """Gains of `a` and `b` over base, at the largest KL that both reach.

    Each condition has one point, (sqrt of its mean KL, its mean gain), and the line to it from the base at (0, 0). The
    condition that went farther is read at the other's KL, gain x sqrt(KL of the other / KL of its own); nothing is
    extrapolated. That assumes that its gain grew in proportion to sqrt(KL); where it grew faster at first, as curves
    that bend do, this understates it. The bootstrap draws clusters, with both KLs and the matched KL anew each time;
    from three seeds on the interval is over seeds and clusters, by the delta method.

    Args:
        gain_a: each row's gain [n], for instance sign(a - base); NaN where missing, and then the row is dropped.
        kl_a: each row's KL(a || base) [n], in nats.
        gain_b: as `gain_a`, of the same rows.
        kl_b: as `kl_a`.
        clusters: the cluster of each row [n].
        seeds: the training seed of each row [n], where there are several.
        resamples: bootstrap replicates.
        seed: of the draws.
        level: of the interval.

    Raises:
        ValueError: a KL is negative, or the shapes differ.
    """
    check_draws(resamples, level)
    names = ("gain_a", "kl_a", "gain_b", "kl_b")
    columns = [score_array(v, name) for v, name in zip((gain_a, kl_a, gain_b, kl_b), names, strict=True)]
    if columns[0].ndim != 1 or len({column.shape for column in columns}) > 1:
        raise ValueError(f"Gains and KLs are one number per row; got shapes {[c.shape for c in columns]}.")
    rows = np.stack(columns, axis=1)
    kept = ~np.isnan(rows).any(axis=1)
    present, codes = np.unique(cluster_codes(clusters, len(rows))[kept], return_inverse=True)
    rows, count, missing = rows[kept], len(present), int((~kept).sum())
    if (rows[:, 1::2] < 0).any():
        raise ValueError("A KL divergence is never negative.")
    if not len(rows):
        return MatchedGains(0, 0, missing, *(None,) * 10, level=level)
    means = rows.mean(axis=0)
    g_a, k_a, g_b, k_b = (float(mean) for mean in means)
    reached = (len(rows), count, missing, k_a, k_b, g_a, g_b)
    if min(k_a, k_b) == 0:
        return MatchedGains(*reached, *(None,) * 6, level=level)
    (a,), (b,) = _matched(means[None])
    low = high = None
    if count > 1:
        parts = [np.ones(len(rows)), *rows.T]
        sums = np.stack([cluster_sums(part, codes.astype(np.int64), count) for part in parts], axis=1)
        totals = resampled_sums(sums, resamples, seed)
        first, second = _matched(totals[:, 1:] / totals[:, :1])
        low, high, _ = clustered_interval(first - second, float(a - b), count, level)
        by_seed = None if seeds is None else cluster_codes(seeds, len(columns[0]))[kept]
        ends = bounds_over_seeds(float(a - b), (rows - means) @ _slopes(means), codes, by_seed, level)
        if ends is not None:
            low, high = ends.low, ends.high
    return MatchedGains(*reached, min(k_a, k_b), float(a), float(b), float(a - b), low, high, level=level)


def _slopes(means: Floats) -> Floats:
    """The derivatives [4] of the difference of matched gains by the means (gain a, KL a, gain b, KL b)."""
    g_a, k_a, g_b, k_b = means
    if k_a >= k_b:  # a is read at b's KL: g_a sqrt(k_b / k_a) - g_b
        share = np.sqrt(k_b / k_a)
        return np.array([share, -g_a * share / (2 * k_a), -1.0, g_a * share / (2 * k_b)])
    share = np.sqrt(k_a / k_b)
    return np.array([1.0, -g_b * share / (2 * k_a), -share, g_b * share / (2 * k_b)])


def _matched(means: Floats) -> tuple[Floats, Floats]:
    """Gains at the smaller KL from rows of (gain a, KL a, gain b, KL b); with a KL of 0, no gain is left to read."""
    g_a, k_a, g_b, k_b = means.T
    least = np.minimum(k_a, k_b)

    def read(gain: Floats, kl: Floats) -> Floats:
        share: Floats = np.sqrt(np.divide(least, kl, out=np.zeros_like(kl), where=kl > 0))
        return gain * share

    return read(g_a, k_a), read(g_b, k_b)
