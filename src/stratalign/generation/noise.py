"""Keyed Gumbel noise: sampling whose outcome depends on (seed, prompt, position) and on nothing else.

Taking the largest of logits / temperature + Gumbel noise is a sample from the softmax (Gumbel-max; Maddison et
al. 2014, arXiv 1411.0030, section 2). Because the noise is keyed, an answer is the same alone, in any batch and
after a resume, and all conditions share their random numbers. The bits come from integer arithmetic and are
equal on every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stratalign.records import keyed_seed

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, as a signed 64-bit integer
MIX = (-4658895280553007687, -7723592293110705685)  # 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def gumbel_noise(keys: Tensor, vocabulary: int) -> Tensor:
    """Standard Gumbel noise [rows, vocabulary], float32, from one int64 key per row.

    The bits are SplitMix64 (Steele, Lea and Flood 2014) of key + (token + 1) x golden ratio.
    """
    counters = torch.arange(1, vocabulary + 1, dtype=torch.int64, device=keys.device)
    bits = keys[:, None] + counters[None, :] * GOLDEN
    bits = (bits ^ _shift(bits, 30)) * MIX[0]
    bits = (bits ^ _shift(bits, 27)) * MIX[1]
    return gumbel(bits ^ _shift(bits, 31))


def gumbel(bits: Tensor) -> Tensor:
    """Standard Gumbel variates, float32, from 64 uniform bits each: -log(-log(u)), u by the upper 48 bits.

    Large variates belong to u near 1, where float32 has steps of 2^-24, too coarse for tokens less likely than
    that, and rounds the largest u to 1. So 1 - u is what is computed, which is exact to a relative 2^-24.
    """
    complement = (_shift(~bits, 16).to(torch.float32) + 0.5) * 2.0**-48
    return -torch.log(-torch.log1p(-complement.clamp(max=1 - 2.0**-24)))


def keyed_choice(
    logits: Tensor, prompts: Sequence[str], seeds: Sequence[object], position: int, temperature: float
) -> Tensor:
    """One token per row [rows]: a keyed sample from softmax(logits / temperature), or the likeliest at temperature 0.

    Args:
        logits: [rows, vocabulary], float32.
        prompts: the prompt ids of the rows.
        seeds: what keys the noise of each row beside prompt and position; rows with the same keys share the noise.
        position: how many tokens the answer has already.
    """
    if temperature == 0:
        return logits.argmax(-1)
    rows = list(zip(seeds, prompts, strict=True))
    places = {row: i for i, row in enumerate(dict.fromkeys(rows))}
    keys = [keyed_seed("sampling", *row, position) for row in places]
    noise = gumbel_noise(torch.tensor(keys, device=logits.device), logits.shape[1])
    return (logits / temperature + noise[[places[row] for row in rows]]).argmax(-1)


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical right shift of signed 64-bit integers."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
