"""Shares of an effect: by hand, beside resampling rows one by one, refused where there is nothing to share."""

from __future__ import annotations

import numpy as np
import pytest

from stratalign.stats import mean_ratios


def test_the_ratio_is_of_means_over_rows_that_have_both():
    # Rows 1 to 6: x sums to 1+2+3+0+2+1 = 9, y to 2+4+3+2+4+3 = 18, so 9 / 18. The seventh lacks y, the eighth x.
    x = [1, 2, 3, 0, 2, 1, 50, np.nan]
    y = [2, 4, 3, 2, 4, 3, np.nan, 70]
    (found,) = mean_ratios(np.array([x]).T, y, list("abcdefgh"))
    assert (found.ratio, found.numerator, found.denominator) == (0.5, 1.5, 3.0)
    assert (found.n, found.clusters, found.missing) == (6, 6, 2)
    assert found.low < 0.5 < found.high


def test_a_condition_that_is_always_half_of_the_whole_has_no_doubt_about_it():
    # x = y / 2 in every row: whatever is drawn, the ratio is 1/2, although either mean by itself varies.
    y = np.random.default_rng(0).normal(1, 1, 60)
    (half, whole) = mean_ratios(np.stack([y / 2, y], axis=1), y, np.repeat(np.arange(20), 3))
    assert half.numerator_high - half.numerator_low > 0.2
    assert (half.low, half.high) == pytest.approx((0.5, 0.5))
    assert (whole.ratio, whole.low, whole.high) == (1, 1, 1)


def test_the_interval_is_that_of_clusters_drawn_one_by_one():
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(30), np.resize([1, 2, 5], 30))
    y = generator.normal(1, 0.5, len(clusters)) + generator.normal(0, 0.4, 30)[clusters]
    x = 0.4 * y + generator.normal(0, 0.3, len(clusters))
    (found,) = mean_ratios(x[:, None], y, clusters, resamples=4000)
    rows = [np.flatnonzero(clusters == one) for one in range(30)]
    drawn = []
    for _ in range(4000):
        taken = np.concatenate([rows[one] for one in generator.integers(0, 30, 30)])
        drawn.append(x[taken].mean() / y[taken].mean())
    # Both ends are quantiles of 4,000 draws; their Monte Carlo error is about 2 % of the width.
    assert (found.low, found.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.015)


def test_no_share_of_what_may_be_nothing():
    # y is +1 and -1 in turn: its mean is 0, so no x has a share of it, but x keeps its own mean and bounds.
    y = np.resize([1.0, -1.0], 40)
    (found,) = mean_ratios(np.full((40, 1), 0.3), y, np.arange(40))
    assert (found.ratio, found.low, found.high) == (None, None, None)
    assert (found.numerator, found.numerator_low, found.denominator) == (pytest.approx(0.3),) * 2 + (0,)


def test_five_clusters_cannot_tell_any_denominator_from_nothing():
    # All five point the same way; sign flips of five clusters give 2 x 0.5^5 = 0.0625 at best. Six give 0.031.
    for clusters, told in ((5, False), (6, True)):
        (found,) = mean_ratios(np.ones((clusters, 1)), np.full(clusters, 2.0), np.arange(clusters))
        assert (found.ratio == 0.5) is told


def test_a_negative_denominator_turns_both_ends():
    generator = np.random.default_rng(2)
    x, y = generator.normal(0.5, 1, (50, 1)), generator.normal(2, 1, 50)
    (one,), (other,) = (mean_ratios(x, sign * y, np.arange(50)) for sign in (1, -1))
    assert (other.ratio, other.low, other.high) == pytest.approx((-one.ratio, -one.high, -one.low))


def test_without_rows_nothing_is_known_and_shapes_are_checked():
    (found,) = mean_ratios(np.full((3, 1), np.nan), np.ones(3), list("abc"))
    assert (found.n, found.ratio, found.numerator, found.missing) == (0, None, None, 3)
    with pytest.raises(ValueError, match="numerators"):
        mean_ratios(np.ones(3), np.ones(3), list("abc"))


@pytest.mark.parametrize(
    ("simulations", "resamples"), [(300, 500), pytest.param(2000, 10_000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("share", "gain"), [(0.0, 0.6), (0.5, 0.6), (1.0, 0.25)])
def test_intervals_hold_the_true_share_as_often_as_they_say(simulations, resamples, share, gain):
    """64 clusters of three rows, as in the demo; full's gain varies by 1 between rows and 0.5 between clusters."""
    generator = np.random.default_rng(3)
    clusters = np.repeat(np.arange(64), 3)
    held = told = 0
    for at in range(simulations):
        of_cluster = generator.normal(0, 0.5, 64)[clusters]
        y = gain + of_cluster + generator.normal(0, 1, 192)
        x = share * gain + share * of_cluster + generator.normal(0, 1, 192)
        (found,) = mean_ratios(x[:, None], y, clusters, resamples=resamples, seed=at)
        told += found.ratio is not None
        held += found.ratio is not None and found.low <= share <= found.high
    print(f"share {share}, gain {gain}: {told} of {simulations} told, {held / told:.4f} hold the truth")
    assert told > 0.7 * simulations
    # 95 % less the percentile interval's usual point at 64 clusters, within three Monte Carlo errors.
    assert held / told > 0.94 - 3 * (0.95 * 0.05 / told) ** 0.5
