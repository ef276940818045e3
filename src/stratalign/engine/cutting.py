"""Which trees share a batch: arithmetic on lengths, the same for the same trees."""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.models import packed_length
from stratalign.preferences import Tree

PACK_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens in a pass where memory allows it: from about a thousand on, matrix products on a CPU get no faster."""

UNPLANNED_TOKENS = PACK_TOKENS["cpu"]
"""Tokens in a pass of an engine that was given no plan."""


def padded_size(tree: Tree) -> int:
    """Tokens that a tree takes in the padded layout by itself: its longest branch, for every branch."""
    longest = max(len(branch.ids) for branch in tree.branches)
    return (len(tree.prefix) + longest) * len(tree.branches)


def cut_by_tokens(trees: Sequence[Tree], budget: int, *, packed: bool) -> list[list[int]]:
    """Batches of indices in order of length, so that trees of one batch are about equally long.

    No batch takes more than `budget` tokens, padding included, unless it is a single tree.
    """
    size = packed_length if packed else padded_size
    batches: list[list[int]] = []
    taken = 0
    for index in sorted(range(len(trees)), key=lambda i: -size(trees[i])):
        own = size(trees[index])
        # longest first: in the padded layout every tree of a batch takes as much as the first one
        cost = own if packed or not batches else size(trees[batches[-1][0]])
        if not batches or taken + cost > budget:
            batches.append([])
            taken, cost = 0, own
        batches[-1].append(index)
        taken += cost
    return batches


def tokens_in(trees: Sequence[Tree], *, packed: bool) -> int:
    """Tokens of a batch of these trees, padding included."""
    if packed:
        return sum(map(packed_length, trees))
    return max(map(padded_size, trees)) * len(trees)
