"""The Wilcoxon signed-rank test of paired differences. Knows nothing of clusters: it counts every row as independent.

Source: Wilcoxon (1945), Biometrics Bulletin 1(6), 80-83; zeros are left out, as he did, and ties among the sizes share
their mean rank, which lowers the variance (Lehmann 1975, Nonparametrics, section 3.3). Written out here because SciPy
calls the normal approximation by another word in every few versions, and takes two seconds to import; tests hold it to
`scipy.stats.wilcoxon(zero_method="wilcox", method="asymptotic")`.
"""

from __future__ import annotations

import math

import numpy as np

from stratalign.stats.groups import score_array


def wilcoxon_p_value(differences: object) -> float | None:
    """Two-sided p value of the hypothesis that `differences` [n] are symmetric about 0, by the normal approximation.

    With r the ranks of the m differences that are not 0, by size, and t the sizes of groups of equal sizes:

        z = (sum of r where positive - m (m + 1) / 4) / sqrt(m (m + 1) (2m + 1) / 24 - sum of (t^3 - t) / 48)

    NaN is dropped. 1 where all differences are 0, None where there are none. Of a single difference z is 1 whatever
    its size (p = 0.317). Where rows share clusters it is too sure; `cluster_flip_p_values` is the test that is not.
    """
    values = score_array(differences, "differences")
    kept = values[~np.isnan(values)]
    if not len(kept):
        return None
    moved = kept[kept != 0]
    m = len(moved)
    if not m:
        return 1.0
    _, group, counts = np.unique(np.abs(moved), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    variance = m * (m + 1) * (2 * m + 1) / 24 - ties / 48
    z = (float(ranks[moved > 0].sum()) - m * (m + 1) / 4) / math.sqrt(variance)
    return math.erfc(abs(z) / math.sqrt(2))
