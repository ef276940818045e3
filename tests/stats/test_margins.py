"""Equivalence and non-inferiority, against what can be worked out by hand and the rates that they promise."""

from __future__ import annotations

import numpy as np
import pytest

from stratalign.stats import compare, within_margin, within_margins


def test_the_interval_is_the_comparisons_own_at_90_percent() -> None:
    a, b = np.random.default_rng(1).integers(1, 6, size=(2, 300)).astype(float)
    clusters = np.repeat(np.arange(100), 3)
    comparison = compare(a, b, clusters, level=0.9)
    rate = within_margin(a, b, clusters, 0.1)
    assert (rate.effect, rate.low, rate.high) == (comparison.net_win_rate, comparison.low, comparison.high)
    mean = within_margin(a, b, clusters, 0.3, statistic="mean difference", largest=4)
    assert (mean.low, mean.high) == (comparison.difference_low, comparison.difference_high)
    assert mean.effect == pytest.approx(comparison.mean_difference)


def test_the_tests_reject_exactly_where_the_interval_ends_before_the_margin() -> None:
    a, b = np.random.default_rng(1).integers(1, 6, size=(2, 400)).astype(float)
    found = within_margin(a, b, range(400), 0.5)
    assert found.low is not None
    assert found.high is not None
    widest = max(-found.low, found.high)
    assert within_margin(a, b, range(400), widest * 1.001).within
    assert not within_margin(a, b, range(400), widest).within
    # 499 replicates lie outside of the interval on that side, the 500th and those that equal it on its bound.
    at_bound = within_margin(a, b, range(400), widest).p_within
    assert at_bound is not None
    assert 501 / 10001 <= at_bound <= 0.06


def test_rows_that_all_tie_show_equivalence_only_where_they_are_many() -> None:
    # 0.9^28 = 0.0523 and 0.9^29 = 0.0471: no sample of 28 clusters can exclude that one in ten would have lost.
    few, enough = (within_margin([3] * n, [3] * n, range(n), 0.1) for n in (28, 29))
    assert (few.low, few.high, few.within) == (0.0, 0.0, False)
    assert few.p_within == pytest.approx(0.9**28)
    assert enough.within
    # On a scale from 1 to 5 a mean difference of 0.1 can be one row in forty: 0.975^118 = 0.0504, 0.975^119 = 0.0491.
    on_scale = [
        within_margin([3] * n, [3] * n, range(n), 0.1, statistic="mean difference", largest=4)
        for n in (118, 119)
    ]
    assert [one.within for one in on_scale] == [False, True]


def test_no_loss_is_one_sided() -> None:
    gains = within_margin([1] * 40, [0] * 40, range(40), 0.1)
    # No replicate is a loss: 1 / 10,001, or 0.9^40 = 0.0148, whichever is larger; every one is a gain beyond 0.1.
    assert gains.p_not_below == pytest.approx(0.9**40)
    assert gains.p_not_above == 1.0
    assert not gains.within


def test_one_cluster_no_rows_and_missing_ones_are_defined() -> None:
    one = within_margin([1, 2, np.nan], [1, 1, 1], ["same"] * 3, 0.1)
    assert (one.n, one.clusters, one.missing, one.effect, one.low) == (2, 1, 1, 0.5, None)
    assert (one.p_within, one.within) == (1.0, False)
    none = within_margin([np.nan], [1], ["only"], 0.1)
    assert (none.n, none.effect, none.p_within, none.within) == (0, None, None, False)


def test_swapping_the_sides_swaps_the_tests_exactly() -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 60))
    there, back = within_margin(a, b, range(60), 0.2), within_margin(b, a, range(60), 0.2)
    assert there.low is not None
    assert there.high is not None
    assert (back.low, back.high) == (-there.high, -there.low)
    assert (back.p_not_below, back.p_not_above) == (there.p_not_above, there.p_not_below)


def test_dimensions_tested_together_equal_dimensions_tested_alone() -> None:
    a, b = np.random.default_rng(11).integers(1, 6, size=(2, 80, 3)).astype(float)
    a[:4, 1] = np.nan
    clusters = np.repeat(np.arange(20), 4)
    margins = [0.1, 0.2, 0.3]
    together = within_margins(a, b, clusters, margins)
    assert together == [within_margin(a[:, i], b[:, i], clusters, margins[i]) for i in range(3)]


def test_equality_is_claimed_falsely_at_most_as_often_as_promised_and_often_enough_when_true() -> None:
    generator = np.random.default_rng(0)

    def claimed(lost: float) -> float:
        signs = generator.choice([1.0, 0.0, -1.0], p=[0.1, 0.8 - lost, 0.1 + lost], size=(400, 400))
        found = within_margins(signs, np.zeros_like(signs), range(400), [0.1] * 400, resamples=999)
        return float(np.mean([one.within for one in found]))

    # At the margin: 0.05 with a standard error of 0.011. At no difference the 90 % interval is about +-0.037.
    assert claimed(0.1) <= 0.08
    assert claimed(0.0) >= 0.95


@pytest.mark.parametrize("margin", [0.0, -0.1, 1.5])
def test_a_margin_that_means_nothing_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="margin"):
        within_margin([1], [1], [0], margin)
