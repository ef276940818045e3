"""Rows belong to clusters: names to codes, and sums per cluster. Knows nothing of what is summed.

A cluster is whatever was drawn together (the turns of one conversation, the answers to one prompt). Its rows
are not independent of each other, so every standard error and every resample here counts clusters, not rows.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
Clusters = Sequence[Hashable] | NDArray[np.generic]


def cluster_codes(clusters: Clusters, rows: int) -> Codes:
    """Codes 0..C-1 [rows] of the cluster of each row, in the sorted order of the clusters' names.

    The order comes from the names alone, so that shuffling the rows changes no resample.

    Raises:
        ValueError: there is not exactly one cluster per row.
    """
    names = [str(name) for name in clusters]
    if len(names) != rows:
        raise ValueError(f"Got {len(names)} clusters for {rows} rows; give one cluster per row.")
    order = {name: code for code, name in enumerate(sorted(set(names)))}
    return np.array([order[name] for name in names], dtype=np.int64)


def cluster_sums(values: Floats, codes: Codes, count: int) -> Floats:
    """Sums [count] of `values` [n] within each of `count` clusters."""
    return np.bincount(codes, weights=values, minlength=count).astype(np.float64)


def score_array(values: object, name: str) -> Floats:
    """`values` as float64; NaN marks a missing score.

    Raises:
        ValueError: a value is infinite, which is neither a score nor a missing one.
    """
    array = np.asarray(values, dtype=np.float64)
    if np.isinf(array).any():
        raise ValueError(f"`{name}` has an infinite value. A score is finite; NaN marks a missing one.")
    return array
