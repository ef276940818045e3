"""The sign-flip test of clustered differences: what if each cluster had just as well gone the other way?

Works on one sum per cluster, exact where all flips can be listed. Knows nothing of what the sums are sums of.

Sources: Fisher (1935), The Design of Experiments, section 21 (flipping the signs of paired differences); Canay,
Romano & Shaikh (2017), Econometrica 85(3), 1013-1030 (flipping whole clusters); Phipson & Smyth (2010), SAGMB 9(1),
39, arXiv:1603.05766 (the p value of random flips counts the sample itself, so it is never 0).
"""

from __future__ import annotations

import numpy as np

from stratalign.stats.groups import Floats

SIGNS_AT_ONCE = 1 << 21
"""How many random signs are held in memory at once (16 MiB)."""


def sign_flip_p_values(sums: Floats, draws: int, seed: int) -> Floats:
    """Two-sided p values [k] of k columns of `sums` [C, k] over C >= 1 clusters.

    Null hypothesis: each cluster's sum is as likely to have the other sign, independently of the other clusters'.
    The statistic is the absolute total; a flip that only equals the sample's counts. With 2^C <= `draws` all flips
    are listed, and p is their share. Otherwise `draws` random ones are drawn, and p = (1 + k) / (1 + draws), so that
    it is at least 1 / (1 + draws). Totals of whole numbers are exact, so ties are seen as ties.

    All columns see the same flips. The result does not depend on how the draws are cut into chunks.
    """
    clusters = len(sums)
    observed = np.abs(sums.sum(axis=0))
    if 2**clusters <= draws:
        reached = np.abs(_all_signs(clusters) @ sums) >= observed
        return np.asarray(reached.mean(axis=0), dtype=np.float64)
    generator = np.random.default_rng(seed)
    chunk = max(1, SIGNS_AT_ONCE // clusters)
    count = np.zeros(sums.shape[1])
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        signs = 2.0 * generator.integers(0, 2, size=(size, clusters)) - 1
        count += (np.abs(signs @ sums) >= observed).sum(axis=0)
    return np.asarray((1 + count) / (1 + draws), dtype=np.float64)


def _all_signs(clusters: int) -> Floats:
    """Every row of signs [2^C, C]: the bits of 0, 1, 2, ... as -1 and +1."""
    bits = np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1
    return (2 * bits - 1).astype(np.float64)
