"""Training seeds as a level of their own: what another seed would give, not only what other prompts would.

Knows nothing of training: a seed is a name that rows share, as a cluster is; each prompt is answered under each seed,
so that seeds and clusters cross.

Sources: Cameron, Gelbach & Miller (2011), Journal of Business & Economic Statistics 29(2), 238-249 (errors that are
clustered two ways: V = V_seeds + V_clusters - V_both); Satterthwaite (1946), Biometrics Bulletin 2(6), 110-114 (the
degrees of freedom of a sum of variances).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stratalign.stats.groups import Clusters, Codes, Floats, cluster_codes, cluster_sums, score_array


@dataclass(frozen=True)
class SeedLevel:
    """A mean over seeds, in the unit of the values, where every seed counts alike.

    `effects` has each seed's own mean, in the sorted order of the seeds' names, and `between_seeds` their standard
    deviation (None with one seed), in which the sampling of prompts that seeds do not share is still contained.
    `cluster_error` is the part of `standard_error` that more prompts make smaller: the root of V_clusters. `low`
    and `high` bound the mean for other seeds and other clusters; they and `standard_error` are None with one seed, of
    which nothing can be said but about that seed, and with one cluster. With two seeds they are hardly of use: a
    standard deviation of two numbers is known to within a factor of 30 (95 %).
    """

    seeds: tuple[str, ...]
    effects: tuple[float, ...]
    mean: float | None
    between_seeds: float | None
    standard_error: float | None
    degrees_of_freedom: float | None
    low: float | None
    high: float | None
    n: int
    clusters: int
    level: float
    cluster_error: float | None = None


def seed_level(values: object, seeds: Clusters, clusters: Clusters, *, level: float = 0.95) -> SeedLevel:
    """The mean of `values` [n] (signs of differences, or differences) over seeds, and how surely.

    With S seeds, C clusters, residuals e from the mean and weights w = 1 / (S x rows of the row's seed), each V is
    G / (G - 1) x sum over its G groups of (sum of w e)^2: groups are the seeds, the clusters, or both at once. The
    variance is V_seeds + V_clusters - V_both, but never below V_seeds or V_clusters. Bounds are t intervals with
    V^2 / (V_seeds^2 / (S - 1) + V_clusters^2 / (C - 1)) degrees of freedom. NaN is dropped.

    Args:
        values: one number per row.
        seeds: the seed of each row [n].
        clusters: the cluster of each row [n], under the same name in every seed.
        level: of the interval.
    """
    from scipy.special import stdtrit

    numbers = score_array(values, "values")
    kept = ~np.isnan(numbers)
    numbers = numbers[kept]
    names = [str(seed) for seed, keep in zip(seeds, kept, strict=True) if keep]
    cluster = [str(name) for name, keep in zip(clusters, kept, strict=True) if keep]
    order = tuple(sorted(set(names), key=lambda name: (len(name), name)))
    by_seed, by_cluster = cluster_codes(names, len(numbers)), cluster_codes(cluster, len(numbers))
    if not len(numbers):
        return SeedLevel((), (), None, None, None, None, None, None, 0, 0, level)
    place = dict(zip(names, by_seed.tolist(), strict=True))
    rows = np.bincount(by_seed)
    means = cluster_sums(numbers, by_seed, len(order)) / rows
    effects = tuple(float(means[place[name]]) for name in order)
    mean, count = math.fsum(effects) / len(order), len(set(cluster))
    spread = float(np.std(effects, ddof=1)) if len(order) > 1 else None
    if spread is None or count < 2:
        return SeedLevel(order, effects, mean, spread, None, None, None, None, len(numbers), count, level)
    weighted = (numbers - mean) / (len(order) * rows[by_seed])
    both = by_seed * count + by_cluster
    v_seeds, v_clusters, v_both = (_variance(weighted, codes) for codes in (by_seed, by_cluster, both))
    variance = max(v_seeds + v_clusters - v_both, v_seeds, v_clusters)
    if variance == 0:
        return SeedLevel(order, effects, mean, spread, 0.0, None, mean, mean, len(numbers), count, level, 0.0)
    freedom = variance**2 / (v_seeds**2 / (len(order) - 1) + v_clusters**2 / (count - 1))
    error = math.sqrt(variance)
    half = float(stdtrit(freedom, (1 + level) / 2)) * error
    return SeedLevel(
        order, effects, mean, spread, error, freedom, mean - half, mean + half, len(numbers), count, level,
        math.sqrt(v_clusters),
    )  # fmt: skip


def _variance(weighted: Floats, codes: Codes) -> float:
    _, renumbered = np.unique(codes, return_inverse=True)
    groups = int(renumbered.max()) + 1
    sums = cluster_sums(weighted, renumbered.astype(np.int64), groups)
    return groups / (groups - 1) * float((sums**2).sum())
