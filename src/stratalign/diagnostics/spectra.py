"""What singular values say: which of a weight's stand out of noise, and over how many directions a matrix is spread.

The noise is that of a matrix of independent entries, whose singular values fill the Marchenko-Pastur law's range and
have an upper edge. Plain numbers in and out; knows nothing of models.

Sources: Marchenko and Pastur (1967), Mathematics of the USSR-Sbornik 1(4), 457-483 (the law, its edges); Hartford et
al. (2024), Spectrum, arXiv:2406.06623 (the ratio, and a threshold from the interquartile range); Roy and Vetterli
(2007), EUSIPCO (effective rank, there of the values themselves, not of their squares); Rudelson and Vershynin (2007),
Journal of the ACM 54(4) (stable rank).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NORMAL_QUARTILES = 1.349
"""Interquartile range of a standard normal variable, which is what Spectrum divides the singular values' own by."""

_POINTS = 2**14


class Signal(NamedTuple):
    """How far a matrix stands out of noise; `missing` says why there is no number, where there is none.

    `noise` is the standard deviation of a noise entry, `threshold` the largest singular value of such noise, `above`
    how many are larger. `snr` is the sum of those over the sum of all others, 0 if there are none. `spectrum` is the
    same ratio as Spectrum's program takes it, over the largest value.
    """

    noise: float | None
    threshold: float | None
    above: int | None
    snr: float | None
    spectrum: float | None
    missing: str | None = None


def signal_to_noise(values: Floats, shape: tuple[int, int]) -> Signal:
    """The signal-to-noise ratio of a matrix of `shape` with singular values `values` [min(shape)], largest first.

    A noise matrix with entries of deviation s has singular values between s (sqrt(n) - sqrt(m)) and s (sqrt(n) +
    sqrt(m)), n >= m. Here s is the interquartile range of the values over that of the law at s = 1: a few large values
    do not move it. `snr` does not depend on the matrix's scale; `spectrum` has the scale's inverse.
    """
    large, small = max(shape), min(shape)
    if not len(values) or not np.isfinite(values).all():
        return Signal(None, None, None, None, None, "not finite")
    if values[0] == 0:
        return Signal(None, None, None, None, None, "zero")
    spread = float(np.quantile(values, 0.75) - np.quantile(values, 0.25))
    if spread <= np.finfo(np.float64).eps * large * values[0]:
        return Signal(None, None, None, None, None, "its middle singular values do not spread")
    noise = spread / (_law_quartiles(small / large) * math.sqrt(large))
    threshold = noise * (math.sqrt(large) + math.sqrt(small))
    snr = _ratio(values, threshold)
    theirs = _ratio(values, spread / NORMAL_QUARTILES * (1 + math.sqrt(small / large)))
    return Signal(
        noise=noise,
        threshold=threshold,
        above=int((values > threshold).sum()),
        snr=snr,
        spectrum=None if theirs is None else theirs / float(values[0]),
        missing="no singular value is as small as noise" if snr is None else None,
    )


def effective_rank(values: Floats) -> float | None:
    """Over how many directions the squared norm is spread: exp of the entropy of its shares; None of a zero matrix."""
    total = float((values**2).sum())
    if total == 0:
        return None
    shares = values**2 / total
    some = shares[shares > 0]
    return math.exp(-float((some * np.log(some)).sum()))


def stable_rank(values: Floats) -> float | None:
    """Squared Frobenius norm over squared spectral norm; None of a zero matrix."""
    largest = float(values.max(initial=0.0))
    return None if largest == 0 else float((values**2).sum()) / largest**2


def _ratio(values: Floats, threshold: float) -> float | None:
    above = values > threshold
    below = float(values[~above].sum())
    return float(values[above].sum()) / below if below > 0 else None


@lru_cache(maxsize=64)
def _law_quartiles(aspect: float) -> float:
    """Interquartile range of the law's singular values, in units of deviation x sqrt(larger side).

    With x^2 = 1 + c + 2 sqrt(c) cos(t), c the aspect, the law's mass in dt is 2 sin(t)^2 / (pi x^2), t from 0 to pi.
    """
    middle = (np.arange(_POINTS) + 0.5) * math.pi / _POINTS
    squared = 1 + aspect + 2 * math.sqrt(aspect) * np.cos(middle)
    mass = np.cumsum(np.sin(middle) ** 2 / squared)
    edges = (np.arange(_POINTS) + 1) * math.pi / _POINTS
    upper, lower = np.interp([0.25, 0.75], mass / mass[-1], edges)
    high, low = (math.sqrt(1 + aspect + 2 * math.sqrt(aspect) * math.cos(t)) for t in (upper, lower))
    return high - low
