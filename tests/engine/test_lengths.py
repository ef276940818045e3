"""Counts of labelled tokens: the same in both layouts, for pairs and demonstrations."""

import pytest
import torch

from stratalign.engine import collate
from stratalign.preferences import Branch, Tree, without_rejected

TREES = [
    # the second branch opens with a token of the prompt, which is not labelled
    Tree("r1", "c", (5, 6), (Branch((7, 8, 9, 0), 0), Branch((7, 8, 0), 1))),
    Tree("r2", "c", (5,), (Branch((0,), 0), Branch((1, 2, 3, 4, 0), 0))),
    Tree("r3", "c", (5, 6, 7), (Branch((1, 2, 0), 2), Branch((1, 2, 3, 4, 5, 0), 2))),
]


@pytest.mark.parametrize("packed", [True, False])
def test_lengths_count_what_is_labelled_of_every_branch(packed):
    device = torch.device("cpu")
    assert collate(TREES, device, packed=packed).lengths().tolist() == [[4, 2], [1, 5], [1, 4]]
    alone = collate([without_rejected(tree) for tree in TREES], device, packed=packed)
    assert alone.lengths().tolist() == [[4], [1], [1]]
