"""How alike representations are: debiased linear CKA, angles between rows, and draws of half of the clusters.

Plain numbers in and out; knows nothing of models or layers.

Sources: Song et al. (2012), JMLR 13, 1393-1434, section 4.1 (the unbiased estimate of HSIC); Székely & Rizzo (2014),
Annals of Statistics 42(6), 2382-2412, equations 2.4 and 2.5 (the same as an inner product of U-centred matrices);
Kornblith et al. (2019), arXiv:1905.00414v4, equation 4 (CKA); Nguyen, Raghu & Kornblith (2021), arXiv:2010.15327v2,
equations 2 and 3 (CKA of unbiased estimates). Gromov et al. (2024), arXiv:2403.17887v1, equation 6 (angular
distance).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from stratalign.records import keyed_seed

Floats = NDArray[np.float64]

FEWEST_ROWS = 8
"""The estimate takes 4 rows, and halves of the rows must have as many."""


def grams(states: NDArray[np.floating]) -> Floats:
    """Inner products [..., n, n] of rows [n, ..., width], in float64."""
    wide = np.moveaxis(states, 0, -2).astype(np.float64)
    found: Floats = wide @ np.swapaxes(wide, -1, -2)
    return found


def debiased_cka(one: Floats, other: Floats | None = None) -> Floats:
    """Debiased linear CKA [a, b] of Gram matrices [a, n, n] and [b, n, n], at least 4 rows n; at most about 1.

    With K and L without their diagonals, HSIC_1(K, L) = 1 / (n (n - 3)) x [tr(K L) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2
    / (n - 2) 1'KL1], and CKA = HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)). Without debiasing, few rows of wide
    representations look alike whatever they hold. It may be a little below 0 or above 1 by chance, and is not a
    number where a representation does not vary.
    """
    rows = _centred(one)
    columns = rows if other is None else _centred(other)
    own = _lengths(one, rows)
    others = own if other is None else _lengths(other, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = rows @ columns.T / np.sqrt(own[:, None] * others[None, :])
    return found


def _centred(gram: Floats) -> Floats:
    """U-centred matrices as rows [a, n x n]: their inner products are n (n - 3) HSIC_1."""
    n = gram.shape[-1]
    bare = gram.copy()
    bare[..., np.arange(n), np.arange(n)] = 0.0
    sums = bare.sum(axis=-1)
    centred = bare - (sums[..., :, None] + sums[..., None, :]) / (n - 2)
    centred += sums.sum(axis=-1)[..., None, None] / ((n - 1) * (n - 2))
    centred[..., np.arange(n), np.arange(n)] = 0.0
    found: Floats = centred.reshape(len(gram), -1)
    return found


def _lengths(gram: Floats, centred: Floats) -> Floats:
    """Squared lengths [a] of U-centred matrices; 0 where only rounding is left of the Gram matrix."""
    lengths = np.einsum("ij,ij->i", centred, centred)
    found: Floats = np.where(lengths > 1e-24 * (gram**2).sum(axis=(-2, -1)), lengths, 0.0)
    return found


def cosines(one: NDArray[np.floating], other: NDArray[np.floating]) -> Floats:
    """Cosines [...] of vectors [..., width]; not a number of a vector without length."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = (a * b).sum(axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.clip(found, -1.0, 1.0)


def angular_distances(one: NDArray[np.floating], other: NDArray[np.floating]) -> Floats:
    """Angles [...] between vectors [..., width] over pi: 0 the same direction, 0.5 at right angles, 1 opposite."""
    found: Floats = np.arccos(cosines(one, other)) / np.pi
    return found


def half_samples(clusters: Sequence[str], count: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """`count` times the rows of half of the clusters, drawn without replacement from the seed.

    Estimates from halves vary about as much as the whole sample's estimate does (McCarthy 1969, Review of the
    International Statistical Institute 37(3), 239-264). Drawing with replacement, as the bootstrap does, would put
    the same row in twice, which looks alike to itself.
    """
    names = sorted(set(clusters))
    codes = np.array([names.index(name) for name in clusters])
    for number in range(count):
        draw = np.random.default_rng(keyed_seed("half samples", seed, number))
        half = draw.permutation(len(names))[: (len(names) + 1) // 2]
        yield np.flatnonzero(np.isin(codes, half))
