"""Which pairs a diagnosis reads, and in which chunks: whole clusters, so that chunks are independent of each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from stratalign.errors import UserError
from stratalign.preferences import Tree
from stratalign.records import keyed_seed

FEWEST_CHUNKS = 4
"""With fewer, an interval over chunks says nothing."""


def draw_rows(trees: Sequence[Tree], rows: int, seed: int) -> list[Tree]:
    """`rows` of the trees, or all that there are, from as many clusters as can be.

    Clusters come in an order drawn from the seed; the first row of each is taken, then the second of each, and so on.
    """
    members: dict[str, list[Tree]] = {}
    for tree in trees:
        members.setdefault(tree.cluster, []).append(tree)
    names = sorted(members)
    order = np.random.default_rng(keyed_seed("chunks", seed)).permutation(len(names))
    drawn = [members[names[i]] for i in order]
    return [tree for layer in zip_longest(*drawn) for tree in layer if tree is not None][:rows]


def cut_chunks(trees: Sequence[Tree], pairs: int, count: int, seed: int) -> list[list[Tree]]:
    """At most `count` chunks of about equal size, with `pairs` pairs in all, or all that there are.

    Rows are drawn by `draw_rows`. A cluster goes whole to the chunk that has the fewest rows so far.

    Raises:
        UserError: the clusters do not suffice for the fewest chunks.
    """
    names = {tree.cluster for tree in trees}
    if min(count, len(names)) < FEWEST_CHUNKS:
        raise UserError(
            f"An interval takes at least {FEWEST_CHUNKS} chunks of whole clusters; got {len(names)} clusters and "
            f"chunks: {count}. Give more training pairs, or more chunks."
        )
    taken = draw_rows(trees, pairs, seed)
    kept: dict[str, list[Tree]] = {}
    for tree in taken:
        kept.setdefault(tree.cluster, []).append(tree)
    chunks: list[list[Tree]] = [[] for _ in range(min(count, len(kept)))]
    for own in kept.values():
        smallest = min(chunks, key=len)
        smallest += own
    return chunks
