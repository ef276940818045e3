"""Singular values: planted signals of known size in noise, laws from outside, and matrices that have no answer."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from stratalign.diagnostics import spectra
from stratalign.diagnostics.spectra import effective_rank, signal_to_noise, stable_rank


def ratio_of(matrix):
    return signal_to_noise(np.linalg.svd(matrix, compute_uv=False), matrix.shape)


def noise_matrix(out, inputs, deviation=1.0, seed=0):
    return np.random.default_rng(seed).normal(size=(out, inputs)) * deviation


def planted(sizes, out=300, inputs=200, deviation=0.1):
    rng = np.random.default_rng(1)
    left, _ = np.linalg.qr(rng.normal(size=(out, len(sizes))))
    right, _ = np.linalg.qr(rng.normal(size=(inputs, len(sizes))))
    return left @ np.diag(sizes) @ right.T + noise_matrix(out, inputs, deviation)


def law_mean(aspect):
    """Mean singular value of noise of deviation 1 / sqrt(larger side), by integrating the Marchenko-Pastur density."""
    low, high = 1 - math.sqrt(aspect), 1 + math.sqrt(aspect)

    def density(x):
        return math.sqrt(max(0.0, (high**2 - x**2) * (x**2 - low**2))) / (math.pi * aspect * x)

    assert quad(density, low, high)[0] == pytest.approx(1, abs=1e-6)
    return quad(lambda x: x * density(x), low, high)[0]


def test_a_planted_signal_of_rank_three_is_found_at_its_size():
    """A direction of size t in noise of deviation s has the singular value sqrt((t^2 + n s^2) (t^2 + m s^2)) / t
    (Benaych-Georges and Nadakuditi 2012, example 3.1); the other 197 have the law's mean times s sqrt(n)."""
    sizes, s, n, m = [20.0, 12.0, 8.0], 0.1, 300, 200
    found = ratio_of(planted(sizes))
    assert found.above == 3
    assert found.noise == pytest.approx(s, rel=0.03)
    assert found.threshold == pytest.approx(s * (math.sqrt(n) + math.sqrt(m)), rel=0.03)
    signal = sum(math.sqrt((t**2 + n * s**2) * (t**2 + m * s**2)) / t for t in sizes)
    noise = (m - 3) * s * math.sqrt(n) * law_mean(m / n)
    assert found.snr == pytest.approx(signal / noise, rel=0.02)


def test_the_ratio_depends_neither_on_scale_nor_on_transposition():
    matrix = planted([20.0, 12.0, 8.0])
    one, scaled, turned = map(ratio_of, (matrix, 1000 * matrix, matrix.T))
    assert scaled.snr == pytest.approx(one.snr, rel=1e-9)
    assert scaled.noise == pytest.approx(1000 * one.noise, rel=1e-9)
    assert scaled.spectrum == pytest.approx(
        one.spectrum / 1000, rel=1e-9
    )  # divided by the largest value, so it does
    assert turned.snr == pytest.approx(one.snr, rel=1e-9)
    assert turned.spectrum == pytest.approx(one.spectrum, rel=1e-9)


@pytest.mark.parametrize("shape", [(64, 64), (128, 64), (96, 384), (300, 290)])
def test_noise_alone_has_next_to_no_signal_but_spectrums_threshold_finds_much(shape):
    """A value or two of 64 and more may pass the edge by little; a quarter or more pass Spectrum's threshold, of a
    narrow matrix all of them, and then it has no ratio."""
    for seed in range(5):
        matrix = noise_matrix(*shape, seed=seed)
        found = ratio_of(matrix)
        assert found.above <= 2
        assert found.snr < 0.1
        assert found.noise == pytest.approx(1, rel=0.1)
        assert found.spectrum is None or found.spectrum * np.linalg.norm(matrix, 2) > 0.2


def test_quartiles_of_the_quarter_circle():
    """A square matrix's singular values follow the quarter circle on [0, 2]: F(x) = (x sqrt(4 - x^2) / 2 +
    2 arcsin(x / 2)) / pi, its quartiles by SciPy's root finder."""

    def cumulative(x):
        return (x * math.sqrt(4 - x * x) / 2 + 2 * math.asin(x / 2)) / math.pi

    low, high = (brentq(lambda x, p=p: cumulative(x) - p, 0, 2) for p in (0.25, 0.75))
    assert spectra._law_quartiles(1.0) == pytest.approx(high - low, rel=1e-6)


@pytest.mark.parametrize(
    ("matrix", "why"),
    [
        (np.zeros((8, 6)), "zero"),
        (np.full((8, 6), 0.3), "do not spread"),
        (np.eye(8)[:, :6], "do not spread"),
        (np.ones((1, 6)), "do not spread"),
        (np.diag(np.linspace(1, 1.001, 8)), "as small as noise"),
    ],
)
def test_a_matrix_without_noise_has_no_ratio_and_says_why(matrix, why):
    found = ratio_of(matrix)
    assert found.snr is None
    assert found.spectrum is None
    assert why in found.missing


def test_what_is_not_finite_has_no_ratio():
    assert signal_to_noise(np.empty(0), (4, 4)).missing == "not finite"
    assert signal_to_noise(np.array([2.0, np.nan]), (2, 2)).snr is None


def test_ranks_of_a_spectrum():
    """(2, 1): shares 0.8 and 0.2, entropy 0.5004, exp 1.6493; 5 / 4. Three equal values spread over three."""
    two = np.array([2.0, 1.0])
    assert effective_rank(two) == pytest.approx(1.6493, abs=1e-4)
    assert stable_rank(two) == 1.25
    assert effective_rank(np.array([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3)
    assert stable_rank(np.array([3.0, 3.0, 3.0, 0.0])) == pytest.approx(3)
    assert effective_rank(np.zeros(3)) is stable_rank(np.zeros(3)) is None
