"""How many prompts an effect needs. Knows nothing of studies, judges or which direction is better.

Source: the normal approximation of Bloom 1995, Evaluation Review 19(5), 547-556, as in `surety`; the standard error
of a mean falls with the square root of the number of rows while clusters, spread and correlation stay as they are.
"""

from __future__ import annotations

import math

from stratalign.stats.surety import detectable_effect


def prompts_needed(
    effect: float | None,
    standard_error: float | None,
    n: int,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    tests: int = 1,
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

    Returns:
        None where no number of prompts follows: no effect or one of 0, no standard error or one of 0.
    """
    detectable = detectable_effect(standard_error, 1 - alpha, power, tests)
    if not effect or detectable is None:
        return None
    return _rounded_up(n * (detectable / effect) ** 2)


def _rounded_up(prompts: float) -> int:
    """The next whole number, where what floating point adds to a whole number does not count."""
    return math.ceil(prompts * (1 - 1e-12))
