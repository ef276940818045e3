"""Sign-flip tests of clustered differences: what if each cluster had just as well gone the other way?

Of whole numbers (wins minus losses) exact for any number of clusters: the distribution of the total over all 2^C flips
is a convolution. Of any other sums all flips are listed where clusters are few, and drawn where they are many. Knows
nothing of what the sums are sums of.

Sources: Fisher (1935), The Design of Experiments, section 21 (flipping the signs of paired differences); Canay,
Romano & Shaikh (2017), Econometrica 85(3), 1013-1030 (flipping whole clusters); Pagano & Tritchler (1983), JASA
78(382), 435-440 (permutation distributions by convolution, without listing them); Phipson & Smyth (2010), Statistical
Applications in Genetics and Molecular Biology 9(1), 39 (a drawn p value counts the sample itself, so it is never 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stratalign.stats.groups import Floats

LISTED_CLUSTERS = 14
"""Up to this many clusters all 2^C flips are listed (16,384 of them)."""
FLIPS_AT_ONCE = 1 << 21
"""How many signs are held in memory at once (16 MiB)."""
ROUNDING = 1e-9
"""Totals within this share of the largest possible one are equal: sums of fractions differ in their last bits."""


def sign_flip_p_values(sums: Floats) -> Floats:
    """Two-sided p values [k] of k columns of `sums` [C, k], whole numbers, over C >= 1 clusters.

    Null hypothesis: each cluster's sum is as likely to have the other sign, independently of the other clusters'.
    The statistic is the absolute total; a flip that only equals the sample's counts, so p is 1 where all sums are 0.

    Raises:
        ValueError: a sum is not a whole number.
    """
    if not np.array_equal(sums, np.round(sums)):
        raise ValueError("`sums` must be whole numbers: wins minus losses of each cluster.")
    return np.array([_p_value(column) for column in sums.astype(np.int64).T])


def cluster_flip_p_values(sums: Floats, *, draws: int = 10_000, seed: int = 0) -> Floats:
    """Two-sided p values [k] of k columns of `sums` [C, k], any numbers, over C >= 1 clusters.

    The test that goes with a mean difference: `sums` are the sums of a - b over each cluster's rows. Hypothesis and
    statistic are those of `sign_flip_p_values`. Up to `LISTED_CLUSTERS` clusters p is exact, a share of all flips;
    above, (1 + flips that reach the total) / (1 + `draws`), from seeded draws that all columns share.
    """
    clusters = sums.shape[0]
    total = sums.sum(axis=0)
    limits = np.abs(total) - ROUNDING * np.abs(sums).sum(axis=0)

    def reach(flipped: NDArray[np.generic]) -> Floats:
        """How many of these flips [some, C] reach the total: a flipped cluster counts against it instead of for it."""
        reached: Floats = (np.abs(total - 2 * (flipped.astype(np.float64) @ sums)) >= limits).sum(axis=0)
        return reached

    if clusters <= LISTED_CLUSTERS:
        shares: Floats = reach(np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1) / 2**clusters
        return shares
    generator = np.random.default_rng(seed)
    chunk, words = max(1, FLIPS_AT_ONCE // clusters), -(-clusters // 64)
    reached = np.zeros(sums.shape[1])
    for start in range(0, draws, chunk):
        drawn = generator.integers(0, 2**64, size=(min(chunk, draws - start), words), dtype=np.uint64)
        reached += reach(np.unpackbits(drawn.view(np.uint8), axis=1, count=clusters))
    return (1 + reached) / (1 + draws)


def _p_value(sums: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """With every sum counted as its size or not at all, a total t of those counted stands for the flip 2t - T."""
    sizes = np.abs(sums[sums != 0])
    total = int(sizes.sum())
    shares = np.zeros(total + 1)
    shares[0] = 1.0
    end = 1
    for size in sizes.tolist():
        shares[:end] /= 2
        counted = shares[:end].copy()
        end += size
        shares[size:end] += counted
    reached = np.abs(2 * np.arange(total + 1) - total) >= abs(int(sums.sum()))
    return min(1.0, float(shares[reached].sum()))
