"""The sign-flip test of clustered wins and losses: what if each cluster had just as well gone the other way?

Exact for any number of clusters, because each cluster's sum is a whole number: the distribution of the total over all
2^C flips is a convolution. Knows nothing of what the sums are sums of.

Sources: Fisher (1935), The Design of Experiments, section 21 (flipping the signs of paired differences); Canay,
Romano & Shaikh (2017), Econometrica 85(3), 1013-1030 (flipping whole clusters); Pagano & Tritchler (1983), JASA
78(382), 435-440 (permutation distributions by convolution, without listing them).
"""

from __future__ import annotations

import numpy as np

from stratalign.stats.groups import Floats


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


def _p_value(sums: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    """With every sum counted as its size or not at all, a total t of those counted stands for the flip 2t - T."""
    sizes = np.abs(sums[sums != 0])
    total = int(sizes.sum())
    shares = np.zeros(total + 1)
    shares[0] = 1.0
    for size in sizes:
        counted = np.zeros_like(shares)
        counted[size:] = shares[:-size]
        shares = (shares + counted) / 2
    reached = np.abs(2 * np.arange(total + 1) - total) >= abs(int(sums.sum()))
    return min(1.0, float(shares[reached].sum()))
