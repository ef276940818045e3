"""What published summaries can say: tests of a difference from means, standard deviations and n alone.

Rows are not needed, but what only rows tell has to be assumed: the correlation within pairs, and that rows are
independent. Normal theory throughout, for samples of hundreds and more. Knows nothing of papers or claims.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from stratalign.stats.surety import Verdict


@dataclass(frozen=True)
class SummaryDifference:
    """A difference of two means, in the means' unit, tested for being other than 0 and for being within a margin.

    `low` and `high` bound it at `level`. `p_value` is two-sided, of no difference. `equivalence_p` is the larger p
    value of the two one-sided tests of a difference of at least `margin` either way (Schuirmann 1987, Journal of
    Pharmacokinetics and Biopharmaceutics 15(6), 657-680), None without a margin. `smallest_margin` is the smallest
    one within which the two would be called equivalent at 1 - level: the farther end of the interval at
    2 x level - 1.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    p_value: float
    margin: float | None
    equivalence_p: float | None
    smallest_margin: float
    level: float

    @property
    def verdict(self) -> Verdict:
        """Whether the interval excludes 0, one difference at a time."""
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "cannot tell"

    @property
    def equivalent(self) -> bool:
        """Whether the difference is shown to be smaller than the margin, at 1 - level."""
        return self.equivalence_p is not None and self.equivalence_p <= 1 - self.level


def summary_difference(
    difference: float, standard_error: float, *, margin: float | None = None, level: float = 0.95
) -> SummaryDifference:
    """Test a difference of which only the value and the standard error are known.

    Raises:
        ValueError: the standard error or the margin is not above 0, where no test is defined.
    """
    if standard_error <= 0 or (margin is not None and margin <= 0):
        raise ValueError(
            f"Standard error and margin must be above 0; got {standard_error:g} and {margin}. "
            "Means without spread cannot be tested."
        )
    normal = NormalDist()
    half_width = normal.inv_cdf((1 + level) / 2) * standard_error
    equivalence = None if margin is None else normal.cdf((abs(difference) - margin) / standard_error)
    return SummaryDifference(
        difference=difference,
        standard_error=standard_error,
        low=difference - half_width,
        high=difference + half_width,
        p_value=2 * normal.cdf(-abs(difference) / standard_error),
        margin=margin,
        equivalence_p=equivalence,
        smallest_margin=abs(difference) + normal.inv_cdf(level) * standard_error,
        level=level,
    )
