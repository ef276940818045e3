"""Differences of published means: intervals, p values and equivalence, against hand-worked and outside numbers."""

import pytest
import scipy.stats
from statsmodels.stats.weightstats import DescrStatsW

from stratalign.stats import summary_difference


def test_a_difference_is_tested_as_by_hand():
    # 0.12 / 0.04 = 3 standard errors: p = 2 x 0.00134990; 0.12 +- 1.959964 x 0.04.
    found = summary_difference(0.12, 0.04)
    assert found.p_value == pytest.approx(0.0026998, rel=1e-4)
    assert (found.low, found.high) == pytest.approx((0.0416014, 0.1983986), abs=1e-6)
    assert found.verdict == "higher"
    assert summary_difference(-0.12, 0.04).verdict == "lower"
    assert summary_difference(0.07, 0.04).verdict == "cannot tell"


def test_a_small_difference_is_equivalent_only_within_a_margin_that_its_error_allows():
    # The farther end of the 90 % interval: 0.02 + 1.644854 x 0.04 = 0.0857941.
    assert summary_difference(0.02, 0.04).smallest_margin == pytest.approx(0.0857941, abs=1e-6)
    assert summary_difference(-0.02, 0.04, margin=0.086).equivalent
    assert not summary_difference(0.02, 0.04, margin=0.085).equivalent
    # Not different and not equivalent either: too little is known.
    unsure = summary_difference(0.02, 0.2, margin=0.1)
    assert (unsure.verdict, unsure.equivalent) == ("cannot tell", False)
    # Different and equivalent: surely other than 0, and surely smaller than the margin.
    both = summary_difference(0.05, 0.01, margin=0.1)
    assert (both.verdict, both.equivalent) == ("higher", True)
    assert not summary_difference(0.02, 0.04).equivalent


def test_p_values_are_those_of_statsmodels_on_rows_with_the_same_mean_and_error():
    # 3,000 rows whose mean is 0.3 and whose standard deviation is 2, as far as normal quantiles give it.
    rows = scipy.stats.norm.ppf([(i + 0.5) / 3000 for i in range(3000)])
    rows = 0.3 + 2 * (rows - rows.mean()) / rows.std(ddof=1)
    described = DescrStatsW(rows)
    found = summary_difference(0.3, 2 / 3000**0.5, margin=0.4)
    assert found.p_value == pytest.approx(described.ztest_mean(0)[1], rel=1e-9)
    assert found.equivalence_p == pytest.approx(described.ztost_mean(-0.4, 0.4)[0], rel=1e-9)


@pytest.mark.parametrize(("error", "margin"), [(0.0, None), (-1.0, 0.1), (0.1, 0.0), (0.1, -0.2)])
def test_no_spread_or_no_margin_is_refused(error, margin):
    with pytest.raises(ValueError, match="must be above 0"):
        summary_difference(0.1, error, margin=margin)
