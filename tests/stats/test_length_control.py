"""Comparisons at equal length, against statsmodels and what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stratalign.stats import compare, length_controlled, lengths_controlled


def sample(rows: int = 300) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(2)
    long_a, long_b = generator.poisson(60, size=rows) + 8.0, generator.poisson(60, size=rows).astype(float)
    a = np.round(3 + 0.05 * (long_a - long_b) + generator.normal(size=rows))
    return a, np.full(rows, 3.0), long_a, long_b, np.repeat(np.arange(rows // 3), 3)


def test_values_slopes_and_standard_errors_are_statsmodels() -> None:
    linear_model = pytest.importorskip("statsmodels.api")
    a, b, long_a, long_b, clusters = sample()
    found = length_controlled(a, b, long_a, long_b, clusters)
    longer = long_a - long_b
    design = linear_model.add_constant(longer / np.std(longer))
    for outcome, ours in ((np.sign(a - b), found.net_win_rate), (a - b, found.difference)):
        theirs = linear_model.OLS(outcome, design).fit(cov_type="cluster", cov_kwds={"groups": clusters})
        assert ours is not None
        assert (ours.value, ours.slope) == pytest.approx(tuple(theirs.params), rel=1e-9)
        assert (ours.standard_error, ours.slope_standard_error) == pytest.approx(tuple(theirs.bse), rel=1e-9)
        # The percentile interval agrees with the normal one.
        assert (ours.low, ours.high) == pytest.approx(tuple(theirs.conf_int()[0]), abs=0.03)


def test_a_gain_that_is_all_length_is_gone_at_equal_length() -> None:
    a, b, long_a, long_b, clusters = sample()
    raw, found = compare(a, b, clusters), length_controlled(a, b, long_a, long_b, clusters)
    assert raw.low is not None
    assert raw.low > 0.1
    assert found.net_win_rate is not None
    assert found.net_win_rate.low is not None
    assert found.net_win_rate.high is not None
    assert found.net_win_rate.low < 0 < found.net_win_rate.high


def test_three_rows_have_the_line_that_can_be_drawn_by_hand() -> None:
    # Differences in length -1, 0, 1, in score 0, 1, 5: the line through their means has slope 2.5 per token, value 2 at
    # 0. Signs 0, 1, 1: slope 1/2 per token, value 2/3. One standard deviation is sqrt(2/3) tokens.
    found = length_controlled([0, 1, 5], [0, 0, 0], [1, 2, 3], [2, 2, 2], "xyz")
    assert found.difference is not None
    assert found.net_win_rate is not None
    assert (found.difference.value, found.net_win_rate.value) == pytest.approx((2, 2 / 3))
    assert (found.difference.slope, found.net_win_rate.slope) == pytest.approx(
        (2.5 * (2 / 3) ** 0.5, 0.5 * (2 / 3) ** 0.5)
    )
    assert (found.mean_length_difference, found.extrapolated) == (0.0, False)


def test_equal_lengths_leave_the_raw_comparison() -> None:
    a, b = np.random.default_rng(3).integers(1, 6, size=(2, 60)).astype(float)
    raw, found = compare(a, b, range(60)), length_controlled(a, b, [9] * 60, [9] * 60, range(60))
    assert found.net_win_rate is not None
    assert (found.net_win_rate.value, found.net_win_rate.low, found.net_win_rate.high) == pytest.approx(
        (raw.net_win_rate, raw.low, raw.high)
    )
    assert (found.net_win_rate.slope, found.spread) == (0.0, 0.0)


def test_what_cannot_be_read_off_is_none() -> None:
    always = length_controlled([2, 1, 3], [0, 0, 0], [5, 6, 7.3], [4, 5, 6.3], range(3))
    assert always.net_win_rate is always.difference is None
    assert always.extrapolated
    assert length_controlled([1], [0], [3], [2], ["x"]).net_win_rate is None
    empty = length_controlled([np.nan], [0], [3], [2], ["x"])
    assert (empty.n, empty.missing, empty.net_win_rate, empty.extrapolated) == (0, 1, None, False)
    one_cluster = length_controlled([1, 2, 3], [0, 3, 0], [3, 2, 1], [2, 2, 2], ["x"] * 3)
    assert one_cluster.difference is not None
    assert one_cluster.difference.low is one_cluster.difference.standard_error is None
    tied = length_controlled([1, 1, 1], [1, 1, 1], [3, 2, 1], [2, 2, 2], range(3))
    assert tied.net_win_rate is not None
    assert tied.net_win_rate[:5] == (0, 0, 0, 0, 0)


def test_a_row_without_a_length_is_missing() -> None:
    a, b, long_a, long_b, clusters = sample(30)
    long_a[[0, 7]] = np.nan
    kept = ~np.isnan(long_a)
    found = length_controlled(a, b, long_a, long_b, clusters)
    dropped = length_controlled(a[kept], b[kept], long_a[kept], long_b[kept], clusters[kept])
    assert (found.n, found.missing) == (28, 2)
    assert found.net_win_rate == dropped.net_win_rate


def test_swapping_the_sides_flips_every_sign_exactly() -> None:
    a, b, long_a, long_b, clusters = sample(60)
    there = length_controlled(a, b, long_a, long_b, clusters).net_win_rate
    back = length_controlled(b, a, long_b, long_a, clusters).net_win_rate
    assert there is not None
    assert back is not None
    assert there.low is not None
    assert there.high is not None
    assert (back.value, back.low, back.high, back.slope) == (
        -there.value,
        -there.high,
        -there.low,
        there.slope,
    )
    assert back.standard_error == there.standard_error


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one number per row"):
        length_controlled([1, 2], [1, 2], [1], [1, 2], [0, 1])


def test_several_columns_are_each_what_they_are_alone() -> None:
    generator = np.random.default_rng(11)
    a, b = generator.integers(1, 6, size=(2, 60, 3)).astype(float)
    a[:7, 1] = np.nan  # this column has rows of its own
    long_a, long_b = generator.integers(20, 90, size=(2, 60)).astype(float)
    together = lengths_controlled(a, b, long_a, long_b, range(60))
    alone = [length_controlled(a[:, at], b[:, at], long_a, long_b, range(60)) for at in range(3)]
    assert [one.missing for one in together] == [0, 7, 0]
    for ours, theirs in zip(together, alone, strict=True):
        assert ours.net_win_rate is not None
        assert theirs.net_win_rate is not None
        assert ours.net_win_rate == pytest.approx(theirs.net_win_rate, rel=1e-12)
