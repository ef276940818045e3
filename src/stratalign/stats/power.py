"""How many prompts an effect needs, and what a number of prompts can see. Knows nothing of studies or judges.

A standard error is the deviation of one prompt's difference over the square root of the number of prompts, times the
root of the design effect; effect, power and prompts follow from it by the normal approximation (Bloom 1995, Evaluation
Review 19(5), 547-556; for paired evaluations of language models Miller, arXiv:2411.00640v1, section 5). It holds for
hundreds of prompts and more; a handful of clusters needs more than it says.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from stratalign.stats.surety import detectable_effect


def difference_deviation(deviation_a: float, deviation_b: float, correlation: float) -> float:
    """Standard deviation of a - b over rows, from those of `a` and `b` and their correlation, in their unit."""
    variance = deviation_a**2 + deviation_b**2 - 2 * correlation * deviation_a * deviation_b
    return math.sqrt(max(0.0, variance))


def sign_deviation(ties: float) -> float:
    """Standard deviation of sign(a - b) where a share `ties` of rows is tied and the rest falls either way alike.

    sqrt(1 - ties); a true net win rate d takes d^2 from the variance, which is left out here, so that what follows is
    a little larger than it must be (Connor 1987, Biometrics 43(1), 207-211, has both variances of a paired test).
    """
    return math.sqrt(1 - ties)


def design_effect(cluster_size: float, intra_cluster_correlation: float) -> float:
    """By how much clusters raise the variance of a mean: 1 + (m - 1) x icc (Kish 1965, Survey Sampling, ch. 5).

    Both are of the differences. Where clusters differ in size, m is sum of m_i^2 / sum of m_i, not the plain mean
    (Eldridge, Ashby & Kerry 2006, International Journal of Epidemiology 35(5), 1292-1300).
    """
    return 1 + (cluster_size - 1) * intra_cluster_correlation


def expected_error(deviation: float, n: int, design: float = 1.0) -> float:
    """Standard error of the mean of `n` differences of this deviation, under this design effect, in their unit."""
    return deviation * math.sqrt(design / n)


def chance_to_find(
    effect: float, standard_error: float, *, alpha: float = 0.05, tests: int = 1
) -> float | None:
    """The power: how probably a true `effect` is found, on its own side, at the two-sided level alpha / tests.

    Phi(|effect| / standard error - z_{1 - alpha / (2 tests)}). None where the standard error is 0.
    """
    if not standard_error:
        return None
    normal = NormalDist()
    return normal.cdf(abs(effect) / standard_error - normal.inv_cdf(1 - alpha / (2 * tests)))


def prompts_needed(
    effect: float | None,
    standard_error: float | None,
    n: int,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    tests: int = 1,
    freedom: float | None = None,
    seed_error: float = 0.0,
) -> int | None:
    """How many prompts like the `n` that gave `standard_error` would find a true `effect` with probability `power`.

    n x ((z_{1 - alpha / (2 tests)} + z_power) x standard error / effect)^2, rounded up to whole prompts. It is the
    inverse of `detectable_effect`: `n` where the effect is just the smallest that `n` prompts can see.

    Args:
        effect: the true effect, of either sign, in the standard error's unit.
        standard_error: of the effect's estimate from `n` prompts; clustered, where prompts come in clusters.
        n: prompts behind `standard_error`.
        alpha: two-sided level of the whole family.
        power: probability of finding the effect.
        tests: how many tests share alpha; the effect is held to the first step of Holm's procedure, alpha / tests.
        freedom: degrees of freedom of `standard_error`, as in `detectable_effect`.
        seed_error: the part of `standard_error` that comes from training seeds, and stays whatever the prompts are.

    Returns:
        None where no number of prompts follows: no effect or one of 0, no standard error or one of 0, or seeds that
        differ too much for any number of prompts.
    """
    detectable = detectable_effect(standard_error, 1 - alpha, power, tests, freedom)
    if not effect or detectable is None or standard_error is None:
        return None
    # Of the variance (effect / factor)^2 that may be, seeds take their part; the rest is shared by the prompts.
    fixed = (seed_error * detectable / standard_error) ** 2
    left = effect**2 - fixed
    return _rounded_up(n * (detectable**2 - fixed) / left) if left > 0 else None


def error_at(prompts: int, standard_error: float, n: int, seed_error: float = 0.0) -> float:
    """The standard error with `prompts` prompts in place of `n`; the part that comes from seeds stays as it is."""
    return math.sqrt(seed_error**2 + (standard_error**2 - seed_error**2) * n / prompts)


def _rounded_up(prompts: float) -> int:
    """The next whole number, where what floating point adds to a whole number does not count."""
    return math.ceil(prompts * (1 - 1e-12))
