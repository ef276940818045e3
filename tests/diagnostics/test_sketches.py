"""Inner products of chunk gradients: whole, by Gram's trick, and from sketches."""

import numpy as np
import pytest
import torch

from stratalign.diagnostics.sketches import EXACT_ENTRIES, ChunkGradients


def rows(seed, tokens=7, out=12, into=9):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(tokens, into, generator=generator, dtype=torch.float64)
        + 1,  # a mean, which signs must cancel
        torch.randn(tokens, out, generator=generator, dtype=torch.float64) + 1,
    )


def test_whole_gradients_and_grams_trick_agree():
    """<G_i, G_j> of G = sum over tokens of b a^T is the sum over pairs of tokens of (a . a')(b . b')."""
    kept = ChunkGradients("m", 12, 9, 2)
    parts = [rows(0), rows(1), rows(2)]
    kept.add(0, *parts[0])
    kept.add(1, *parts[1])
    kept.add(1, *parts[2])
    (a, b), (c, d) = parts[0], (torch.cat([parts[1][i], parts[2][i]]) for i in (0, 1))
    expected = [
        [((x @ z.t()) * (y @ w.t())).sum().item() for z, w in ((a, b), (c, d))] for x, y in ((a, b), (c, d))
    ]
    assert np.allclose(kept.gram(), expected, rtol=1e-12)


def test_sketches_are_right_on_average_and_their_error_falls_with_the_width():
    exact = ChunkGradients("m", 12, 9, 2)
    for slot in (0, 1):
        exact.add(slot, *rows(slot))
    truth = exact.gram()
    error = {}
    for width in (64, 1024):
        found = []
        for seed in range(200):
            kept = ChunkGradients("m", 12, 9, 2, exact=False, width=width, seed=seed)
            for slot in (0, 1):
                kept.add(slot, *rows(slot))
            found.append(kept.gram()[0, 1].item())
        scale = (truth[0, 0] * truth[1, 1]).sqrt().item()
        error[width] = np.std(found) / scale
        assert abs(np.mean(found) - truth[0, 1].item()) < 4 * np.std(found) / np.sqrt(200)
        assert error[width] < 3 / np.sqrt(width)
    assert error[1024] < error[64] / 2


def test_a_sketch_is_linear_so_a_chunk_may_come_in_parts():
    (a, b), (c, d) = rows(0), rows(1)
    whole, parts = (ChunkGradients("m", 12, 9, 1, exact=False) for _ in range(2))
    whole.add(0, torch.cat([a, c]), torch.cat([b, d]))
    parts.add(0, a, b)
    parts.add(0, c, d)
    assert whole.gram().item() == pytest.approx(parts.gram().item(), rel=1e-10)


def test_only_large_weights_are_sketched():
    side = int(EXACT_ENTRIES**0.5)
    assert ChunkGradients("m", side, side, 1).exact
    assert not ChunkGradients("m", side + 1, side, 1).exact
