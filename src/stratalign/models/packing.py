"""Packed rows: token trees laid one after another in one row, each token computed once and nothing padded.

A row of the padded layout holds a whole sequence, so the prefix of a pair is computed twice. Here a row holds
prefix, first branch, second branch, then the next tree. Position ids say where a token stands in its own
sequence; a tree mask says what it sees (tree_attention.py). `check_packing` tries both on a loaded model: an
architecture in which anything else depends on a token's place in the row (ALiBi, recurrent layers, masks of its
own) is not packed. Knows nothing of labels or conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from stratalign.models.anatomy import Anatomy, capture, replay, to_logits
from stratalign.models.fused import may_fuse
from stratalign.models.out_of_memory import is_out_of_memory
from stratalign.models.tree_attention import Kernel, Spans, TreeMask
from stratalign.preferences import Branch, Tree

ATTENTION = ("sdpa", "eager")
"""The stock implementations that the probe compares with; a user who asks for another one gets it, and padded rows."""

KERNELS: dict[str, tuple[Kernel, ...]] = {"cuda": ("flex", "segments")}
"""Kernels to try on a device; elsewhere only segments."""

_PROBE_WINDOW = 4
"""Sliding windows while probing: short enough that the small trees of the probe reach beyond it."""


class Place(NamedTuple):
    """Where a tree lies in the row: the column of its first token, and the column where each branch begins."""

    start: int
    branches: tuple[int, ...]


def lay_out(trees: Sequence[Tree]) -> tuple[Tensor, Spans, list[Place]]:
    """Token ids [1, tokens] of the trees one after another, their spans, and each tree's place.

    A branch is laid without its last token, which predicts nothing. There is no padding.
    """
    ids: list[int] = []
    positions: list[int] = []
    branches: list[int] = []
    ends: list[int] = []
    places: list[Place] = []
    for tree in trees:
        start = len(ids)
        columns: list[int] = []
        for part, tokens in enumerate([tree.prefix, *(branch.ids[:-1] for branch in tree.branches)]):
            first = 0 if part == 0 else len(tree.prefix)
            columns.append(len(ids))
            ids += tokens
            positions += range(first, first + len(tokens))
            branches += [part] * len(tokens)
        places.append(Place(start, tuple(columns[1:])))
        ends.append(len(ids))
    sizes = torch.tensor([end - start for start, end in zip([0, *ends], ends, strict=False)])
    numbers = torch.arange(len(trees)).repeat_interleave(sizes)
    row, where, parts = (torch.tensor(each, dtype=torch.int64)[None] for each in (ids, positions, branches))
    return row, Spans(where, numbers[None], parts, tuple(ends)), places


def packed_length(tree: Tree) -> int:
    """Tokens that a tree takes in a packed row."""
    return len(tree.prefix) + sum(len(branch.ids) - 1 for branch in tree.branches)


def packed_inputs(anatomy: Anatomy, ids: Tensor, spans: Spans) -> dict[str, Any]:
    """Arguments for `capture`: no mask for the decoder, and a tree mask for each layer."""
    dtype = next(anatomy.decoder.parameters()).dtype
    windows = layer_windows(anatomy)
    masks = {window: TreeMask(spans, window, dtype, anatomy.kernel) for window in set(windows)}
    return {
        "input_ids": ids,
        "position_ids": spans.positions,
        "masks": [masks[window] for window in windows],
    }


def layer_windows(anatomy: Anatomy) -> list[int | None]:
    """The sliding window of every layer in tokens, None for one that sees everything before it.

    Configs name the kind of each layer or, where all layers are of one kind, only the window.

    Raises:
        ValueError: a layer that is neither full nor sliding attention.
    """
    config: Any = anatomy.decoder.config
    window: int | None = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * len(anatomy.layers)
    known = {"full_attention": None, "sliding_attention": window}
    if not set(kinds) <= set(known):
        raise ValueError(f"layers of kinds {sorted(set(kinds) - set(known))}")
    return [known[kind] for kind in kinds]


@torch.no_grad()
def check_packing(model: PreTrainedModel, anatomy: Anatomy) -> Kernel | None:
    """The first kernel with which packed rows give the stock logits and gradients on a probe of small trees, or None.

    The probe must also notice the mistake: with a plain causal mask, in which branches and trees see each other,
    the logits have to differ by ten times more. Sliding windows are shortened for the probe, because real
    ones are longer than it.
    """
    if getattr(model.config, "_attn_implementation", None) not in ATTENTION:
        return None
    # the flag of models whose attention takes masks from outside; others may hold one of their own, by row column
    if not getattr(model, "_supports_attention_backend", False):
        return None
    kernels = KERNELS.get(next(model.parameters()).device.type, ("segments",))
    config: Any = anatomy.decoder.config
    window = getattr(config, "sliding_window", None)
    try:
        if window is not None:
            config.sliding_window = _PROBE_WINDOW
        return next((kernel for kernel in kernels if _passes(model, anatomy._replace(kernel=kernel))), None)
    finally:
        if window is not None:
            config.sliding_window = window


@torch.no_grad()
def fuses(model: PreTrainedModel, anatomy: Anatomy) -> bool:
    """Whether every layer of a packed model is one that `run_fused` computes, by the same probe."""
    kind = model.config.get_text_config(decoder=True).model_type
    alike = all(may_fuse(layer, kind) for layer in anatomy.layers)
    return anatomy.packs and anatomy.stops and alike and _passes(model, anatomy._replace(fused=True))


def _passes(model: PreTrainedModel, anatomy: Anatomy) -> bool:
    trees = _probe_trees(model.config.get_text_config(decoder=True).vocab_size)
    try:
        return _same_logits(model, anatomy, trees) and _same_gradients(anatomy, trees)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return False  # whatever it stumbles over, it is an architecture that does not take packed rows


def _same_logits(model: PreTrainedModel, anatomy: Anatomy, trees: Sequence[Tree]) -> bool:
    device = next(model.parameters()).device
    ids, spans, places = lay_out(trees)
    ids, spans = ids.to(device), spans.to(device)
    right = packed_inputs(anatomy, ids, spans)
    nowhere = torch.zeros_like(spans.trees)
    one_sequence = Spans(spans.positions, nowhere, nowhere, spans.ends[-1:])
    causal = TreeMask(one_sequence, None, next(anatomy.decoder.parameters()).dtype, anatomy.kernel)
    wrong = right | {"masks": [causal] * len(anatomy.layers)}
    packed, mistaken = (
        to_logits(anatomy, replay(anatomy, capture(anatomy, [0], **inputs), 0))[0]
        for inputs in (right, wrong)
    )
    differences, noticed, largest = 0.0, 0.0, 1.0
    for tree, place in zip(trees, places, strict=True):
        for branch, start in zip(tree.branches, place.branches, strict=True):
            sequence = torch.tensor([[*tree.prefix, *branch.ids[:-1]]], device=device)
            stock = model(input_ids=sequence, use_cache=False).logits[0]
            columns = [place.start + i for i in range(len(tree.prefix))]
            columns += [start + i for i in range(len(branch.ids) - 1)]
            differences = max(differences, (packed[columns] - stock).abs().max().item())
            noticed = max(noticed, (mistaken[columns] - stock).abs().max().item())
            largest = max(largest, stock.abs().max().item())
    # 1e-5 also in float64: norms and softmax are float32 inside many models, and sums change their order here. In
    # bfloat16 whole models differ by up to 4 % of their largest logit; there the second condition tells more
    allowed = {torch.float64: 1e-5, torch.float32: 2e-5}.get(packed.dtype, 6e-2) * largest
    return differences <= allowed and noticed > 10 * differences


def _same_gradients(anatomy: Anatomy, trees: Sequence[Tree]) -> bool:
    """Whether the gradient by what enters the first layer is that of stock layers, which get each branch by itself.

    Every branch's last hidden states count, as labels do in training; a prefix gets the sum over its branches.
    """
    device = next(anatomy.decoder.parameters()).device
    ids, spans, places = lay_out(trees)
    ids, spans = ids.to(device), spans.to(device)
    asked: list[Tensor] = []
    slopes: list[Tensor] = []
    stock = torch.zeros(0)
    for tree, place in zip(trees, places, strict=True):
        for branch, start in zip(tree.branches, place.branches, strict=True):
            sequence = torch.tensor([[*tree.prefix, *branch.ids[:-1]]], device=device)
            prefix, count = len(tree.prefix), sequence.shape[1]
            places_of = torch.arange(count, device=device)
            columns = places_of + torch.where(places_of < prefix, place.start, start - prefix)
            inputs = {"input_ids": sequence, "attention_mask": torch.ones_like(sequence)}
            at = (torch.zeros_like(places_of), places_of)
            slope, gradient = _gradient(anatomy, inputs, at, None)
            if not slopes:
                stock = gradient.new_zeros(1, ids.shape[1], gradient.shape[2])
            stock[:, columns] += gradient
            asked.append(columns)
            slopes.append(slope)
    at = (torch.zeros_like(torch.cat(asked)), torch.cat(asked))
    _, packed = _gradient(anatomy, packed_inputs(anatomy, ids, spans), at, torch.cat(slopes))
    # of bfloat16 models of 30 layers up to 6 % were seen; another mask gives some 100 %, and so do most mistakes
    allowed = {torch.float64: 1e-4, torch.float32: 1e-3}.get(packed.dtype, 0.3)
    return bool((packed - stock).float().norm() <= allowed * stock.float().norm())


def _gradient(
    anatomy: Anatomy, inputs: dict[str, Any], at: tuple[Tensor, Tensor], slope: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The gradient by what enters the first layer, of the last hidden states `at` some places times `slope`; and the
    slope, by default a fixed pattern."""
    captured = capture(anatomy, [0], **inputs)
    with torch.enable_grad():
        entry = captured.hidden[0].detach().requires_grad_()
        given = {0: entry.view_as(entry)}  # counters of operations cannot watch a leaf
        states = replay(anatomy, captured._replace(hidden=given), 0, at=at)
        if slope is None:
            pattern = torch.arange(states.numel(), device=states.device, dtype=torch.float32)
            slope = torch.cos(1.7 * pattern).view(states.shape).to(states.dtype)
        (gradient,) = torch.autograd.grad(states, entry, slope)
    return slope, gradient


def _probe_trees(vocabulary: int) -> list[Tree]:
    """A pair, a demonstration, a pair with a branch of one token, and a longer pair."""
    shapes = [(5, (7, 4)), (3, (6,)), (2, (1, 9)), (9, (8, 12))]
    numbers = iter(range(1000))

    def tokens(count: int) -> tuple[int, ...]:
        return tuple((next(numbers) * 7919 + 13) % vocabulary for _ in range(count))

    return [
        Tree(f"probe {i}", "", tokens(prefix), tuple(Branch(tokens(count), 0) for count in branches))
        for i, (prefix, branches) in enumerate(shapes)
    ]
