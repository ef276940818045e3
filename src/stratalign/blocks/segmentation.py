"""Contiguous blocks from how alike layers are. Pure arithmetic on a matrix; where it comes from it does not know.

The blocks are those of kernel change-point detection with a given number of segments: the sum over blocks of
sum_i K_ii - (1/n) sum_ij K_ij is as small as can be, which is the scatter of the block's layers around their mean in
the space whose inner product K is. Dynamic programming finds the exact minimum.

Sources: Harchaoui & Cappé (2007), Retrospective multiple change-point estimation with kernels, IEEE SSP, 768-772;
Arlot, Celisse & Harchaoui (2019), arXiv:1202.3878v3, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from stratalign.errors import UserError


def segment(similarity: ArrayLike, count: int, least: int = 1) -> tuple[range, ...]:
    """Divide layers into `count` contiguous blocks of at least `least` layers whose members are most alike.

    Args:
        similarity: [layers, layers], larger where two layers are more alike, 1 for a layer and itself (such as CKA);
            only its symmetric part counts.
        count: number of blocks.
        least: layers in the smallest block.

    Returns:
        The blocks from the first layer to the last; of equally good divisions the one that ends its blocks earliest.

    Raises:
        UserError: the matrix is not square or not finite, or there are too few layers.

    >>> segment([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]], 2)
    (range(0, 2), range(2, 3))
    """
    matrix = np.asarray(similarity, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
        raise UserError(
            f"Similarities of layers are one finite number for each two layers; got shape {matrix.shape}."
        )
    layers = len(matrix)
    if count < 1 or least < 1 or count * least > layers:
        raise UserError(
            f"{layers} layers cannot be divided into {count} blocks of at least {least}. Ask for fewer blocks."
        )
    scatter = _scatter(matrix)
    best = [[math.inf] * (layers + 1) for _ in range(count + 1)]
    start = [[0] * (layers + 1) for _ in range(count + 1)]
    best[0][0] = 0.0
    for blocks in range(1, count + 1):
        for stop in range(blocks * least, layers + 1):
            for cut in range((blocks - 1) * least, stop - least + 1):
                cost = best[blocks - 1][cut] + scatter[cut][stop]
                # rounding must not decide between equal divisions
                if cost < best[blocks][stop] - 1e-12:
                    best[blocks][stop], start[blocks][stop] = cost, cut
    found, stop = [], layers
    for blocks in range(count, 0, -1):
        found.append(range(start[blocks][stop], stop))
        stop = start[blocks][stop]
    return tuple(reversed(found))


def _scatter(matrix: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Sequence[Sequence[float]]:
    """[start][stop] scatter of the block of layers start .. stop - 1."""
    layers = len(matrix)
    sums = np.zeros((layers + 1, layers + 1))
    sums[1:, 1:] = matrix.cumsum(axis=0).cumsum(axis=1)
    own = np.concatenate([[0.0], np.diag(matrix).cumsum()])
    return [
        [
            float(
                own[stop]
                - own[start]
                - (sums[stop, stop] - sums[start, stop] - sums[stop, start] + sums[start, start])
                / (stop - start)
            )
            if stop > start
            else 0.0
            for stop in range(layers + 1)
        ]
        for start in range(layers + 1)
    ]
