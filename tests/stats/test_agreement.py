"""Agreement of raters: published and hand-worked values, an outside library, and what is undefined."""

from __future__ import annotations

import math
from typing import Any

import krippendorff
import numpy as np
import pytest

from stratalign.stats import agreement as module
from stratalign.stats import exact_agreement, krippendorff_alpha, quadratic_kappa

N = math.nan
# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section E: four observers, twelve units.
# Ordinal .815, interval .849.
TEXTBOOK = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]


def test_alpha_of_the_textbook() -> None:
    ordinal = krippendorff_alpha(TEXTBOOK)
    assert ordinal.value == pytest.approx(0.815, abs=5e-4)
    assert ordinal.units == 11  # the last was rated once
    assert krippendorff_alpha(TEXTBOOK, "interval").value == pytest.approx(0.849, abs=5e-4)
    assert ordinal.low is not None
    assert ordinal.high is not None
    assert ordinal.low < 0.815 < ordinal.high <= 1


def test_alpha_by_hand() -> None:
    # Units (1, 1), (2, 2), (1, 2), two values: o_12 = o_21 = 1, n_1 = n_2 = 3, n = 6. For two values every metric
    # gives 1 - (n - 1) (o_12 + o_21) / (2 n_1 n_2) = 1 - 5 * 2 / 18 = 4 / 9.
    ratings = [[1, 2, 1], [1, 2, 2]]
    assert krippendorff_alpha(ratings).value == pytest.approx(4 / 9)
    assert krippendorff_alpha(ratings, "interval").value == pytest.approx(4 / 9)


def random_ratings(seed: int, raters: int = 3, units: int = 40) -> Any:
    draw = np.random.default_rng(seed)
    truth = draw.integers(1, 6, units)
    table = np.clip(truth + draw.integers(-1, 2, (raters, units)), 1, 5).astype(float)
    table[draw.random(table.shape) < 0.2] = N
    return table


@pytest.mark.parametrize("metric", ["ordinal", "interval"])
def test_alpha_and_each_resample_equal_the_library(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bootstrap's closed forms are held to the library's alpha of the drawn units themselves."""
    table = random_ratings(1)
    clusters = [unit // 2 for unit in range(40)]
    caught: list[Any] = []

    def catching(replicates: Any, *rest: Any) -> Any:
        caught.append(replicates)
        return original(replicates, *rest)

    original = module.clustered_interval
    monkeypatch.setattr(module, "clustered_interval", catching)
    found = krippendorff_alpha(table, metric, clusters, resamples=25, seed=3)
    assert found.value == pytest.approx(krippendorff.alpha(table, level_of_measurement=metric), abs=1e-12)
    # The same draws, told again: clusters in the order of their names, those without a pair of ratings left out.
    pairs = (~np.isnan(table)).sum(axis=0) >= 2
    names = sorted({str(cluster) for cluster, kept in zip(clusters, pairs, strict=True) if kept})
    draws = np.random.default_rng(3).integers(0, len(names), size=(25, len(names)))
    for replicate, drawn in zip(caught[0], draws, strict=True):
        units = [
            unit for code in drawn for unit in range(40) if str(clusters[unit]) == names[code] and pairs[unit]
        ]
        assert replicate == pytest.approx(krippendorff.alpha(table[:, units], level_of_measurement=metric))


def test_kappa_by_hand() -> None:
    # Four units on three values: (1,1) (2,2) (3,3) (1,3). Squared differences 0 0 0 4, mean 1. By the margins
    # (first 1,2,3 at 2/4, 1/4, 1/4; second at 1/4, 1/4, 2/4) it would be
    # E[x2] + E[y2] - 2 E[x] E[y] = 15/4 + 23/4 - 2 * 7/4 * 9/4 = 13/8. Kappa = 1 - 8/13 = 5/13.
    assert quadratic_kappa([[1, 2, 3, 1], [1, 2, 3, 3]]).value == pytest.approx(5 / 13)
    # A unit that one rater left out does not count; where the scale begins does not matter.
    found = quadratic_kappa([[101, 102, 103, 101, 104], [101, 102, 103, 103, N]])
    assert found.value == pytest.approx(5 / 13)
    assert found.units == 4
    assert quadratic_kappa([[1, 5, 1, 5], [5, 1, 5, 1]]).value == -1
    with pytest.raises(ValueError, match="two raters, got 3"):
        quadratic_kappa([[1], [1], [1]])


def test_exact_agreement_by_hand() -> None:
    # Three raters: all agree (1), one of three pairs (1/3), none (0), two raters agree (1), one rater (not counted).
    ratings = [[4, 4, 1, 2, 5], [4, 4, 2, 2, N], [4, 3, 3, N, N]]
    found = exact_agreement(ratings)
    assert found.value == pytest.approx((1 + 1 / 3 + 0 + 1) / 4)
    assert found.units == 4


@pytest.mark.parametrize("measure", [krippendorff_alpha, quadratic_kappa, exact_agreement])
def test_perfect_agreement_is_one_and_nothing_to_compare_is_undefined(measure: Any) -> None:
    perfect = measure([[1, 2, 3, 4], [1, 2, 3, 4]], resamples=200)
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == 1
    for nothing in (np.empty((2, 0)), [[1, N], [N, 2]], np.full((2, 3), N)):
        found = measure(nothing)
        assert (found.value, found.low, found.high, found.units) == (None, None, None, 0)
    alone = measure([[1, 2], [1, 2]], clusters=["a", "a"])
    assert (alone.value, alone.low, alone.high) == (1, None, None)


@pytest.mark.parametrize("value", [3.0, 0.1])
def test_constant_ratings_leave_chance_no_room(value: float) -> None:
    """Warnings are errors here: none is given. Exact agreement is 1 and says nothing beyond chance."""
    ratings = [[value] * 5, [value] * 5, [value, N, N, N, N]]
    assert krippendorff_alpha(ratings).value is None
    assert krippendorff_alpha(ratings, "interval").value is None
    assert quadratic_kappa(ratings[:2]).value is None
    assert exact_agreement(ratings).value == 1


def test_resamples_without_a_value_are_left_out() -> None:
    """One unit in six differs: about a third of the resamples, (5/6)^6, hold equal ratings alone."""
    ratings = [[1.1, 1.1, 1.1, 1.1, 1.1, 2.3], [1.1, 1.1, 1.1, 1.1, 1.1, 2.3]]
    for measure in (krippendorff_alpha, quadratic_kappa):
        found = measure(ratings, resamples=300)
        assert (found.value, found.low, found.high) == (1, 1, 1)
    interval = krippendorff_alpha(ratings, "interval", resamples=300)
    assert interval.value == pytest.approx(1)
    assert interval.low == pytest.approx(1)


def test_the_interval_covers_the_population() -> None:
    """The alpha of 20,000 units is the truth; of 200 intervals over 60 units at 90 %, 165 to 195 hold it."""
    draw = np.random.default_rng(7)
    truth = draw.integers(1, 6, 20_000)
    population = np.clip(truth + draw.integers(-1, 2, (2, 20_000)), 1, 5).astype(float)
    alpha = krippendorff_alpha(population, resamples=2).value
    assert alpha is not None
    held = 0
    for start in range(0, 12_000, 60):
        found = krippendorff_alpha(population[:, start : start + 60], resamples=300, level=0.9)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= alpha <= found.high
    assert 165 <= held <= 195


def test_what_is_no_table_of_ratings() -> None:
    with pytest.raises(ValueError, match="shape"):
        krippendorff_alpha([1, 2])
    with pytest.raises(ValueError, match="2 clusters for 1 units"):
        exact_agreement([[1], [1]], clusters=["a", "b"])
    with pytest.raises(ValueError, match="use metric='interval'"):
        krippendorff_alpha(np.arange(200.0).reshape(2, 100))
    with pytest.raises(ValueError, match="infinite"):
        exact_agreement([[math.inf], [1]])
