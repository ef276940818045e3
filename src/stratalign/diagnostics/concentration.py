"""How long mean gradients are, where their length lies, and how surely; from inner products of chunks alone.

The squared norm of a mean over few pairs is too large: |mean|^2 is |true mean|^2 plus noise / pairs, and the noise need
not lie where the signal does. Products of *different* chunks have no such term. Plain numbers in and out; knows
nothing of models.

Sources: Hoeffding (1948), Annals of Mathematical Statistics 19(3), 293-325 (U-statistics: the mean over all pairs of
different observations is unbiased); Arvesen (1969), Annals of Mathematical Statistics 40(6), 2076-2100 (the jackknife
of U-statistics and of functions of them); McCandlish et al. (2018), arXiv:1812.06162, appendix A (noise in gradients).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]
Verdict = Literal["much greater", "not much greater", "cannot tell"]

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number, its jackknife standard error over chunks, and the interval of Student's t with chunks - 1 degrees."""

    value: float
    standard_error: float
    low: float
    high: float


def squared_norms(grams: Floats, sizes: Floats) -> Floats:
    """Unbiased |mean gradient|^2 [...] from inner products of chunk sums [..., C, C] of `sizes` [C] pairs.

    With S_c the sum over the n_c pairs of chunk c, E <S_i, S_j> = n_i n_j |mean|^2 for i != j, so the estimate is the
    sum over i != j of <S_i, S_j> over the sum over i != j of n_i n_j. It may be negative where the mean is small
    beside the noise.
    """
    return cross_products(grams, sizes)


def cross_products(grams: Floats, sizes: Floats, others: Floats | None = None) -> Floats:
    """The same of two losses: unbiased <mean, other mean>; products of one chunk's number with itself are left out.

    Args:
        grams: [..., C, C], a row for each chunk of the one and a column for each of the other.
        others: sizes [C] of the other's chunks, where they are not the same pairs.
    """
    others = sizes if others is None else others
    crossed = grams.sum(axis=(-2, -1)) - np.trace(grams, axis1=-2, axis2=-1)
    found: Floats = crossed / (sizes.sum() * others.sum() - (sizes * others).sum())
    return found


def cosines(grams: Floats, sizes: Floats) -> Floats:
    """Cosines [...] of two losses' mean gradients: <a, b> / (|a| |b|), each without the bias that noise brings.

    The cosine of two noisy means is too close to 0, since noise lengthens them; this one is not, but may pass 1 by
    chance. Not a number where a norm cannot be told from 0.

    Args:
        grams: [3, ..., C, C], products of a with a, a with b, b with b.
        sizes: [C, 2], pairs in the chunks of a and of b.
    """
    own, crossed, other = grams
    # a root of each: of two negative estimates the product would be positive
    lengths = np.sqrt(squared_norms(own, sizes[:, 0])) * np.sqrt(squared_norms(other, sizes[:, 1]))
    found: Floats = cross_products(crossed, sizes[:, 0], sizes[:, 1]) / lengths
    return found


def pair_norms(grams: Floats, sizes: Floats) -> Floats:
    """Root mean squared norm [...] of a single pair's gradient: sqrt(|mean|^2 + variance), pairs taken as independent.

    E |S_c|^2 = n_c variance + n_c^2 |mean|^2. This is the quantity in Hypothesis 2 of Hierarchical Alignment v2,
    section 3.1, up to the root mean square in place of the mean. What pairs have in common is small beside it, as a
    rule, so it speaks of single pairs and not of what training follows.
    """
    mean = squared_norms(grams, sizes)
    own = np.trace(grams, axis1=-2, axis2=-1)
    variance = (own - mean * (sizes**2).sum()) / sizes.sum()
    found: Floats = np.sqrt(np.maximum(mean + variance, 0))
    return found


def jackknife(grams: Floats, sizes: Floats, statistic: Callable[[Floats, Floats], Floats]) -> list[Estimate]:
    """The values [k] of a statistic of (grams [..., C, C], sizes [C]), each with its interval over chunks.

    Values that are not finite on some replicate (the logarithm of a negative estimate) have an infinite interval.
    """
    count = len(sizes)
    kept = [[j for j in range(count) if j != left_out] for left_out in range(count)]
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.atleast_1d(statistic(grams, sizes))
        parts = np.stack([np.atleast_1d(statistic(grams[..., k, :][..., k], sizes[k])) for k in kept])
    found = []
    for value, replicates in zip(whole, parts.T, strict=True):
        if not np.isfinite([value, *replicates]).all():
            found.append(Estimate(float(value), math.inf, -math.inf, math.inf))
            continue
        error = math.sqrt((count - 1) / count * float(((replicates - replicates.mean()) ** 2).sum()))
        reach = error * float(student.ppf((1 + LEVEL) / 2, count - 1))
        found.append(Estimate(float(value), error, float(value) - reach, float(value) + reach))
    return found


def shares(lengths: Floats) -> Floats:
    """Each squared norm's share of their sum, in [0, 1]; negative estimates count as 0."""
    positive = np.maximum(lengths, 0)
    total = positive.sum()
    found: Floats = positive / total if total > 0 else np.full_like(positive, np.nan)
    return found


def evenness(parts: Floats) -> float:
    """Entropy of shares over its largest value, log n: 1 when all are equal, 0 when one has all."""
    if len(parts) < 2:
        return 1.0
    some = parts[parts > 0]
    return float(-(some * np.log(some)).sum() / math.log(len(parts)))


def gini(parts: Floats) -> float:
    """Gini coefficient of shares: 0 when all are equal, 1 - 1/n when one has all.

    The mean absolute difference of two draws over twice the mean (Gini 1912), in its form for sorted values.
    """
    ordered, n = np.sort(parts), len(parts)
    if ordered.sum() <= 0:
        return math.nan
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def much_greater(log_ratio: Estimate, ratio: float) -> Verdict:
    """Whether a ratio, of which this is the logarithm, is at least `ratio`, by its interval."""
    if log_ratio.low >= math.log(ratio):
        return "much greater"
    if log_ratio.high < math.log(ratio):
        return "not much greater"
    return "cannot tell"
