"""Batches: token trees laid out in rows, with every labelled position and where its label is.

Two layouts. Padded: each branch of a tree is one row, prefix and all, padded on the right; any decoder takes it.
Packed: every token once, all trees in one row without padding (models/packing.py). Knows nothing of what a model
computes; the engine turns a batch into log-probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stratalign.errors import StudyFailure
from stratalign.models import Spans, lay_out
from stratalign.preferences import Tree


class Batch(NamedTuple):
    """Rows of one micro-batch.

    A label is predicted from the token before it in its sequence: logits at (row, position) predict `labels`. In
    the padded layout row r is branch r % branches of item r // branches. In the packed one, the last token of a
    prefix predicts the first label of both branches.
    """

    ids: Tensor  # [rows, T] int64
    mask: Tensor  # [rows, T] int64, 1 on real tokens
    spans: Spans | None  # what the tokens of a packed row belong to; None in the padded layout
    rows: Tensor  # [labels] int64
    positions: Tensor  # [labels] int64, the column that predicts
    labels: Tensor  # [labels] int64
    owners: Tensor  # [labels] int64, item * branches + branch
    places: Tensor  # [labels] int64, the label's number in its branch
    branches: int
    items: tuple[str, ...]
    tokens: int  # tokens of all sequences, prefixes counted once per branch, whatever the layout

    def totals(self, per_label: Tensor) -> Tensor:
        """Sums of a number for each label [labels] over every branch: [items, branches] float64, differentiable.

        Distinct places of a matrix, then a sum over its rows: deterministic on every device. In float64, because
        a response's sum of some -1000 nats would be rounded to 1e-4 in float32.
        """
        owners = len(self.items) * self.branches
        most = int(self.places.max()) + 1 if len(self.places) else 1
        matrix = per_label.new_zeros(owners, most, dtype=torch.float64)
        matrix = matrix.index_put((self.owners, self.places), per_label.double())
        return matrix.sum(dim=1).reshape(-1, self.branches)

    def lengths(self) -> Tensor:
        """Labelled tokens of every branch: [items, branches] int64."""
        owners = len(self.items) * self.branches
        return torch.bincount(self.owners, minlength=owners).reshape(-1, self.branches)


class _Label(NamedTuple):
    row: int
    position: int
    label: int
    owner: int
    place: int


def collate(trees: Sequence[Tree], device: torch.device, *, packed: bool = False) -> Batch:
    """Lay trees out as rows; every tree must have the same number of branches.

    Raises:
        StudyFailure: a first token is labelled, which nothing predicts.
    """
    for tree in trees:
        if not tree.prefix and any(branch.first_label == 0 for branch in tree.branches):
            raise StudyFailure(f"Row {tree.row_id!r}: nothing precedes the first labelled token.")
    ids, mask, spans, labels = _packed(trees) if packed else _padded(trees)
    where = torch.tensor(labels, dtype=torch.int64).reshape(-1, len(_Label._fields)).t().to(device)
    return Batch(
        ids.to(device),
        mask.to(device),
        None if spans is None else spans.to(device),
        where[0],
        where[1],
        where[2],
        where[3],
        where[4],
        len(trees[0].branches),
        tuple(tree.row_id for tree in trees),
        sum(len(tree.prefix) + len(branch.ids) for tree in trees for branch in tree.branches),
    )


def _padded(trees: Sequence[Tree]) -> tuple[Tensor, Tensor, Spans | None, list[_Label]]:
    sequences = [((*tree.prefix, *branch.ids), tree, branch) for tree in trees for branch in tree.branches]
    width = max(len(sequence) for sequence, _, _ in sequences)
    ids = torch.zeros(len(sequences), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    labels: list[_Label] = []
    for row, (sequence, tree, branch) in enumerate(sequences):
        first = len(tree.prefix) + branch.first_label
        ids[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(sequence)] = 1
        labels.extend(_Label(row, i - 1, sequence[i], row, i - first) for i in range(first, len(sequence)))
    return ids, mask, None, labels


def _packed(trees: Sequence[Tree]) -> tuple[Tensor, Tensor, Spans | None, list[_Label]]:
    ids, spans, places = lay_out(trees)
    labels: list[_Label] = []
    for number, (tree, place) in enumerate(zip(trees, places, strict=True)):
        for part, (branch, start) in enumerate(zip(tree.branches, place.branches, strict=True)):
            owner = number * len(tree.branches) + part
            for i in range(branch.first_label, len(branch.ids)):
                position = start + i - 1 if i else place.start + len(tree.prefix) - 1
                labels.append(_Label(0, position, branch.ids[i], owner, i - branch.first_label))
    return ids, torch.ones_like(ids), spans, labels
