"""The sign-flip test and Holm's adjustment, against hand-worked values and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from stratalign.stats import compare, compare_dimensions, holm, sign_flip_p_values


def test_three_clusters_give_the_p_value_that_can_be_listed() -> None:
    # Sums 2, 1, -1: total 2. The eight flips have totals +-2 +-1 +-1 = 4, 2, 2, 0 and their negatives, of which
    # 4, 2, 2 and -4, -2, -2 reach 2 in absolute value: p = 6/8.
    assert sign_flip_p_values(np.array([[2.0], [1.0], [-1.0]])) == pytest.approx([0.75])
    # The same from rows: cluster x wins two rows, y wins one, z wins one and loses two.
    a, b = [1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]
    assert compare(a, b, ["x", "x", "y", "z", "z", "z"]).p_value == 0.75


def test_clusters_that_all_win_reach_the_smallest_exact_p_value() -> None:
    # Only all signs as they are and all signs flipped reach the total: 2 / 2^6.
    assert compare([1] * 6, [0] * 6, range(6)).p_value == 2 / 64


def test_ties_one_cluster_and_no_rows_are_defined() -> None:
    assert compare([1, 2, 3], [1, 2, 3], [0, 1, 2]).p_value == 1.0
    assert compare([1] * 40, [1] * 40, range(40)).p_value == 1.0
    assert compare([1, 2, 3], [0, 0, 0], ["same"] * 3).p_value == 1.0
    assert compare([], [], []).p_value is None


def test_few_clusters_give_scipys_exact_p_value() -> None:
    sums = np.random.default_rng(3).integers(-4, 6, size=(11, 5)).astype(float)
    theirs = scipy.stats.permutation_test(
        (sums,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=2**11, axis=0
    ).pvalue
    assert sign_flip_p_values(sums) == pytest.approx(theirs)


def test_many_clusters_come_near_scipys_random_flips() -> None:
    sums = np.random.default_rng(4).integers(-3, 5, size=(60, 4)).astype(float)
    theirs = scipy.stats.permutation_test(
        (sums,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        n_resamples=9_999,
        axis=0,
        random_state=1,
    ).pvalue
    # SciPy's side is known to at most 0.005 (one standard error at p = 0.5).
    assert sign_flip_p_values(sums) == pytest.approx(theirs, abs=0.02)


def test_sixty_winning_clusters_have_the_p_value_of_two_flips_in_two_to_the_sixty() -> None:
    assert compare([1] * 60, [0] * 60, range(60)).p_value == pytest.approx(2 / 2**60)


def test_sums_that_are_no_whole_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        sign_flip_p_values(np.array([[0.5], [1.0]]))


def test_under_the_null_small_p_values_are_as_rare_as_they_say() -> None:
    # No effect, but rows of a cluster agree: only flips of whole clusters keep the level.
    generator = np.random.default_rng(6)
    clusters, tries = np.repeat(np.arange(40), 3), 2000
    difference = generator.normal(size=(40, tries))[clusters] + generator.normal(size=(120, tries))
    zero = np.zeros_like(difference)

    def share(names: np.ndarray) -> float:
        found = compare_dimensions(difference, zero, names, resamples=500)
        return float(np.mean([one.p_value is not None and one.p_value <= 0.05 for one in found]))

    # Totals move in steps of 2, and one step near the limit is worth some 2 %: the level is kept, not reached.
    assert 0.02 <= share(clusters) <= 0.06
    assert share(np.arange(120)) > 0.09


def test_holm_is_the_hand_worked_one() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 with factors 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04, which may not fall again: 0.06.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    # 3 x 0.001; 2 x 0.4 = 0.8; 1 x 0.9.
    assert holm([0.4, 0.9, 0.001]) == pytest.approx([0.8, 0.9, 0.003])


def test_holm_of_one_of_none_and_of_large_values() -> None:
    assert holm([]) == []
    assert holm([0.03]) == [0.03]
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_what_was_not_tested_does_not_count_in_the_family() -> None:
    assert holm([None, 0.02, None, 0.5]) == [None, 0.04, None, 0.5]
