"""Squared norms without bias, their intervals, and what is said of blocks; numbers derived by hand."""

import math

import numpy as np
import pytest

from stratalign.diagnostics.concentration import (
    Estimate,
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
