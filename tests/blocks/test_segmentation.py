"""Contiguous blocks from a matrix of similarities."""

from itertools import combinations

import numpy as np
import pytest

from stratalign.blocks import segment
from stratalign.errors import UserError


def planted(sizes, inside=0.9, outside=0.2):
    block = np.repeat(np.arange(len(sizes)), sizes)
    return np.where(block[:, None] == block, inside, outside) + np.eye(len(block)) * (1 - inside)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (1, 9, 2), (2, 2, 8), (12,)])
def test_planted_blocks_are_found(sizes):
    found = segment(planted(sizes), len(sizes))
    assert [len(block) for block in found] == list(sizes)
    assert [layer for block in found for layer in block] == list(range(sum(sizes)))


def test_the_division_is_the_best_of_all():
    """Against every division of 8 layers into 3, with the scatter written as distances of vectors to their mean."""
    vectors = np.random.default_rng(0).normal(size=(8, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def scatter(cuts):
        parts = np.split(vectors, cuts)
        return sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)

    best = min(combinations(range(1, 8), 2), key=scatter)
    found = segment(vectors @ vectors.T, 3)
    assert tuple(block.start for block in found[1:]) == best


def test_small_blocks_can_be_forbidden():
    assert segment(planted((1, 9, 2)), 3, least=2)[0] == range(2)


def test_layers_that_are_all_alike_are_divided_early():
    assert segment(np.ones((5, 5)), 3) == (range(1), range(1, 2), range(2, 5))


def test_a_matrix_that_cannot_be_divided_is_refused():
    for matrix, count, said in (
        (np.ones((2, 3)), 2, "shape"),
        (np.full((2, 2), np.nan), 2, "finite"),
        (np.ones((3, 3)), 4, "3 layers cannot be divided into 4 blocks"),
    ):
        with pytest.raises(UserError, match=said):
            segment(matrix, count)
