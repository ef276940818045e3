"""Which pairs a diagnosis reads, and in which chunks: whole clusters, so that chunks are independent of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stratalign.errors import UserError
from stratalign.preferences import Tree
from stratalign.records import keyed_seed

FEWEST_CHUNKS = 4
"""With fewer, an interval over chunks says nothing."""


def cut_chunks(trees: Sequence[Tree], pairs: int, count: int, seed: int) -> list[list[Tree]]:
    """At most `count` chunks of about equal size, with about `pairs` pairs in all, drawn by `seed`.

    Clusters come in an order drawn from the seed, until there are enough pairs; each goes to the chunk that has the
    fewest so far.

    Raises:
        UserError: the clusters do not suffice for the fewest chunks.
    """
    members: dict[str, list[Tree]] = {}
    for tree in trees:
        members.setdefault(tree.cluster, []).append(tree)
    names = sorted(members)
    order = np.random.default_rng(keyed_seed("chunks", seed)).permutation(len(names))
    chunks: list[list[Tree]] = [[] for _ in range(min(count, len(names)))]
    if len(chunks) < FEWEST_CHUNKS:
        raise UserError(
            f"An interval takes at least {FEWEST_CHUNKS} chunks of whole clusters; got {len(names)} clusters and "
            f"chunks: {count}. Give more training pairs, or more chunks."
        )
    taken = 0
    for i in order:
        if taken >= pairs and all(chunks):
            break
        smallest = min(chunks, key=len)
        smallest += members[names[i]]
        taken += len(members[names[i]])
    return chunks
