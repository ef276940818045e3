"""Comparisons against hand-worked values, against SciPy, and against what every comparison must keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from stratalign.stats import bootstrap, compare, compare_dimensions


def test_counts_and_rates_of_four_rows_are_the_hand_worked_ones() -> None:
    # a - b = 2, -1, 0, 3: two wins, one loss, one tie. Net win rate (2 - 1) / 4; mean difference 4 / 4.
    comparison = compare([3, 1, 2, 5], [1, 2, 2, 2], ["w", "x", "y", "z"])
    assert (comparison.n, comparison.clusters, comparison.missing) == (4, 4, 0)
    assert (comparison.wins, comparison.ties, comparison.losses) == (2, 1, 1)
    assert comparison.net_win_rate == 0.25
    assert comparison.mean_difference == 1.0


def test_few_clusters_give_the_t_interval_of_the_clustered_error() -> None:
    # Cluster p has signs +1, +1, cluster q has -1: mean 1/3, residual sums 2 x 2/3 and -4/3. CR1: variance
    # 2 / 1 x (16/9 + 16/9) / 3^2 = 64/81, error 8/9. One degree of freedom: t = tan(0.475 pi) = 12.7062.
    comparison = compare([1, 1, 0], [0, 0, 1], ["p", "p", "q"])
    assert comparison.net_win_rate == pytest.approx(1 / 3)
    assert comparison.standard_error == pytest.approx(8 / 9)
    assert (comparison.freedom, comparison.over_seeds) == (1.0, False)
    assert (comparison.low, comparison.high) == (
        -1.0,
        1.0,
    )  # 1/3 -+ 11.3, and no net win rate is larger than 1
    assert comparison.difference_high == pytest.approx(1 / 3 + 12.7062 * 8 / 9, rel=1e-5)


def test_many_clusters_give_the_percentiles_of_the_bootstrap() -> None:
    # 40 clusters of one row, 30 of them won: resampled wins are binomial(40, 3/4), whose 2.5 % and 97.5 % points are
    # 24 and 35 (scipy.stats.binom.ppf). Rates 24/40 and 35/40 as net win rates (2 w - 40) / 40: 0.2 and 0.75.
    comparison = compare([1] * 30 + [0] * 10, [0] * 30 + [1] * 10, range(40))
    low, high = ((2 * scipy.stats.binom.ppf(q, 40, 0.75) - 40) / 40 for q in (0.025, 0.975))
    assert (comparison.low, comparison.high) == (low, high) == (0.2, 0.75)
    # CR1 of 40 rows of +-1 with mean 1/2: sqrt(40 / 39 x (1 - 1/4) / 40) = sqrt(0.75 / 39).
    assert comparison.standard_error == pytest.approx((0.75 / 39) ** 0.5)


def test_equal_scores_give_zero_with_an_interval_of_zero() -> None:
    comparison = compare([1.5, 2.5, 3.5], [1.5, 2.5, 3.5], [0, 1, 2])
    assert (comparison.net_win_rate, comparison.low, comparison.high) == (0.0, 0.0, 0.0)
    assert (comparison.mean_difference, comparison.difference_low, comparison.difference_high) == (0, 0, 0)
    assert comparison.standard_error == 0.0


def test_clusters_that_are_all_alike_have_no_standard_error_despite_rounding() -> None:
    # One win and two ties in every cluster: every residual sum is 0, but not exactly so in floating point.
    comparison = compare([1, 0, 0] * 4, [0, 0, 0] * 4, np.repeat(np.arange(4), 3))
    assert (comparison.low, comparison.high) == (1 / 3, 1 / 3)
    assert comparison.standard_error == 0.0


def test_one_cluster_has_rates_but_no_interval() -> None:
    comparison = compare([1, 2, 3], [0, 0, 4], ["same", "same", "same"])
    assert comparison.net_win_rate == pytest.approx(1 / 3)
    assert comparison.low is comparison.high is comparison.standard_error is None
    assert comparison.difference_low is comparison.difference_high is None


def test_no_rows_have_no_rates() -> None:
    comparison = compare([np.nan, 1.0], [2.0, np.nan], ["p", "q"])
    assert (comparison.n, comparison.clusters, comparison.missing) == (0, 0, 2)
    assert comparison.net_win_rate is comparison.mean_difference is None
    assert compare([], [], []).n == 0


def test_swapping_the_sides_flips_every_sign_exactly() -> None:
    generator = np.random.default_rng(5)
    a, b = generator.normal(size=(2, 61))
    clusters = generator.integers(0, 17, size=61)
    there, back = compare(a, b, clusters), compare(b, a, clusters)
    assert there.low is not None
    assert there.high is not None
    assert there.difference_low is not None
    assert there.difference_high is not None
    assert there.net_win_rate is not None
    assert there.mean_difference is not None
    assert back == replace(
        there,
        wins=there.losses,
        losses=there.wins,
        net_win_rate=-there.net_win_rate,
        low=-there.high,
        high=-there.low,
        mean_difference=-there.mean_difference,
        difference_low=-there.difference_high,
        difference_high=-there.difference_low,
    )


def test_a_missing_side_drops_the_row_as_if_it_had_never_been_there() -> None:
    a, b = [1.0, np.nan, 3.0, 4.0, 0.0], [0.0, 2.0, np.nan, 5.0, 0.5]
    clusters = ["p", "q", "r", "s", "s"]
    dropped = compare([1.0, 4.0, 0.0], [0.0, 5.0, 0.5], ["p", "s", "s"])
    assert compare(a, b, clusters) == replace(dropped, missing=2)


def test_dimensions_compared_together_equal_dimensions_compared_alone() -> None:
    generator = np.random.default_rng(11)
    a, b = generator.integers(1, 6, size=(2, 80, 3)).astype(float)
    a[:7, 1] = np.nan  # rows of clusters that keep other rows, and ...
    clusters = np.repeat(np.arange(20), 4)
    b[clusters == 3, 2] = np.nan  # ... a whole cluster, which changes what can be drawn
    together = compare_dimensions(a, b, clusters)
    alone = [compare(a[:, column], b[:, column], clusters) for column in range(3)]
    assert together == alone
    assert [comparison.missing for comparison in together] == [0, 7, 4]
    assert [comparison.clusters for comparison in together] == [20, 19, 19]


def test_the_order_of_rows_changes_no_resample() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.integers(0, 3, size=(2, 40)).astype(float)
    clusters = np.array([f"c{index % 9}" for index in range(40)])
    order = generator.permutation(40)
    assert compare(a, b, clusters) == compare(a[order], b[order], clusters[order])


def test_the_interval_does_not_depend_on_how_draws_are_cut_into_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = np.random.default_rng(3)
    a, b = generator.integers(1, 6, size=(2, 33)).astype(float)
    whole = compare(a, b, range(33), resamples=501)
    bootstrap._kept_counts.cache_clear()
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", 33 * 7)
    assert compare(a, b, range(33), resamples=501) == whole
    assert len(bootstrap._kept_counts(33, 501, 0)) == 72
    monkeypatch.setattr(bootstrap, "DRAWS_KEPT", 0)
    assert compare(a, b, range(33), resamples=501) == whole
    bootstrap._kept_counts.cache_clear()


def test_clusters_of_one_row_give_scipys_paired_bootstrap_interval() -> None:
    generator = np.random.default_rng(8)
    a, b = generator.normal(0.2, 1, size=150), generator.normal(0, 1, size=150)
    ours = compare(a, b, range(150))

    def interval(values: np.ndarray) -> tuple[float, float]:
        result = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=10_000, method="percentile", random_state=1
        )
        return result.confidence_interval.low, result.confidence_interval.high

    # Another generator: each bound is known to about 0.002 at a standard error of 0.08.
    assert (ours.low, ours.high) == pytest.approx(interval(np.sign(a - b)), abs=0.015)
    assert (ours.difference_low, ours.difference_high) == pytest.approx(interval(a - b), abs=0.015)


def test_copies_of_a_row_within_its_cluster_add_no_certainty() -> None:
    generator = np.random.default_rng(21)
    a, b = generator.normal(size=(2, 100))
    once = compare(a, b, range(100))
    copied = compare(np.repeat(a, 4), np.repeat(b, 4), np.repeat(np.arange(100), 4))
    as_if_independent = compare(np.repeat(a, 4), np.repeat(b, 4), range(400))
    assert copied.n == 400
    assert (copied.low, copied.high) == (once.low, once.high)
    assert once.standard_error is not None
    assert as_if_independent.standard_error is not None
    # Four times the rows, half the standard error: what ignoring the clusters would claim.
    assert as_if_independent.standard_error / once.standard_error == pytest.approx(0.5, abs=0.03)


def test_the_interval_covers_the_truth_at_its_level() -> None:
    # Differences = cluster effect + row noise, true mean 0.3, so the true net win rate is 2 Phi(0.3 / sqrt 2) - 1.
    truth = 2 * scipy.stats.norm.cdf(0.3 / 2**0.5) - 1
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(80), 3)
    rows, tries = 240, 800
    effects = generator.normal(size=(80, tries))[clusters] + generator.normal(size=(rows, tries)) + 0.3
    comparisons = compare_dimensions(effects, np.zeros((rows, tries)), clusters, resamples=1000)
    net = [c for c in comparisons if c.low is not None and c.high is not None]
    rate_covered = np.mean([c.low <= truth <= c.high for c in net])
    mean_covered = np.mean([c.difference_low <= 0.3 <= c.difference_high for c in net])
    assert len(net) == tries
    assert 0.93 <= rate_covered <= 0.97
    assert 0.93 <= mean_covered <= 0.97


@pytest.mark.parametrize(
    ("a", "b", "clusters", "message"),
    [
        ([1, 2], [1], [0, 1], "one number per row"),
        ([1, 2], [1, 2], [0], "one cluster per row"),
        ([1, np.inf], [1, 2], [0, 1], "infinite"),
    ],
)
def test_input_that_cannot_be_compared_is_refused(
    a: list[float], b: list[float], clusters: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compare(a, b, clusters)
