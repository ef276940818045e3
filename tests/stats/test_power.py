"""How many prompts an effect needs, and what prompts can see, against numbers worked by hand."""

import pytest

from stratalign.stats import detectable_effect, prompts_needed


def test_the_prompts_needed_follow_from_the_standard_error_and_the_effect():
    # (1.959964 + 0.841621)^2 = 7.848880; 1,000 x 7.848880 x (0.04 / 0.02)^2 = 31,395.5.
    assert prompts_needed(0.02, 0.04, 1000) == 31_396
    assert prompts_needed(-0.02, 0.04, 1000) == 31_396
    # Over 16 tests z is that of 1 - 0.05 / 32: 2.955169; (2.955169 + 0.841621)^2 = 14.415613.
    assert prompts_needed(0.02, 0.04, 1000, tests=16) == 57_663


def test_the_smallest_detectable_effect_needs_just_the_prompts_there_are():
    for n, tests in ((7, 1), (200, 16), (1000, 64)):
        assert prompts_needed(detectable_effect(0.03, tests=tests), 0.03, n, tests=tests) == n


@pytest.mark.parametrize(("effect", "standard_error"), [(0.0, 0.1), (None, 0.1), (0.1, 0.0), (0.1, None)])
def test_no_effect_or_no_spread_gives_no_number_of_prompts(effect, standard_error):
    assert prompts_needed(effect, standard_error, 100) is None
