"""How dimensions go together across answers: where one call scores them all, much of it can be a halo.

Knows nothing of what the dimensions are. Source of the word: Thorndike (1920), Journal of Applied Psychology 4(1).
"""

from __future__ import annotations

import numpy as np

from stratalign.stats.groups import Clusters, Codes, Floats, cluster_codes, cluster_sums, score_array


def correlations(values: object, groups: Clusters | None = None) -> list[list[float | None]]:
    """Pearson correlations [k, k] of the columns of `values` [n, k], each pair over rows that have both.

    Args:
        values: scores; NaN where missing.
        groups: where given, the group of each row [n]; each pair's scores are centred within groups first, so that
            what groups differ by on average (conditions, say) does not count as going together.

    Returns:
        The matrix; None where a column does not vary over a pair's rows, or fewer than two rows have both.
    """
    scores = score_array(values, "values")
    if scores.ndim != 2:
        raise ValueError(f"`values` is [rows, dimensions]; got shape {scores.shape}.")
    codes = cluster_codes(groups if groups is not None else [0] * len(scores), len(scores))
    size = scores.shape[1]
    matrix: list[list[float | None]] = [[None] * size for _ in range(size)]
    for i in range(size):
        for j in range(i, size):
            kept = ~np.isnan(scores[:, i]) & ~np.isnan(scores[:, j])
            matrix[i][j] = matrix[j][i] = _correlation(scores[kept][:, [i, j]], codes[kept])
    return matrix


def _correlation(pair: Floats, codes: Codes) -> float | None:
    if len(pair) < 2:
        return None
    count = int(codes.max()) + 1
    sizes = np.maximum(cluster_sums(np.ones(len(pair)), codes, count), 1)
    x, y = (column - (cluster_sums(column, codes, count) / sizes)[codes] for column in pair.T)
    squares = float(x @ x), float(y @ y)
    # Rounding in the mean of equal scores must not look like variation.
    if any(s <= 1e-18 * float(c @ c) or s == 0 for s, c in zip(squares, pair.T, strict=True)):
        return None
    return max(-1.0, min(1.0, float(x @ y) / float(np.sqrt(squares[0]) * np.sqrt(squares[1]))))
