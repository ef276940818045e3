"""The mean of clustered scores and its standard error. Knows nothing of pairs or conditions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stratalign.stats.groups import Clusters, cluster_codes, cluster_sums, score_array


@dataclass(frozen=True)
class ClusteredMean:
    """A mean over rows, in the scores' unit. None without rows; no standard error below two clusters."""

    mean: float | None
    standard_error: float | None
    n: int
    clusters: int
    missing: int


def clustered_mean(values: object, clusters: Clusters) -> ClusteredMean:
    """Mean of `values` [n] with a cluster-robust standard error; NaN is dropped and counted in `missing`.

    With e_i = x_i - mean, n rows and C clusters,

        SE^2 = C / (C - 1) x sum over clusters of (sum of e_i within the cluster)^2 / n^2

    which is CR1. Without the factor C / (C - 1) it is CR0, the clustered standard error of Miller, "Adding Error
    Bars to Evals", arXiv:2411.00640v1. We depart from it by the factor, so that clusters of one row give exactly
    the usual s / sqrt(n).
    """
    scores = score_array(values, "values")
    if scores.ndim != 1:
        raise ValueError(f"`values` is one number per row; got shape {scores.shape}.")
    kept = ~np.isnan(scores)
    present, codes = np.unique(cluster_codes(clusters, len(scores))[kept], return_inverse=True)
    n, count, missing = int(kept.sum()), len(present), int((~kept).sum())
    if n == 0:
        return ClusteredMean(None, None, 0, 0, missing)
    mean = float(scores[kept].mean())
    if count < 2:
        return ClusteredMean(mean, None, n, count, missing)
    residuals = cluster_sums(scores[kept] - mean, codes.astype(np.int64), count)
    variance = count / (count - 1) * float((residuals**2).sum()) / n**2
    return ClusteredMean(mean, math.sqrt(variance), n, count, missing)
