"""Seeds as a level, gains at matched divergence, bounds of missing rows, and correlations, against known values."""

from __future__ import annotations

import numpy as np
import pytest

from stratalign.stats import (
    compare,
    correlations,
    difference_tests,
    drift,
    gain_at_kl,
    length_controlled,
    lengths,
    matched_gains,
    missing_bounds,
    seed_level,
    within_margin,
)


def test_two_seeds_have_the_mean_and_spread_of_their_effects() -> None:
    # Seed 0: 1, 0; seed 10: 1, 1. Effects 0.5 and 1: mean 0.75, standard deviation 0.5 / sqrt(2).
    found = seed_level([1, 0, 1, 1], [0, 0, 10, 10], ["p", "q", "p", "q"])
    assert (found.seeds, found.effects, found.mean) == (("0", "10"), (0.5, 1.0), 0.75)
    assert found.between_seeds == pytest.approx(0.5 / 2**0.5)
    # Residuals .25, -.75, .25, .25, each with weight 1/4. V_seeds = 2 (.125^2 + .125^2) = 1/16; V_clusters: p 1/8,
    # q -1/8, so 1/16; V_both = 4/3 (9 + 3) / 16 / 16 = 1/16. Together 1/16, on (1/16)^2 / (2/16^2) = 1/2 degree.
    assert found.standard_error == pytest.approx(0.25)
    assert found.degrees_of_freedom == pytest.approx(0.5)


def test_each_way_of_clustering_is_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    generator = np.random.default_rng(1)
    seeds, clusters = np.repeat(np.arange(4), 30), np.tile(np.arange(30), 4)
    values = (
        generator.normal(size=4)[seeds] + generator.normal(size=30)[clusters] + generator.normal(size=120)
    )
    fit = api.OLS(values, np.ones(120))

    def variance(groups: np.ndarray) -> float:
        return float(fit.fit(cov_type="cluster", cov_kwds={"groups": groups}).bse[0]) ** 2

    both = variance(seeds) + variance(clusters) - variance(np.arange(120))
    found = seed_level(values, seeds, clusters)
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(both**0.5, rel=1e-9)


def test_one_seed_one_cluster_and_no_rows_are_defined() -> None:
    one = seed_level([1, 0], [3, 3], ["p", "q"])
    assert (one.effects, one.mean, one.between_seeds, one.low) == ((0.5,), 0.5, None, None)
    together = seed_level([1, 0], [0, 1], ["p", "p"])
    assert (together.mean, together.low) == (0.5, None)
    assert together.between_seeds == pytest.approx(0.5**0.5)
    none = seed_level([np.nan], [0], ["p"])
    assert (none.seeds, none.mean, none.n) == ((), None, 0)
    alike = seed_level([1, 1, 1, 1], [0, 0, 1, 1], ["p", "q", "p", "q"])
    assert (alike.low, alike.high, alike.standard_error) == (1.0, 1.0, 0.0)


def test_the_interval_covers_what_other_seeds_and_prompts_would_give() -> None:
    generator = np.random.default_rng(0)
    seeds, clusters = np.repeat(np.arange(5), 40), np.tile(np.arange(40), 5)
    covered = stacked = 0
    for _ in range(300):
        noise = generator.normal(0, 0.3, 5)[seeds] + generator.normal(0, 0.5, 40)[clusters]
        values = 0.2 + noise + generator.normal(size=200)
        found = seed_level(values, seeds, clusters)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.2 <= found.high
        sums = np.array([values[clusters == c].mean() for c in range(40)])
        stacked += abs(values.mean() - 0.2) <= 1.96 * sums.std(ddof=1) / 40**0.5
    # 300 tries: two standard errors are 0.025. Prompts alone, as if no other seed could have been drawn, fall short.
    assert 0.92 <= covered / 300 <= 0.99
    assert stacked / 300 < 0.9


def test_from_three_seeds_on_a_comparison_is_for_other_seeds_too() -> None:
    # Forty prompts, one cluster each; seeds 0 and 1 win all of them, seed 2 loses all. By seeds: effects 1, 1, -1.
    a, seeds = [1] * 80 + [-1] * 40, [0] * 40 + [1] * 40 + [2] * 40
    clusters = list(range(40)) * 3
    found = compare(a, [0] * 120, clusters, seeds=seeds)
    level = seed_level(a, seeds, clusters)
    assert (found.seeds, found.over_seeds) == (3, True)
    assert (found.low, found.high) == (
        -1.0,
        1.0,
    )  # the level's own bounds, which lie beyond what a rate can be
    assert level.low is not None
    assert level.low < -1
    # t = (1/3) / (2/3) = 0.5 with two degrees of freedom: p = 2/3 (scipy.stats.t.sf), whatever flips of clusters say.
    assert found.p_value == pytest.approx(2 / 3)
    (tests,) = difference_tests(np.array(a)[:, None], np.zeros((120, 1)), clusters, seeds=seeds)
    assert tests.flip_p == pytest.approx(2 / 3)
    # That the effect is at most -0.1: t = (1/3 + 0.1) / (2/3) = 0.65, p = 0.291.
    assert within_margin(a, [0] * 120, clusters, 0.1, seeds=seeds).p_not_below == pytest.approx(
        0.291, abs=1e-3
    )
    fixed = compare(a[:40] + a[80:], [0] * 80, clusters[:80], seeds=seeds[:40] + seeds[80:])
    assert (fixed.seeds, fixed.over_seeds, fixed.low, fixed.high) == (2, False, 0.0, 0.0)


def test_the_p_value_over_seeds_is_never_below_that_of_the_seeds_at_hand() -> None:
    # Every row wins: no variation at all, so t is infinite; but seven clusters reject at 2 / 2^7 at best.
    found = compare([1] * 21, [0] * 21, list(range(7)) * 3, seeds=[0] * 7 + [1] * 7 + [2] * 7)
    assert (found.p_value, found.over_seeds) == (2 / 2**7, True)


def test_a_gain_is_read_off_the_line_from_base_and_never_beyond() -> None:
    # Points (sqrt 1, 0.2) and (sqrt 9, 0.4): at KL 4, halfway between 1 and 3, it is 0.3; at KL 0.25, half of 0.2.
    assert gain_at_kl([9.0, 1.0], [0.4, 0.2], 4.0) == pytest.approx(0.3)
    assert gain_at_kl([9.0, 1.0], [0.4, 0.2], 0.25) == pytest.approx(0.1)
    assert gain_at_kl([9.0], [0.4], 0.0) == 0.0
    with pytest.raises(ValueError, match="largest KL"):
        gain_at_kl([9.0], [0.4], 9.1)


def test_a_smooth_statistic_over_seeds_moves_as_its_influence_says() -> None:
    # With equal KLs the matched difference is the plain one of the gains, its interval that of their mean over seeds.
    generator = np.random.default_rng(3)
    seeds, clusters = np.repeat(np.arange(3), 40), np.tile(np.arange(40), 3)
    gain_a, gain_b = generator.normal(0.4, 1, 120) + 0.2 * seeds, generator.normal(size=120)
    found = matched_gains(gain_a, np.ones(120), gain_b, np.ones(120), clusters, seeds=seeds)
    level = seed_level(gain_a - gain_b, seeds, clusters)
    assert (found.low, found.high) == (pytest.approx(level.low), pytest.approx(level.high))
    # Lengths that do not differ leave the plain mean, too.
    plain = length_controlled(gain_a, gain_b, np.ones(120), np.ones(120), clusters, seeds=seeds).difference
    assert plain is not None
    assert (plain.low, plain.high) == (pytest.approx(level.low), pytest.approx(level.high))
    # Where they do: leaving a row out moves the intercept by its influence / n, up to the next order.
    longer = generator.normal(size=120)
    whole = length_controlled(gain_a, gain_b, longer, np.zeros(120), clusters, seeds=seeds).difference
    assert whole is not None
    without = length_controlled(gain_a[1:], gain_b[1:], longer[1:], np.zeros(119), clusters[1:]).difference
    assert without is not None
    z, y = longer / longer.std(), gain_a - gain_b
    residuals = y - whole.value - whole.slope * z
    moved = lengths._influence(residuals, z)
    assert moved.mean() == pytest.approx(0, abs=1e-12)
    assert whole.value - without.value == pytest.approx(moved[0] / 120, rel=0.1)
    over = seed_level(whole.value + moved, seeds, clusters)
    assert (whole.low, whole.high) == (pytest.approx(over.low), pytest.approx(over.high))


def test_the_slopes_of_matched_gains_are_their_derivatives() -> None:
    for means in (np.array([0.4, 3.0, 0.2, 0.7]), np.array([0.4, 0.7, 0.2, 3.0])):

        def difference(at: np.ndarray) -> float:
            (a,), (b,) = drift._matched(at[None])
            return float(a - b)

        step = 1e-6 * np.eye(4)
        numeric = [(difference(means + one) - difference(means - one)) / 2e-6 for one in step]
        assert drift._slopes(means) == pytest.approx(numeric, rel=1e-5)


def test_gains_are_compared_at_the_smaller_divergence() -> None:
    # a gains 1/2 at a mean KL of 4, b 1/4 at 1: at KL 1, a has 1/2 x sqrt(1 / 4) = 1/4 as well.
    found = matched_gains([1, 0, 1, 0], [4] * 4, [1, 0, 0, 0], [1, 1, 2, 0], range(4))
    assert (found.kl, found.matched_a, found.matched_b, found.difference) == (1.0, 0.25, 0.25, 0.0)
    assert (found.kl_a, found.gain_a, found.n, found.missing) == (4.0, 0.5, 4, 0)
    assert found.matched_a == gain_at_kl([4.0], [0.5], 1.0)


def test_matched_gains_without_drift_rows_or_clusters_are_defined() -> None:
    still = matched_gains([1, 0], [0, 0], [1, 0], [1, 1], [0, 1])
    assert (still.gain_a, still.kl_b, still.kl, still.difference) == (0.5, 1.0, None, None)
    none = matched_gains([np.nan], [1], [1], [1], [0])
    assert (none.n, none.missing, none.difference) == (0, 1, None)
    one = matched_gains([1, 0], [1, 1], [0, 0], [1, 1], ["p", "p"])
    assert (one.difference, one.low) == (0.5, None)
    # Half of all resamples of two clusters lack one of them; a resample without drift has no gain to read.
    part = matched_gains([1, 0], [1, 0], [1, 0], [0, 1], [0, 1])
    assert part.low is not None
    with pytest.raises(ValueError, match="never negative"):
        matched_gains([1], [-1], [1], [1], [0])


def test_swapping_conditions_flips_the_matched_difference_exactly() -> None:
    generator = np.random.default_rng(8)
    gains, kls = generator.integers(-1, 2, size=(2, 50)), generator.exponential(size=(2, 50))
    there = matched_gains(gains[0], kls[0], gains[1], kls[1], range(50))
    back = matched_gains(gains[1], kls[1], gains[0], kls[0], range(50))
    assert there.low is not None
    assert there.high is not None
    assert there.difference is not None
    assert (back.difference, back.low, back.high) == (-there.difference, -there.high, -there.low)


def test_missing_rows_bound_the_rate_as_if_all_were_lost_or_won() -> None:
    # 6 wins, 1 loss, 1 tie, 2 missing: (6 - 1 -/+ 2) / 10.
    assert missing_bounds(6, 1, 8, 2) == (0.3, 0.7)
    assert missing_bounds(6, 1, 8, 0) == (0.625, 0.625)
    assert missing_bounds(0, 0, 0, 3) == (-1.0, 1.0)
    assert missing_bounds(0, 0, 0, 0) is None


def test_correlations_are_numpys_over_the_rows_that_both_have() -> None:
    values = np.random.default_rng(2).normal(size=(50, 3))
    values[:, 2] += values[:, 0]
    assert np.array(correlations(values)) == pytest.approx(np.corrcoef(values.T), rel=1e-9)
    values[:5, 1] = np.nan
    found = correlations(values)
    assert found[0][1] == pytest.approx(np.corrcoef(values[5:, 0], values[5:, 1])[0, 1])
    assert found[0][2] == pytest.approx(np.corrcoef(values[:, 0], values[:, 2])[0, 1])


def test_what_groups_differ_by_on_average_does_not_correlate() -> None:
    # Within groups x and y go opposite ways, between them together.
    values = [[0, 1], [1, 0], [10, 11], [11, 10]]
    assert correlations(values, ["x", "x", "y", "y"])[0][1] == pytest.approx(-1)
    between = correlations(values)[0][1]
    assert between is not None
    assert between > 0.9


def test_constants_and_single_rows_do_not_correlate() -> None:
    assert correlations([[0.1, 1.0], [0.1, 2.0], [0.1, 5.0]]) == [[None, None], [None, 1.0]]
    assert correlations([[1.0, 2.0]]) == [[None, None], [None, None]]
    assert correlations(np.empty((0, 1))) == [[None]]
