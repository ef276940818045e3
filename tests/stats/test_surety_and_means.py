"""Verdicts, the smallest detectable effect and clustered means, against hand-worked values."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from stratalign.stats import (
    clustered_mean,
    compare,
    detectable_effect,
    least_detectable,
    smallest_detectable,
    verdict,
)

SIX = ["a", "b", "c", "d", "e", "f"]


def test_the_verdict_follows_the_interval() -> None:
    higher = compare([1] * 6, [0] * 6, SIX)
    assert verdict(higher) == "higher"
    assert verdict(compare([0] * 6, [1] * 6, SIX)) == "lower"
    assert verdict(replace(higher, low=0.0)) == "cannot tell"
    assert verdict(replace(higher, low=-0.1, high=0.2)) == "cannot tell"
    assert verdict(compare([1] * 6, [1] * 6, SIX)) == "cannot tell"


def test_fewer_clusters_than_any_exact_test_needs_cannot_tell() -> None:
    # Five clusters, all one way: the two-sided sign-flip p-value is 2 x 0.5^5 = 0.0625 > 0.05.
    assert verdict(compare([1] * 5, [0] * 5, SIX[:5])) == "cannot tell"
    assert verdict(compare([1] * 5, [0] * 5, SIX[:5], level=0.9)) == "higher"
    assert verdict(compare([1] * 9, [0] * 9, ["same"] * 9)) == "cannot tell"


def test_the_smallest_detectable_effect_is_2_80_standard_errors_that_are_known() -> None:
    # z(0.975) + z(0.8) = 1.959964 + 0.841621 = 2.801585; z(0.9) = 1.281552
    assert detectable_effect(0.025) == pytest.approx(0.025 * 2.801585, rel=1e-6)
    assert detectable_effect(0.025, power=0.9) == pytest.approx(0.025 * 3.241516, rel=1e-6)


@pytest.mark.parametrize("clusters", [8, 64])
@pytest.mark.parametrize("tests", [1, 16])
def test_an_estimated_error_needs_the_effect_that_a_t_test_finds_with_that_power(clusters, tests) -> None:
    rows = compare([1, 0, 1, 1] * (clusters // 4), [0, 1, 0, 0] * (clusters // 4), range(clusters))
    assert rows.standard_error is not None
    found = detectable_effect(rows.standard_error, tests=tests, freedom=rows.freedom)
    assert found is not None
    limit = scipy.stats.t.ppf(1 - 0.025 / tests, clusters - 1)
    power = scipy.stats.nct.sf(limit, clusters - 1, found / rows.standard_error)
    assert power == pytest.approx(0.8, abs=1e-6)
    best = least_detectable(rows.n, clusters, tests=tests)
    assert smallest_detectable(rows, tests=tests) == (max(found, best) if best is not None else None)


def test_rows_that_are_all_alike_do_not_claim_to_detect_everything() -> None:
    assert smallest_detectable(compare([1] * 6, [1] * 6, SIX)) is None
    assert smallest_detectable(compare([1], [0], ["only"])) is None


def test_a_sample_that_nearly_ties_cannot_claim_to_see_less_than_its_test_can() -> None:
    # One win of 120: a standard error of about 1 / 120, so 2.80 of them would be 0.023. But sign flips need six moved
    # clusters, and P(Bin(120, t) >= 6) = 0.8 at t = 0.0650.
    nearly = compare([1] + [0] * 119, [0] * 120, range(120))
    found = smallest_detectable(nearly)
    assert found is not None
    assert scipy.stats.binom.sf(5, 120, found) == pytest.approx(0.8, abs=1e-9)
    assert found == pytest.approx(0.0650, abs=1e-4)
    # Five tests: 2 x 0.5^k <= 0.01 from k = 8 on.
    corrected = least_detectable(120, 120, tests=5)
    assert corrected is not None
    assert scipy.stats.binom.sf(7, 120, corrected) == pytest.approx(0.8, abs=1e-9)
    # Four rows to each cluster, of which one moves: a quarter of the rate.
    assert least_detectable(480, 120) == pytest.approx(found / 4)


def test_fewer_clusters_than_the_test_needs_detect_nothing() -> None:
    assert least_detectable(5, 5) is None
    assert least_detectable(0, 0) is None
    # All six have to move: t^6 = 0.8.
    assert least_detectable(6, 6) == pytest.approx(0.8 ** (1 / 6))
    assert smallest_detectable(compare([1, 0, 1, 1, 1], [0, 1, 0, 0, 0], range(5))) is None


def test_a_clustered_mean_is_the_hand_worked_one() -> None:
    # Mean of 1, 2, 3, 6 is 3; residuals -2, -1 | 0, 3; cluster sums -3, 3; CR1 = 2/1 x (9 + 9) / 16 = 2.25.
    result = clustered_mean([1, 2, 3, 6], ["x", "x", "y", "y"])
    assert result.mean == 3.0
    assert result.standard_error == pytest.approx(1.5)
    assert (result.n, result.clusters, result.missing) == (4, 2, 0)


def test_clusters_of_one_row_give_the_usual_standard_error() -> None:
    values = np.random.default_rng(4).normal(size=37)
    usual = np.std(values, ddof=1) / math.sqrt(37)
    assert clustered_mean(values, range(37)).standard_error == pytest.approx(usual, rel=1e-12)


def test_copies_within_clusters_leave_the_standard_error_as_it_was() -> None:
    values = np.random.default_rng(4).normal(size=37)
    once = clustered_mean(values, range(37))
    copied = clustered_mean(np.repeat(values, 4), np.repeat(np.arange(37), 4))
    assert copied.standard_error == pytest.approx(once.standard_error, rel=1e-12)


def test_missing_values_are_dropped_and_counted() -> None:
    result = clustered_mean([2.0, math.nan, 4.0], ["x", "y", "x"])
    assert (result.mean, result.standard_error) == (3.0, None)
    assert (result.n, result.clusters, result.missing) == (2, 1, 1)
    assert clustered_mean([math.nan], ["x"]).mean is None


def test_an_effect_among_five_tests_has_to_pass_a_fifth_of_the_level() -> None:
    # z(1 - 0.01 / 2) + z(0.8) = 2.575829 + 0.841621 = 3.417451
    assert detectable_effect(0.025, tests=5) == pytest.approx(0.025 * 3.417451, rel=1e-6)
    assert detectable_effect(0.0, tests=5) is detectable_effect(None) is None
