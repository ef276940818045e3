"""CKA and angles against direct computations, and draws of clusters."""

from itertools import permutations

import numpy as np
import pytest

from stratalign.diagnostics.alikeness import angular_distances, cosines, debiased_cka, grams, half_samples


def hsic(k, m):
    """Song et al. (2012), equation 5, as it is written."""
    n = len(k)
    k, m = (each - np.diag(np.diag(each)) for each in (k, m))
    one = np.ones(n)
    whole = one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    return (np.trace(k @ m) + whole) / (n * (n - 3))


def u_statistic(k, m):
    """The same as a mean over all ordered quadruples of different rows, which is unbiased by construction."""
    terms = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in permutations(range(len(k)), 4)]
    return float(np.mean(terms))


def test_cka_is_that_of_the_unbiased_estimates_of_hsic():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(7, 3)), draw.normal(size=(7, 4)) + 1
    y[:, 0] += x[:, 0]
    (k,), (m,) = grams(x[:, None]), grams(y[:, None])
    assert hsic(k, m) == pytest.approx(u_statistic(k, m))
    expected = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert debiased_cka(k[None], m[None])[0, 0] == pytest.approx(expected)
    both = debiased_cka(np.stack([k, m]))
    assert np.diag(both) == pytest.approx([1, 1])
    assert both[0, 1] == both[1, 0] == pytest.approx(expected)


def test_rotated_scaled_and_moved_states_are_the_same_and_unrelated_ones_are_not():
    draw = np.random.default_rng(1)
    x = draw.normal(size=(60, 200))
    turn = np.linalg.qr(draw.normal(size=(200, 200)))[0]
    noise = draw.normal(size=(60, 200))
    found = debiased_cka(grams(np.stack([x, 3 * x @ turn + 5, noise], axis=1)))
    assert found[0, 1] == pytest.approx(1, abs=1e-9)
    assert abs(found[0, 2]) < 0.05
    centred = [
        each - each.mean(axis=0) for each in (x, noise)
    ]  # 60 rows of 200 numbers: the plain CKA takes noise for alike
    k, m = (each @ each.T for each in centred)
    assert (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()) > 0.5


def test_states_that_do_not_vary_have_no_cka():
    x = np.random.default_rng(2).normal(size=(9, 2, 4))
    x[:, 1] = 0
    assert np.isnan(debiased_cka(grams(x))[0, 1])


def test_angles_by_hand():
    one = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    other = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [1.0, 0.0]])
    assert angular_distances(one, other) == pytest.approx([0, 0.5, 1, 0.25])
    assert cosines(one, other) == pytest.approx([1, 0, -1, np.sqrt(0.5)])


def test_halves_take_whole_clusters_once():
    clusters = [f"c{i % 6}" for i in range(18)]
    for rows in half_samples(clusters, 5, seed=0):
        taken = {clusters[i] for i in rows}
        assert len(taken) == 3
        assert len(rows) == len(set(rows)) == 9
    first, second = half_samples(clusters, 2, seed=0)
    assert list(first) != list(second)
