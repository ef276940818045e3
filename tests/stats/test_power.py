"""How many prompts an effect needs, and what prompts can see, against numbers worked by hand."""

import math

import numpy as np
import pytest
from statsmodels.stats.power import NormalIndPower

from stratalign.stats import (
    chance_to_find,
    design_effect,
    detectable_effect,
    difference_deviation,
    error_at,
    expected_error,
    prompts_needed,
    sign_deviation,
)


def test_the_prompts_needed_follow_from_the_standard_error_and_the_effect():
    # (1.959964 + 0.841621)^2 = 7.848880; 1,000 x 7.848880 x (0.04 / 0.02)^2 = 31,395.5.
    assert prompts_needed(0.02, 0.04, 1000) == 31_396
    assert prompts_needed(-0.02, 0.04, 1000) == 31_396
    # Over 16 tests z is that of 1 - 0.05 / 32: 2.955167; (2.955167 + 0.841621)^2 = 14.415599.
    assert prompts_needed(0.02, 0.04, 1000, tests=16) == 57_663


def test_the_smallest_detectable_effect_needs_just_the_prompts_there_are():
    for n, tests in ((7, 1), (200, 16), (1000, 64)):
        assert prompts_needed(detectable_effect(0.03, tests=tests), 0.03, n, tests=tests) == n


@pytest.mark.parametrize(("effect", "standard_error"), [(0.0, 0.1), (None, 0.1), (0.1, 0.0), (0.1, None)])
def test_no_effect_or_no_spread_gives_no_number_of_prompts(effect, standard_error):
    assert prompts_needed(effect, standard_error, 100) is None


def test_deviations_and_design_effects_are_the_hand_worked_ones():
    # 1.27 x sqrt(2 x (1 - 0.5)) = 1.27; 3^2 + 4^2 - 2 x 0.25 x 3 x 4 = 19
    assert difference_deviation(1.27, 1.27, 0.5) == pytest.approx(1.27)
    assert difference_deviation(3, 4, 0.25) == pytest.approx(math.sqrt(19))
    assert difference_deviation(1.27, 1.27, 1.0) == 0
    # Of 100 rows 36 tie, 32 are +1 and 32 are -1: mean 0, mean square 0.64.
    assert sign_deviation(0.36) == pytest.approx(0.8)
    # Four rows of a cluster whose correlation is 0.2: 1 + 3 x 0.2.
    assert design_effect(4, 0.2) == pytest.approx(1.6)
    assert design_effect(1, 0.9) == 1
    assert expected_error(1.5, 900) == pytest.approx(0.05)
    assert expected_error(1.5, 900, 4.0) == pytest.approx(0.1)


def test_the_chance_to_find_what_is_just_detectable_is_the_power_asked_for():
    assert chance_to_find(detectable_effect(0.03, tests=5), 0.03, tests=5) == pytest.approx(0.8)
    assert chance_to_find(-detectable_effect(0.03, power=0.9), 0.03) == pytest.approx(0.9)
    # No effect is "found" on one given side half as often as alpha.
    assert chance_to_find(0.0, 0.03) == pytest.approx(0.025)
    assert chance_to_find(0.1, 0.0) is None


def test_the_power_is_the_one_of_statsmodels():
    # A z test of one mean: statsmodels counts both sides, the wrong one below 1e-6 here.
    theirs = NormalIndPower(ddof=0).solve_power(effect_size=0.1, nobs1=700, alpha=0.05, ratio=0)
    assert chance_to_find(0.1, expected_error(1.0, 700)) == pytest.approx(theirs, abs=1e-5)


def test_a_clustered_mean_varies_as_the_design_effect_says():
    # 4,000 means of 30 clusters of 5 rows: within a cluster the correlation is 0.3^2 / (0.3^2 + 0.4^2) = 0.36.
    draw = np.random.default_rng(0)
    rows = draw.normal(0, 0.3, (4000, 30, 1)) + draw.normal(0, 0.4, (4000, 30, 5))
    expected = expected_error(0.5, 150, design_effect(5, 0.36))
    assert rows.mean(axis=(1, 2)).std() == pytest.approx(expected, rel=0.04)


def test_what_seeds_take_of_the_error_no_prompts_give_back() -> None:
    # SE 0.05 of 400 prompts, 0.03 of it from seeds: 0.04 from prompts. With 1,600 prompts sqrt(0.03^2 + 0.02^2).
    assert error_at(1600, 0.05, 400, 0.03) == pytest.approx((0.03**2 + 0.02**2) ** 0.5)
    assert error_at(1600, 0.05, 400) == pytest.approx(0.025)
    # An effect of 0.1 may have a standard error of 0.1 / 2.801585 = 0.035694: 400 x 0.04^2 / (0.035694^2 - 0.03^2).
    assert prompts_needed(0.1, 0.05, 400, seed_error=0.03) == math.ceil(
        400 * 0.0016 / (0.0356940**2 - 0.0009)
    )
    assert (
        prompts_needed(0.08, 0.05, 400, seed_error=0.03) is None
    )  # 0.0286 is below 0.03, whatever the prompts
