"""Overlap of two choices beside chance; numbers derived by hand or from scikit-learn's definition of kappa."""

import math

import numpy as np
import pytest

from stratalign.stats import overlap, rank_correlation


@pytest.mark.parametrize(("share", "chance"), [(0.75, 0.6), (0.3, 0.1765), (0.2, 0.1111), (0.1, 0.0526)])
def test_chance_is_p_over_two_minus_p(share, chance):
    size = int(share * 200)
    assert overlap(range(size), range(size), 200).chance == pytest.approx(chance, abs=1e-4)


def test_by_hand():
    """Of 10 names {0..5} and {3..8}: 3 shared of 9. Blind draws share 3.6: 3.6 / 8.4. They agree on 3 + 1 of 10, by
    chance on 0.36 + 0.16: kappa (0.4 - 0.52) / 0.48."""
    found = overlap(range(6), range(3, 9), 10)
    assert (found.shared, found.sizes) == (3, (6, 6))
    assert found.jaccard == pytest.approx(1 / 3)
    assert found.chance == pytest.approx(3.6 / 8.4)
    assert found.kappa == pytest.approx(-0.25)
    # P(at least 3 shared) = 1 - C(6,2) C(4,4) / C(10,6)
    assert found.p_value == pytest.approx(1 - math.comb(6, 2) / math.comb(10, 6))


def test_blind_draws_have_kappa_zero_and_the_expected_index_on_average():
    rng = np.random.default_rng(0)
    found = [overlap(rng.permutation(80)[:60], rng.permutation(80)[:60], 80) for _ in range(500)]
    assert np.mean([one.kappa for one in found]) == pytest.approx(0, abs=0.02)
    assert np.mean([one.jaccard for one in found]) == pytest.approx(found[0].chance, abs=0.005)


def test_sets_that_cannot_differ_have_no_kappa():
    assert overlap("ab", "ab", 2).kappa is None
    assert overlap("ab", "ab", 3).kappa == pytest.approx(1.0)


def test_sets_that_do_not_fit_the_names_are_an_error():
    with pytest.raises(ValueError, match="cannot come from 2 names"):
        overlap("ab", "cd", 2)
    with pytest.raises(ValueError, match="cannot come"):
        overlap("", "", 2)


def test_rank_correlation_sees_order_alone():
    assert rank_correlation([1, 2, 3], [10, 100, 1000]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    # d = (1, 1, 0, 0): 1 - 6 x 2 / (4 x 15)
    assert rank_correlation([1, 2, 3, 4], [2, 1, 3, 4]) == pytest.approx(0.8)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None
