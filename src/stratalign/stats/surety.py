"""How sure a comparison is: its verdict, and the smallest effect that its sample could have seen.

Knows nothing of which direction is better; whoever knows turns "higher" into "better" or "worse".
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

from stratalign.stats.paired import Comparison

Verdict = Literal["higher", "lower", "cannot tell"]


def verdict(comparison: Comparison) -> Verdict:
    """Whether `a` is higher or lower than `b`, by whether the interval of the net win rate excludes 0.

    With C clusters that all point the same way the bootstrap's interval has no width, however few they are. An
    exact sign-flip test over clusters cannot reject at `level` unless 2 x 0.5^C <= 1 - level (six clusters at
    95 %), so below that the verdict is "cannot tell". One comparison at a time: nothing here corrects for many.
    """
    low, high = comparison.low, comparison.high
    if low is None or high is None or 2 * 0.5**comparison.clusters > 1 - comparison.level:
        return "cannot tell"
    if low > 0:
        return "higher"
    if high < 0:
        return "lower"
    return "cannot tell"


def smallest_detectable(comparison: Comparison, power: float = 0.8, tests: int = 1) -> float | None:
    """`detectable_net_win_rate` of a comparison's own sample."""
    return detectable_net_win_rate(
        comparison.standard_error,
        comparison.n,
        comparison.clusters,
        comparison.level,
        power,
        tests,
        comparison.freedom,
    )


def detectable_net_win_rate(
    standard_error: float | None,
    n: int,
    clusters: int,
    level: float = 0.95,
    power: float = 0.8,
    tests: int = 1,
    freedom: float | None = None,
) -> float | None:
    """The smallest true net win rate (absolute) that such a sample finds with probability `power`.

    The larger one of `detectable_effect`, which goes by how much this sample varied, and `least_detectable`, below
    which the sign-flip test cannot go: where nearly all rows tie the standard error is tiny, but it would not be so if
    there were an effect. None where either is undefined. Above 1 no effect is large enough: the sample is too small.

    Args:
        standard_error: of the sample's net win rate.
        n: rows.
        clusters: clusters that the rows come from.
        level: 1 - alpha, before any correction.
        power: probability to find the effect.
        tests: how many tests Holm's correction counts; the effect is to pass the first step.
        freedom: degrees of freedom of the standard error; None takes it as known.
    """
    by_variation = detectable_effect(standard_error, level, power, tests, freedom)
    by_test = least_detectable(n, clusters, level, power, tests)
    return None if by_variation is None or by_test is None else max(by_variation, by_test)


def least_detectable(
    n: int, clusters: int, level: float = 0.95, power: float = 0.8, tests: int = 1
) -> float | None:
    """The smallest true net win rate that sign flips of `clusters` clusters find with probability `power` at best.

    The best case: rows only ever move in one direction, one row in each cluster that moves, and all others tie. Sign
    flips reject once 2 x 0.5^k <= alpha = (1 - level) / tests, that is with k moved clusters (six at 95 %). The share
    of clusters that move which gives k or more of C with probability `power` is the `power` quantile of a beta
    distribution with parameters k and C - k + 1 (Clopper & Pearson 1934, Biometrika 26(4), 404-413); about 7.9 / C at
    95 % and 80 % power. As a net win rate over n rows that is the share x C / n. None where C < k: nothing is found.
    """
    from scipy.special import betaincinv

    needed = math.ceil(math.log2(2 * tests / (1 - level)) - 1e-9)
    if clusters < needed or n < clusters:
        return None
    return float(betaincinv(needed, clusters - needed + 1, power)) * clusters / n


def detectable_effect(
    standard_error: float | None,
    level: float = 0.95,
    power: float = 0.8,
    tests: int = 1,
    freedom: float | None = None,
) -> float | None:
    """The smallest true effect (absolute) that is found with probability `power`, in the standard error's unit.

    (z_{1 - alpha / 2} + z_power) x standard error with alpha = (1 - level) / tests; at 95 %, 80 % power and one test
    that is (1.96 + 0.84) = 2.80 x standard error (normal approximation; Bloom 1995, Evaluation Review 19(5),
    547-556). A standard error that is itself an estimate, with `freedom` degrees of freedom, needs more: the
    noncentrality at which a t test of that level has that power (Cohen 1988, Statistical Power Analysis, ch. 2); 3.2 x
    with 8 degrees, 2.85 x with 63. With several `tests` it is the first step of Holm's procedure, the one that a lone
    effect among them has to pass. None where the standard error is undefined, and where it is 0: rows that are all
    alike say nothing of how much other samples would vary.
    """
    if not standard_error:
        return None
    alpha = (1 - level) / tests
    if freedom is None:
        normal = NormalDist()
        return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * standard_error
    from scipy.special import nctdtrinc, stdtrit

    return float(nctdtrinc(freedom, 1 - power, stdtrit(freedom, 1 - alpha / 2))) * standard_error
