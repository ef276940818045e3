"""Squared norms without bias, their intervals, and what is said of blocks; numbers derived by hand."""

import math

import numpy as np
import pytest

from stratalign.diagnostics.concentration import (
    Estimate,
    cosines,
    evenness,
    gini,
    jackknife,
    much_greater,
    pair_norms,
    shares,
    squared_norms,
)


def test_the_squared_norm_leaves_out_products_of_a_chunk_with_itself():
    """Two chunks of 1 and 2 pairs with sums (1, 0) and (4, 2): the only product of different ones is 4, twice; over
    n_i n_j = 2, twice: 2. With their own products it would be |(5, 2)|^2 / 9 = 3.2."""
    vectors = np.array([[1.0, 0.0], [4.0, 2.0]])
    assert squared_norms(vectors @ vectors.T, np.array([1.0, 2.0])) == pytest.approx(2.0)


def test_pure_noise_has_no_length_on_average_while_the_plain_norm_does():
    rng = np.random.default_rng(0)
    sizes = np.full(8, 4.0)
    found, plain = [], []
    for _ in range(400):
        vectors = rng.normal(size=(8, 50)) * 2  # sums of 4 pairs of variance 1 in each of 50 directions
        gram = vectors @ vectors.T
        found.append(float(squared_norms(gram, sizes)))
        plain.append(gram.sum() / sizes.sum() ** 2)
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(400)
    assert np.mean(plain) == pytest.approx(50 / 32, rel=0.02)  # variance 50 over 32 pairs
    single = np.mean([float(pair_norms(v @ v.T, sizes)) for v in rng.normal(size=(200, 8, 50)) * 2])
    assert single == pytest.approx(math.sqrt(50), rel=0.02)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    mean = np.full(20, 0.3)  # |mean|^2 = 20 x 0.09 = 1.8
    held = 0
    for _ in range(300):
        vectors = mean * 16 + rng.normal(size=(16, 20)) * 4  # sums of 16 pairs of variance 1
        (found,) = jackknife(vectors @ vectors.T, np.full(16, 16.0), squared_norms)
        held += found.low <= 1.8 <= found.high
    assert 0.91 <= held / 300 <= 0.99


def test_shares_evenness_and_gini_at_their_ends():
    assert shares(np.array([3.0, 1.0, -0.5])).tolist() == [0.75, 0.25, 0.0]
    assert evenness(np.array([0.25] * 4)) == pytest.approx(1.0)
    assert evenness(np.array([1.0, 0.0, 0.0, 0.0])) == 0.0
    assert gini(np.array([0.25] * 4)) == pytest.approx(0.0)
    assert gini(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.75)
    # mean absolute difference of (0.25, 0.75) over all four ordered pairs is 0.25; over twice the mean, 1: 0.25
    assert gini(np.array([0.75, 0.25])) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(2.1, 5.0, "much greater"), (0.5, 1.9, "not much greater"), (1.5, 4.0, "cannot tell")],
)
def test_much_greater_needs_the_whole_interval(low, high, said):
    middle = math.sqrt(low * high)
    assert much_greater(Estimate(math.log(middle), 0.1, math.log(low), math.log(high)), 2.0) == said


def test_a_block_without_signal_is_no_ground_for_a_verdict():
    """Its squared norm may be estimated as negative, and the logarithm of that is no number."""
    vectors = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    (found,) = jackknife(
        vectors @ vectors.T, np.ones(4), lambda g, n: np.atleast_1d(np.log(squared_norms(g, n)))
    )
    assert much_greater(found, 2.0) == "cannot tell"


def test_cosines_have_no_bias_from_noise_and_their_intervals_hold_the_truth():
    """Two means at 60 degrees, cosine 0.5, chunks of which 200 directions are noise as long as the means.

    The plain cosine of the two averages: noise adds 1 / 16 of 200 x 0.25 = 3.1 to both squared lengths of 4, which
    makes it 0.5 x 4 / 7.1 = 0.28.
    """
    rng = np.random.default_rng(0)
    one, two = np.zeros(200), np.zeros(200)
    one[0], two[:2] = 2, (1, np.sqrt(3))
    values, plain, inside = [], [], 0
    for _ in range(200):
        a, b = (mean + 0.5 * rng.normal(size=(16, 200)) for mean in (one, two))
        grams = np.stack([a @ a.T, a @ b.T, b @ b.T])
        (found,) = jackknife(grams, np.ones((16, 2)), cosines)
        values.append(found.value)
        inside += found.low <= 0.5 <= found.high
        sums = grams.sum(axis=(1, 2))
        plain.append(sums[1] / np.sqrt(sums[0] * sums[2]))
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
    assert np.mean(plain) == pytest.approx(0.28, abs=0.02)
    assert inside / 200 > 0.9


def test_a_cosine_of_chunks_of_different_sizes_by_hand():
    """Gradients along one line: chunk sums n x mean, whatever the sizes, so the cosine is 1, and -1 the other way."""
    sizes = np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]])
    a, b = 2.0 * sizes[:, 0], -5.0 * sizes[:, 1]
    grams = np.stack([np.outer(a, a), np.outer(a, b), np.outer(b, b)])
    assert cosines(grams, sizes) == pytest.approx(-1)
    assert cosines(grams * np.array([1, -1, 1])[:, None, None], sizes) == pytest.approx(1)


def test_a_cosine_with_a_mean_that_cannot_be_told_from_0_is_no_number():
    """Two chunks that point opposite ways, in both losses: their product is -1, so that no norm is known."""
    one = np.array([[1.0, 0.0], [-1.0, 0.0]])
    grams = np.stack([one @ one.T] * 3)
    (found,) = jackknife(grams, np.ones((2, 2)), cosines)
    assert np.isnan(found.value)
    assert (found.low, found.high) == (-np.inf, np.inf)
