"""Wilcoxon's test and flips of clusters on the differences, against SciPy, hand-worked and published values."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.stats

from stratalign.stats import (
    cluster_flip_p_values,
    compare_dimensions,
    difference_tests,
    flips,
    holm,
    sign_flip_p_values,
    wilcoxon_p_value,
)

ASYMPTOTIC: Any = "asymptotic" if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15) else "approx"
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
"""Darwin's fifteen pairs of plants, crossed minus self-fertilised, in eighths of an inch (Fisher 1935, section 17)."""


def scipys(differences: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy 1.13 warns of small samples; its number is the same
        return float(scipy.stats.wilcoxon(differences, zero_method="wilcox", method=ASYMPTOTIC).pvalue)


@pytest.mark.parametrize("rows", [1, 2, 7, 60, 1000])
def test_wilcoxon_is_scipys_with_ties_and_zeros(rows: int) -> None:
    generator = np.random.default_rng(rows)
    for values in (generator.integers(-3, 5, size=rows), generator.normal(0.1, 1, size=rows)):
        differences = np.append(values.astype(float), [2.0, 0.0])
        assert wilcoxon_p_value(differences) == pytest.approx(scipys(differences), rel=1e-12)


def test_wilcoxon_of_all_ties_one_row_and_none_is_defined() -> None:
    assert wilcoxon_p_value([0.0] * 9) == 1.0
    assert wilcoxon_p_value([]) is wilcoxon_p_value([np.nan]) is None
    # One rank of 1 against its mean of 1/2 and standard deviation of 1/2: z = 1.
    assert wilcoxon_p_value([-3.0]) == wilcoxon_p_value([7.0]) == pytest.approx(0.3173105)
    assert wilcoxon_p_value([np.nan, 2.0, 1.0]) == wilcoxon_p_value([2.0, 1.0])


def test_darwins_plants_have_fishers_randomisation_p_value() -> None:
    # Fisher (1935), section 21: 1,726 of the 32,768 arrangements reach the total of 314 in absolute value.
    total = np.array(DARWIN, dtype=float)[:, None]
    assert sign_flip_p_values(total) == pytest.approx([1726 / 32768])
    # Drawn: one standard error of a share of 0.0527 in 10,000 draws is 0.0022.
    assert cluster_flip_p_values(total) == pytest.approx([1726 / 32768], abs=0.008)


def test_few_clusters_of_any_differences_have_scipys_exact_p_value() -> None:
    sums = np.random.default_rng(3).normal(0.3, 1, size=(11, 5))
    theirs = scipy.stats.permutation_test(
        (sums,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=2**11, axis=0
    ).pvalue
    assert cluster_flip_p_values(sums) == pytest.approx(theirs)


def test_flips_that_only_equal_the_total_count_despite_rounding() -> None:
    # Sums 0.1, 0.2, -0.3: the total is 0 up to rounding, so all flips reach it.
    assert cluster_flip_p_values(np.array([[0.1], [0.2], [-0.3]])) == [1.0]
    # Sums 0.1, -0.3, 0.2, 0.7, total 0.7: the first three add up to 0 under two of their eight flips, to more under
    # three, so 5 of 8 reach 0.7 beside +0.7, and as many beside -0.7.
    assert cluster_flip_p_values(np.array([[0.1], [-0.3], [0.2], [0.7]])) == [0.625]
    assert cluster_flip_p_values(np.array([[0.7], [0.1], [-0.3], [0.2]])) == [0.625]


def test_drawn_flips_do_not_depend_on_how_they_are_cut_nor_on_the_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sums = np.random.default_rng(5).normal(0.1, 1, size=(33, 3))
    whole = cluster_flip_p_values(sums, draws=501)
    assert cluster_flip_p_values(-sums, draws=501) == pytest.approx(whole, abs=0)
    monkeypatch.setattr(flips, "FLIPS_AT_ONCE", 33 * 7)
    assert cluster_flip_p_values(sums, draws=501) == pytest.approx(whole, abs=0)


def test_difference_tests_flip_whole_clusters_and_define_every_edge() -> None:
    # Clusters x and y with sums 3 and 1: flips 4, 2, -2, -4; two of four reach 4.
    (found,) = difference_tests(np.array([[2.0], [1.0], [1.0]]), np.zeros((3, 1)), ["x", "x", "y"])
    assert found.flip_p == 0.5
    assert found.wilcoxon_p == pytest.approx(scipys(np.array([2.0, 1.0, 1.0])))
    tied, empty = difference_tests(np.array([[1.0, np.nan]] * 40), np.ones((40, 2)), range(40))
    assert (tied.wilcoxon_p, tied.flip_p) == (1.0, 1.0)
    assert (empty.wilcoxon_p, empty.flip_p) == (None, None)
    (one,) = difference_tests(np.array([[1.0]]), np.zeros((1, 1)), ["only"])
    assert one.flip_p == 1.0


def test_rows_that_share_clusters_fool_the_rank_test_and_not_the_flips() -> None:
    generator = np.random.default_rng(6)
    clusters, tries = np.repeat(np.arange(30), 4), 400
    differences = generator.normal(size=(30, tries))[clusters] + generator.normal(size=(120, tries))
    found = difference_tests(differences, np.zeros_like(differences), clusters, draws=999)
    # 400 tries: 0.05 +- 0.022 (two standard errors).
    assert np.mean([one.flip_p is not None and one.flip_p <= 0.05 for one in found]) <= 0.075
    assert np.mean([one.wilcoxon_p is not None and one.wilcoxon_p <= 0.05 for one in found]) > 0.15


def test_holm_is_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p_values = np.random.default_rng(9).uniform(0, 0.2, size=40)
    assert holm(p_values.tolist()) == pytest.approx(
        multitest.multipletests(p_values, method="holm")[1].tolist()
    )


def test_swapping_the_sides_leaves_every_p_value() -> None:
    first, second = np.random.default_rng(7).integers(1, 6, size=(2, 90, 3)).astype(float)
    clusters = np.repeat(np.arange(30), 3)
    assert difference_tests(first, second, clusters) == difference_tests(second, first, clusters)
    there, back = compare_dimensions(first, second, clusters), compare_dimensions(second, first, clusters)
    assert [one.p_value for one in there] == [one.p_value for one in back]
