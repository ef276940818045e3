"""Batches: token trees laid out as padded rows, with every labelled position and where its label is.

The plain form: each branch of a tree becomes one row, prefix and all, padded on the right. Knows nothing of
models; the engine turns a batch into log-probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stratalign.preferences import Tree


class Batch(NamedTuple):
    """Rows of one micro-batch; row r is branch r % branches of item r // branches.

    A label is predicted from the position before it: logits at (row, position) predict `labels`.
    """

    ids: Tensor  # [rows, T] int64
    mask: Tensor  # [rows, T] int64, 1 on real tokens
    rows: Tensor  # [labels] int64
    positions: Tensor  # [labels] int64, the position that predicts
    labels: Tensor  # [labels] int64
    branches: int
    items: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Real tokens in the rows, prefixes counted once per branch."""
        return int(self.mask.sum())


def collate(trees: Sequence[Tree], device: torch.device) -> Batch:
    """Lay trees out as rows; every tree must have the same number of branches."""
    branches = len(trees[0].branches)
    sequences = [(*tree.prefix, *branch.ids) for tree in trees for branch in tree.branches]
    width = max(len(sequence) for sequence in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    rows: list[int] = []
    positions: list[int] = []
    labels: list[int] = []
    for row, sequence in enumerate(sequences):
        tree = trees[row // branches]
        first = len(tree.prefix) + tree.branches[row % branches].first_label
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
        rows.extend([row] * (len(sequence) - first))
        positions.extend(range(first - 1, len(sequence) - 1))
        labels.extend(sequence[first:])
    where = torch.tensor([rows, positions, labels], dtype=torch.int64).to(device)
    return Batch(
        ids.to(device),
        mask.to(device),
        where[0],
        where[1],
        where[2],
        branches,
        tuple(tree.row_id for tree in trees),
    )
