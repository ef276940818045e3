"""Which trees share a row, and which share a batch: arithmetic on lengths, the same for the same trees."""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.models import packed_length
from stratalign.preferences import Tree

WIDTHS = 32
"""How many row widths are tried."""

EVEN_WIDTH = 300
"""Row width at which attention costs as much as all else: about three times the hidden size, for the small models to
which it matters. A constant, so that the layout depends on the trees alone."""


def share_rows(lengths: Sequence[int]) -> list[list[int]]:
    """Rows of indices into `lengths`, one to two times as long as the longest, whichever of some widths is cheapest.

    A wider row leaves less padding (on the micro-world 7 instead of 18 %), but attention grows with its square.
    """
    longest = max(lengths)
    widths = sorted({longest + longest * step // WIDTHS for step in range(WIDTHS + 1)})
    return min((_first_fit(lengths, width) for width in widths), key=lambda rows: _cost(lengths, rows))


def _first_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """First fit by decreasing length: each goes to the first row that has room for it."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        row = next((r for r, free in enumerate(room) if free >= lengths[index]), None)
        if row is None:
            row = len(rows)
            rows.append([])
            room.append(width)
        rows[row].append(index)
        room[row] -= lengths[index]
    return rows


def _cost(lengths: Sequence[int], rows: Sequence[Sequence[int]]) -> float:
    """Work on the rows' tokens, padding included, in units of one token's work outside attention."""
    width = max(sum(lengths[index] for index in row) for row in rows)
    return len(rows) * width * (1 + width / EVEN_WIDTH)


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
