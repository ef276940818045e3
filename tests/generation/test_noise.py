"""Keyed Gumbel noise: its distribution, its keys, and its bits by an independent SplitMix64."""

import numpy as np
import torch

from stratalign.generation import KeyedSampling, gumbel_noise


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


def test_taking_the_largest_samples_from_the_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0])
    draws = (logits + gumbel_noise(torch.arange(20_000), 3)).argmax(1)
    share = torch.bincount(draws, minlength=3) / 20_000
    # three standard errors of a share near 0.67 over 20,000 draws are 0.010
    assert torch.allclose(share, logits.softmax(0), atol=0.011)


def test_noise_depends_on_seed_prompt_and_position_and_on_nothing_else():
    scores = torch.zeros(2, 50)

    def noise(prompts, seed, width, length):
        ids = torch.zeros(len(prompts), length, dtype=torch.int64)
        return KeyedSampling(prompts, seed, 1.0, width)(ids, scores[: len(prompts)])

    both = noise(["a", "b"], 1, width=5, length=7)
    assert torch.equal(
        both[1], noise(["b"], 1, width=3, length=5)[0]
    )  # other batch, other padding, same position
    assert not torch.equal(both[1], noise(["b"], 2, width=3, length=5)[0])
    assert not torch.equal(both[1], noise(["b"], 1, width=3, length=6)[0])
    assert not torch.equal(both[0], both[1])


def test_temperature_divides_the_logits_before_the_noise():
    scores = torch.tensor([[2.0, 0.0]])
    ids = torch.zeros(1, 1, dtype=torch.int64)
    cold = KeyedSampling(["a"], 0, 0.5, 1)(ids, scores)
    warm = KeyedSampling(["a"], 0, 1.0, 1)(ids, scores)
    assert torch.allclose(cold - warm, torch.tensor([[2.0, 0.0]]), atol=1e-5)
