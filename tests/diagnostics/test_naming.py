"""Naming on signals made by hand: what is named, what is not, and how often by chance."""

import itertools

import numpy as np
import pytest

from stratalign.diagnostics.naming import (
    LEVEL,
    by_layer,
    effect_sizes,
    flip_p,
    name_by_draws,
    name_by_products,
    name_by_rows,
    name_layers_by_gradients,
    positive_p,
    signal_to_noise,
)

LAYERS = [2, 3, 4, 5]


def rows(means, seed, count=24, noise=1.0):
    return np.array(means) + noise * np.random.default_rng(seed).normal(size=(count, len(means)))


def products(means, seed, chunks=12, size=6, width=40, noise=1.0):
    """Each layer's pairs have a gradient of that length along one direction, and noise in `width` directions."""
    rng = np.random.default_rng(seed)
    sums = rng.normal(size=(len(means), chunks, width)) * noise * np.sqrt(size)
    sums[:, :, 0] += size * np.array(means)[:, None]
    return sums @ sums.transpose(0, 2, 1), np.full(chunks, float(size))


def norms(grams, sizes):
    crossed = grams.sum(axis=(-2, -1)) - np.trace(grams, axis1=-2, axis2=-1)
    return crossed / (sizes.sum() ** 2 - (sizes**2).sum())


def test_the_layer_that_surely_has_the_largest_mean_is_named():
    found = name_by_rows(rows([0.1, 3, 0.2, 0], 0), range(24), LAYERS)
    assert (found.largest, found.named) == (3, True)
    assert found.describe()["named"] == 3
    assert found.describe()["reading"] == "named"


def test_two_layers_alike_are_a_signal_without_a_name():
    told = name_by_rows(rows([3, 3, 0, 0], 1), range(24), LAYERS).describe()
    assert (told["named"], told["reading"]) == (None, "no one largest")
    assert told["signal_p"] < LEVEL < told["separation_p"]


def test_without_a_signal_the_surely_largest_is_not_named():
    """All means are below 0: the largest is surely largest, and surely nothing."""
    told = name_by_rows(rows([-9, -1, -9, -9], 2), range(24), LAYERS).describe()
    assert (told["named"], told["reading"], told["largest"]) == (None, "no signal", 3)
    assert told["separation_p"] < LEVEL


def test_the_separation_is_the_two_sided_p_value_against_the_nearest_other():
    """t of [1, 2, 3] is 2 / (1 / sqrt 3) = 3.4641; with 2 degrees of freedom P(|T| > t) = 1 - t / sqrt(t^2 + 2)
    = 1 - 3.4641 / sqrt 14 = 0.0742. A third, farther away, changes nothing."""
    one = np.array([[1.0, 0], [2, 0], [3, 0]])
    assert name_by_rows(one, "abc", ["x", "y"]).separation_p == pytest.approx(0.0742, abs=5e-5)
    far = np.hstack([one, np.full((3, 1), -5.0)])
    assert name_by_rows(far, "abc", ["x", "y", "z"]).separation_p == pytest.approx(0.0742, abs=5e-5)


def test_over_its_spread_a_steady_signal_beats_a_larger_one():
    """Means 2 and 1; standard deviations 1 and 0.1, so 2 against 10."""
    values = np.array([[1.0, 0.9], [3, 1.1], [1, 0.9], [3, 1.1]])
    found = [name_by_rows(values, range(4), ["large", "steady"], 0.0, how) for how in (None, effect_sizes)]
    assert [one.largest for one in found] == ["large", "steady"]


def test_rows_of_one_cluster_count_once():
    values = np.repeat(rows([0, 1.2], 3, count=6), 20, axis=0)
    apart = name_by_rows(values, range(120), ["a", "b"])
    together = name_by_rows(values, np.repeat(range(6), 20), ["a", "b"])
    assert apart.separation_p < 1e-5 < together.separation_p


def test_flips_are_counted_by_hand():
    """Three chunks with sums 1, 2, 3 along one line: products over i != j are 2 (2 + 3 + 6) = 22. Up to the sign of all
    the flips are +++ 22, -++ 2 (-2 - 3 + 6) = 2, +-+ -10, ++- -14: only one of four reaches 22."""
    sums = np.array([1.0, 2, 3])
    assert flip_p(np.outer(sums, sums)) == 0.25
    assert flip_p(np.outer(sums * [1, 1, -1], sums * [1, 1, -1])) == 1.0


def test_flips_of_many_chunks_are_drawn_and_never_give_zero():
    sums = np.ones(20)
    # all flips that turn nobody or everybody reach the total: 2 of 2^20
    assert 0 < flip_p(np.outer(sums, sums)) < 0.001


def test_in_worlds_without_a_preference_hardly_any_layer_is_named():
    """Nothing in any layer, 200 times; layers differ in noise, as in models. Flips allow 5 %, and the second question
    leaves few of these."""
    spoke = signals = 0
    for seed in range(200):
        grams, sizes = products([0, 0, 0, 0], seed)
        grams *= np.array([16, 1, 1, 4])[:, None, None]
        p = flip_p(grams.sum(axis=0))
        signals += p <= LEVEL
        spoke += name_by_products(grams, sizes, LAYERS, norms, p).named
    assert spoke <= 6  # 3 %
    assert signals <= 20  # 5 % of 200 is 10, + 3 x 3.1


def test_with_two_layers_exactly_alike_none_is_named_in_more_than_the_level():
    spoke = 0
    for seed in range(100):
        grams, sizes = products([1, 1, 0.2, 0.2], seed)
        spoke += name_by_products(grams, sizes, LAYERS, norms, 0.0).named
    assert spoke <= 11  # 5 % of 100 is 5, + 2.8 x 2.2


def test_a_layer_with_twice_the_gradient_is_named_nearly_always():
    spoke = 0
    for seed in range(20):
        grams, sizes = products([0.5, 1, 0.5, 0.5], seed, size=30)
        found = name_by_products(grams, sizes, LAYERS, norms, flip_p(grams.sum(axis=0)))
        spoke += found.named and found.largest == 3
    assert spoke >= 19


def test_signal_to_noise_does_not_see_how_sensitive_a_layer_is():
    """All of a layer's gradients times 10: its ratio stays. |mean|^2 is 1, the variance over 40 directions 40."""
    grams, sizes = products([1.0, 1.0], 0, chunks=400)
    found = signal_to_noise(grams * np.array([1, 100])[:, None, None], sizes)
    assert found == pytest.approx([1 / 40, 1 / 40], rel=0.1)


def test_each_gradient_signal_names_its_own():
    """Norms 1, 2, 2, 1 of weights 1, 4, 2, 0.1 with 4, 4, 1, 4 entries: per root parameter layer 4 (2 / 1), relative
    layer 5 (1 / 0.1); the baseline has 1, 1, 2, 4, so that layer 3 stands out of it (2); noise is least in layer 2."""
    grams, sizes = products([1, 2, 2, 1], 5, noise=0)
    noise, _ = products([0, 0, 0, 0], 6)
    grams = grams + noise * np.array([1e-4, 1e-1, 1e-1, 1e-1])[:, None, None]
    baseline, _ = products([1, 1, 2, 4], 7, noise=0.03)
    found = name_layers_by_gradients(
        grams, sizes, LAYERS, np.array([1, 4, 2, 0.1]), np.array([4.0, 4, 1, 4]), baseline
    )
    assert found["norm"]["named"] is None  # two have 2
    assert found["per_root_parameter"]["named"] == 4
    assert found["relative"]["named"] == 5
    assert found["over_baseline"]["named"] == 3
    assert found["signal_to_noise"]["named"] == 2


def test_draws_must_agree_and_there_must_be_a_signal():
    same, other = np.array([[1, 3, 2], [2, 9, 1]]), np.array([[1, 3, 2], [2, 1, 9]])
    assert name_by_draws(same, "abc", 0.01).describe()["named"] == "b"
    assert not name_by_draws(other, "abc", 0.01).named
    assert not name_by_draws(same, "abc", 0.2).named
    assert not name_by_draws(same[:1], "abc", 0.01).named  # one draw agrees with itself


def test_layers_are_summed_from_their_modules():
    assert by_layer(np.array([[1.0, 2, 4, 8]]), [7, 3, 7, 3]).tolist() == [[10, 5]]


def test_one_cluster_or_no_spread():
    assert positive_p(np.ones(4), "aaaa") == 1.0
    assert positive_p(np.ones(4), "abcd") == 0.0
    assert all(positive_p(np.full(3, -x), "abc") == 1.0 for x in itertools.islice(itertools.count(1), 2))


def test_a_single_place_cannot_be_named():
    with pytest.raises(ValueError, match="at least two places"):
        name_by_rows(np.ones((3, 1)), "abc", [0])


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_rows_name_nothing_by_their_spread(count):
    """Leaving a row out leaves one or none, which has no standard deviation."""
    values = rows([0.1, 3, 0.2, 0], 0, count=count)
    assert not name_by_rows(values, range(count), LAYERS, signal_p=0.01, statistic=effect_sizes).named
    assert not name_by_rows(values[:1], ["one"], LAYERS, signal_p=0.01).named
