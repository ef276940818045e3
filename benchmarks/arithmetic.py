"""Floating point operations of a training step on each side, from the tokens that go through it.

A product of [n, a] and [a, b] is 2 n a b operations. Counted are the layers' projections and attention, LoRA and
the head; norms, activations and rotary embeddings are not (under 1 %). Frozen weights have no gradient, so a
backward pass through a projection costs as much as a forward one; through attention and LoRA twice as much. Works
on numbers alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.shapes import Shape
from stratalign.preferences import Tree


class Load(NamedTuple):
    """What one pass over some pairs computes; loads of several batches add up."""

    tokens: float  # positions that go through the layers, padding included
    scores: float  # query-key products in one layer
    labels: float  # positions whose logits are taken
    label_scores: float  # query-key products of those positions alone

    def times(self, factor: float) -> Load:
        return Load(*(factor * part for part in self))


class Trained(NamedTuple):
    """What a condition trains: its lowest layer, and how many layers have an adapter."""

    first: int
    layers: int


@dataclass(frozen=True)
class Passes:
    """How a trainer that knows no joint pass works.

    `checkpointing` recomputes the forward pass and, as TRL switches it on, takes the backward pass down to layer 0
    whatever is trained. `reference` computes the reference in every step.
    """

    checkpointing: bool
    reference: bool


def total(loads: Iterable[Load]) -> Load:
    return Load(*(sum(parts) for parts in zip(*loads, strict=True)))


def padded_load(trees: Sequence[Tree], *, all_positions: bool = False) -> Load:
    """A micro-batch in TRL's layout: both sequences of every pair, padded to the longest.

    Attention is the full square of a row, because a padding mask keeps kernels from using causality. The head
    sees labels only, or `all_positions`, padding included.
    """
    width = max(len(tree.prefix) + len(branch.ids) for tree in trees for branch in tree.branches)
    rows = sum(len(tree.branches) for tree in trees)
    labels = rows * (width - 1) if all_positions else _labels(trees)
    return Load(rows * width, rows * width**2, labels, labels * width)


def tree_load(trees: Sequence[Tree]) -> Load:
    """The least that an exact engine computes: the prefix once, no last token of a branch (it predicts nothing),
    and each token attends to its own prefix and branch alone."""
    tokens = scores = label_scores = 0
    for tree in trees:
        prefix = len(tree.prefix)
        tokens += prefix
        scores += _triangle(prefix)
        for branch in tree.branches:
            inputs = len(branch.ids) - 1
            tokens += inputs
            scores += prefix * inputs + _triangle(inputs)
            # label i of a branch is predicted by a token that sees the prefix and i tokens of the branch
            label_scores += sum(prefix + i for i in range(branch.first_label, len(branch.ids)))
    return Load(tokens, scores, _labels(trees), label_scores)


def separate_step(shape: Shape, rank: int, load: Load, trained: Trained, passes: Passes) -> float:
    """Operations of a step of one condition by itself, on padded rows.

    A recomputation stops when all that the backward pass needs is there: it leaves out a layer's last product. Head:
    forward, and in the backward pass once more (its tiles are recomputed, not kept) and its gradient.
    """
    forward = _layers(shape, load, shape.layers) + _adapters(shape, rank, load, trained)
    backward = 2 * _adapters(shape, rank, load, trained) + 3 * _head(shape, load)
    if passes.checkpointing:
        last_products = shape.layers * 2 * load.tokens * shape.inner * shape.width
        backward += forward - last_products + _backward(shape, load, shape.layers)
    else:
        backward += _stopping_backward(shape, rank, load, trained)
    return forward + backward + (reference_pass(shape, load) if passes.reference else 0)


def reference_pass(shape: Shape, load: Load) -> float:
    """Operations of the base model's forward pass and head."""
    return _layers(shape, load, shape.layers) + _head(shape, load)


def joint_step(shape: Shape, rank: int, load: Load, conditions: Sequence[Trained]) -> float:
    """Operations of a joint step: the base once, every condition from its lowest layer up and down again."""
    return reference_pass(shape, load) + sum(
        _layers(shape, load, shape.layers - trained.first)
        + _stopping_backward(shape, rank, load, trained)
        + 3 * _adapters(shape, rank, load, trained)
        + 2 * _head(shape, load)
        for trained in conditions
    )


def least_step(shape: Shape, rank: int, load: Load, conditions: Sequence[Trained]) -> float:
    """Operations that no exact joint step can do without: `joint_step` less what has no effect.

    In the last layer queries, attention, output projection and MLP matter only where a label is predicted.
    """
    unseen = load.tokens - load.labels
    queries = 2 * unseen * shape.width * shape.heads * shape.head_width
    rest = 2 * unseen * shape.rest_weights
    attention = _attention(shape, load.scores - load.label_scores)
    saved = queries + rest + attention  # by the base
    for trained in conditions:
        entry = trained.first == shape.layers - 1  # whose queries have no backward pass in any case
        saved += (1 if entry else 2) * queries + 2 * rest + 3 * attention
    return joint_step(shape, rank, load, conditions) - saved


def _layers(shape: Shape, load: Load, count: int) -> float:
    """Forward through `count` layers, without adapters."""
    projections = 2 * load.tokens * (shape.qkv_weights + shape.rest_weights)
    return count * (projections + _attention(shape, load.scores))


def _backward(shape: Shape, load: Load, count: int) -> float:
    return _layers(shape, load, count) + count * _attention(shape, load.scores)


def _stopping_backward(shape: Shape, rank: int, load: Load, trained: Trained) -> float:
    """Backward to a condition's lowest layer, to whose inputs no gradient goes: not through the frozen query, key
    and value projections, and not through A."""
    entry = 2 * load.tokens * (shape.qkv_weights + 3 * rank * shape.width)
    return _backward(shape, load, shape.layers - trained.first) - entry


def _attention(shape: Shape, scores: float) -> float:
    """Forward: queries times keys, and weights times values."""
    return 2 * 2 * scores * shape.heads * shape.head_width


def _adapters(shape: Shape, rank: int, load: Load, trained: Trained) -> float:
    return 2 * load.tokens * shape.adapter_weights(rank) * trained.layers


def _head(shape: Shape, load: Load) -> float:
    return 2 * load.labels * shape.width * shape.vocabulary


def _labels(trees: Sequence[Tree]) -> int:
    return sum(len(branch.ids) - branch.first_label for tree in trees for branch in tree.branches)


def _triangle(count: int) -> int:
    return count * (count + 1) // 2
