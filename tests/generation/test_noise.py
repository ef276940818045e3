"""Keyed Gumbel noise: its distribution, its keys, and its bits by an independent SplitMix64."""

import math

import numpy as np
import pytest
import torch

from stratalign.generation import gumbel_noise, keyed_choice
from stratalign.generation.noise import gumbel


def splitmix64(state: int) -> int:
    """Steele, Lea and Flood 2014, in plain Python integers: the output for an already advanced state."""
    mask = (1 << 64) - 1
    z = state & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_bits_are_splitmix64_of_key_and_token():
    key, golden = 1234567890123456789, 0x9E3779B97F4A7C15
    uniform = [((splitmix64(key + (token + 1) * golden) >> 40) + 0.5) / 2**24 for token in range(5)]
    expected = -np.log(-np.log(np.array(uniform)))
    found = gumbel_noise(torch.tensor([key]), 5)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_noise_has_the_mean_and_variance_of_a_gumbel():
    noise = gumbel_noise(torch.arange(1000, 1400), 500).double()
    assert torch.isfinite(noise).all()
    # 200,000 draws: mean is Euler's 0.5772 +- 0.003, variance pi^2 / 6 = 1.645 +- 0.015
    assert abs(noise.mean().item() - 0.5772) < 0.012
    assert abs(noise.var().item() - 1.6449) < 0.06


def test_the_extreme_words_have_finite_noise():
    # All zeros: u = 2^-49, which counts as 2^-24: -ln(24 ln 2) = -2.812. All ones: 1 - u = 2^-49: 49 ln 2 = 33.965.
    zeros, ones = gumbel(torch.tensor([0, -1])).tolist()
    assert zeros == pytest.approx(-2.812, abs=1e-3)
    assert ones == pytest.approx(33.965, abs=1e-3)


@pytest.mark.parametrize("below", [0, 1, 2, 1000, 2**23, 2**24, 2**30])
def test_noise_is_fine_enough_for_tokens_that_are_almost_never_taken(below):
    """The upper 48 bits lie `below` under all ones: 1 - u = (below + 1/2) / 2^48, and -ln u is nearly that."""
    word = (2**48 - 1 - below) << 16
    found = gumbel(torch.tensor([word - 2**64])).item()
    assert found == pytest.approx(48 * math.log(2) - math.log(below + 0.5), abs=1e-5)


def test_a_steep_distribution_over_150_000_tokens_is_sampled_as_it_is():
    """Chi-square over the ranks 1, 2, 3, 4 to 5, 6 to 12 and the rest, of probabilities that fall as rank^-3."""
    draws, vocabulary = 2000, 150_000
    logits = -3 * torch.arange(1, vocabulary + 1).double().log()
    keys = torch.arange(draws) * 7_919_000_003
    taken = torch.cat([(logits + gumbel_noise(some, vocabulary)).argmax(1) for some in keys.split(20)])
    edges = torch.tensor([1, 2, 3, 5, 12])  # ranks from 0: the first that belongs to the next bin

    def in_bins(ranks, weights=None):
        return torch.bincount(torch.bucketize(ranks, edges, right=True), weights, minlength=6)

    expected = draws * in_bins(torch.arange(vocabulary), logits.softmax(0))
    assert expected.min() > 5
    # 20.5 is exceeded by one in a thousand with five degrees of freedom
    assert ((in_bins(taken) - expected) ** 2 / expected).sum() < 20.5


def test_taking_the_largest_samples_from_the_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0])
    draws = (logits + gumbel_noise(torch.arange(20_000), 3)).argmax(1)
    share = torch.bincount(draws, minlength=3) / 20_000
    # three standard errors of a share near 0.67 over 20,000 draws are 0.010
    assert torch.allclose(share, logits.softmax(0), atol=0.011)


def test_a_choice_depends_on_seed_prompt_and_position_and_on_nothing_else():
    flat = torch.zeros(2, 50_000)  # as good as never two equal choices among so many tokens

    def choice(prompts, seed, position):
        return keyed_choice(flat[: len(prompts)], prompts, [seed] * len(prompts), position, 1.0).tolist()

    both = choice(["a", "b"], 1, 2)
    assert both[1:] == choice(["b"], 1, 2)  # in another batch
    assert len({*both, *choice(["b"], 2, 2), *choice(["b"], 1, 3)}) == 4


def test_temperature_divides_the_logits_before_the_noise_and_zero_takes_the_likeliest():
    # Gumbel noise of 2,000 tokens lies within about (-2.2, 15): a lead of 20 / 0.5 decides, one of 20 / 1e6 does not.
    logits = torch.zeros(200, 2000)
    logits[:, 7] = 20.0
    names, seeds = [str(i) for i in range(200)], [0] * 200
    assert set(keyed_choice(logits, names, seeds, 0, 0.5).tolist()) == {7}
    assert 7 not in keyed_choice(logits[:50], names[:50], seeds[:50], 0, 1e6).tolist()
    assert set(keyed_choice(logits, names, seeds, 0, 0).tolist()) == {7}
