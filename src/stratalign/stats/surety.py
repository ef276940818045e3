"""How sure a comparison is: its verdict, and the smallest effect that its sample could have seen.

Knows nothing of which direction is better; whoever knows turns "higher" into "better" or "worse".
"""

from __future__ import annotations

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


def smallest_detectable(comparison: Comparison, power: float = 0.8) -> float | None:
    """The smallest true net win rate (absolute) that such a sample finds with probability `power`, tested alone."""
    return detectable_effect(comparison.standard_error, comparison.level, power)


def detectable_effect(
    standard_error: float | None, level: float = 0.95, power: float = 0.8, tests: int = 1
) -> float | None:
    """The smallest true effect (absolute) that is found with probability `power`, in the standard error's unit.

    (z_{1 - alpha / 2} + z_power) x standard error with alpha = (1 - level) / tests; at 95 %, 80 % power and one test
    that is (1.96 + 0.84) = 2.80 x standard error (normal approximation; Bloom 1995, Evaluation Review 19(5),
    547-556). With several `tests` it is the first step of Holm's procedure, the one that a lone effect among them
    has to pass. None where the standard error is undefined, and where it is 0: rows that are all alike say
    nothing of how much other samples would vary.
    """
    if not standard_error:
        return None
    normal = NormalDist()
    return (normal.inv_cdf(1 - (1 - level) / (2 * tests)) + normal.inv_cdf(power)) * standard_error
