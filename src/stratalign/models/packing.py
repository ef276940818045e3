"""Packed rows: token trees laid one after another in a row, each token computed once, and the masks that keep
every branch to its own prefix.

A row of the padded layout holds a whole sequence, so the prefix of a pair is computed twice. Here a row holds
prefix, first branch, second branch, then the next tree. Position ids say where a token stands in its own
sequence; an explicit mask says what it sees. `check_packing` tries both on a loaded model: an architecture in
which anything else depends on a token's place in the row (ALiBi, recurrent layers, masks of its own) is not
packed. Knows nothing of labels or conditions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from stratalign.models.anatomy import Anatomy, capture, replay, to_logits
from stratalign.preferences import Branch, Tree

ATTENTION = ("sdpa", "eager")
"""Attention implementations that take an additive mask as it is; kernels without masks cannot run packed rows."""

_PROBE_WINDOW = 4
"""Sliding windows while probing: short enough that the small trees of the probe reach beyond it."""


class Spans(NamedTuple):
    """Which sequence each token of packed rows belongs to; all [rows, width] int64."""

    positions: Tensor  # place in its own sequence, prefix and branch counted through
    trees: Tensor  # number of its tree, -1 on padding
    branches: Tensor  # 0 in the prefix, then 1, 2, ...


class Place(NamedTuple):
    """Where a tree lies: its row, the column of its first token, and the column where each branch begins."""

    row: int
    start: int
    branches: tuple[int, ...]


def lay_out(trees: Sequence[Tree], rows: Sequence[Sequence[int]]) -> tuple[Tensor, Spans, dict[int, Place]]:
    """Token ids [rows, width], their spans, and each tree's place; `rows` lists the trees of every row.

    A branch is laid without its last token, which predicts nothing.
    """
    width = max(1, *(sum(packed_length(trees[number]) for number in row) for row in rows))
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    spans = Spans(torch.zeros_like(ids), torch.full_like(ids, -1), torch.zeros_like(ids))
    places: dict[int, Place] = {}
    for row, numbers in enumerate(rows):
        start = 0
        for number in numbers:
            tree = trees[number]
            parts = [tree.prefix, *(branch.ids[:-1] for branch in tree.branches)]
            columns: list[int] = []
            end = start
            for part, tokens in enumerate(parts):
                columns.append(end)
                first = 0 if part == 0 else len(tree.prefix)
                here = (row, slice(end, end + len(tokens)))
                ids[here] = torch.tensor(tokens, dtype=torch.int64)
                spans.positions[here] = torch.arange(first, first + len(tokens))
                spans.trees[here] = number
                spans.branches[here] = part
                end += len(tokens)
            places[number] = Place(row, start, tuple(columns[1:]))
            start = end
    return ids, spans, places


def packed_length(tree: Tree) -> int:
    """Tokens that a tree takes in a packed row."""
    return len(tree.prefix) + sum(len(branch.ids) - 1 for branch in tree.branches)


def tree_mask(spans: Spans, window: int | None, dtype: torch.dtype) -> Tensor:
    """What each token sees, as a term added to attention scores: [rows, 1, width, width], 0 or the lowest number.

    A token sees the prefix of its own tree and its own branch, up to itself; with a sliding window only the last
    `window` of these, counted by position in its sequence. Padding sees padding, so that no softmax is empty.
    """
    positions, trees, branches = spans
    places = torch.arange(trees.shape[1], device=trees.device)
    seen = trees[:, :, None] == trees[:, None, :]
    seen &= (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    seen &= places[:, None] >= places[None, :]
    if window is not None:
        seen &= positions[:, :, None] - positions[:, None, :] < window
    mask = torch.zeros(seen.shape, dtype=dtype, device=trees.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def packed_inputs(anatomy: Anatomy, ids: Tensor, spans: Spans) -> dict[str, Any]:
    """Arguments for `capture`. The decoder gets a mask that it hands on unchanged, and each layer gets its own."""
    dtype = next(anatomy.decoder.parameters()).dtype
    windows = layer_windows(anatomy)
    masks = {window: tree_mask(spans, window, dtype) for window in {None, *windows}}
    return {
        "input_ids": ids,
        "attention_mask": masks[None],
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
def check_packing(model: PreTrainedModel, anatomy: Anatomy) -> bool:
    """Whether packed rows give the stock logits on a probe of small trees.

    The probe must also notice the mistake: with a plain causal mask, in which branches and trees see each other,
    the logits have to differ by ten times more. Sliding windows are shortened for the probe, because real
    ones are longer than it.
    """
    if getattr(model.config, "_attn_implementation", None) not in ATTENTION:
        return False
    # the flag of models whose attention takes masks from outside; others may hold one of their own, by row column
    if not getattr(model, "_supports_attention_backend", False):
        return False
    config: Any = anatomy.decoder.config
    window = getattr(config, "sliding_window", None)
    try:
        if window is not None:
            config.sliding_window = _PROBE_WINDOW
        return _probe(model, anatomy)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return False  # whatever it stumbles over, it is an architecture that does not take packed rows
    finally:
        if window is not None:
            config.sliding_window = window


def _probe(model: PreTrainedModel, anatomy: Anatomy) -> bool:
    device = next(model.parameters()).device
    trees = _probe_trees(model.config.get_text_config(decoder=True).vocab_size)
    ids, spans, places = lay_out(trees, [[0, 1, 2], [3]])
    ids, spans = ids.to(device), Spans(*(part.to(device) for part in spans))
    right = packed_inputs(anatomy, ids, spans)
    one_sequence = Spans(spans.positions, torch.zeros_like(spans.trees), torch.zeros_like(spans.branches))
    causal = tree_mask(one_sequence, None, right["masks"][0].dtype)
    wrong = right | {"masks": [causal] * len(anatomy.layers)}
    packed, mistaken = (
        to_logits(anatomy, replay(anatomy, capture(anatomy, [0], **inputs), 0)) for inputs in (right, wrong)
    )
    differences, noticed, largest = 0.0, 0.0, 1.0
    for number, tree in enumerate(trees):
        place = places[number]
        for branch, start in zip(tree.branches, place.branches, strict=True):
            sequence = torch.tensor([[*tree.prefix, *branch.ids[:-1]]], device=device)
            stock = model(input_ids=sequence, use_cache=False).logits[0]
            columns = [place.start + i for i in range(len(tree.prefix))]
            columns += [start + i for i in range(len(branch.ids) - 1)]
            differences = max(differences, (packed[place.row, columns] - stock).abs().max().item())
            noticed = max(noticed, (mistaken[place.row, columns] - stock).abs().max().item())
            largest = max(largest, stock.abs().max().item())
    # 1e-5 also in float64: norms and softmax are float32 inside many models, and sums change their order here. In
    # bfloat16 whole models differ by up to 4 % of their largest logit; there the second condition tells more
    allowed = {torch.float64: 1e-5, torch.float32: 2e-5}.get(packed.dtype, 6e-2) * largest
    return differences <= allowed and noticed > 10 * differences


def _probe_trees(vocabulary: int) -> list[Tree]:
    """A pair, a demonstration, a pair with a branch of one token, and a longer pair in a row of its own."""
    shapes = [(5, (7, 4)), (3, (6,)), (2, (1, 9)), (9, (8, 12))]
    numbers = iter(range(1000))

    def tokens(count: int) -> tuple[int, ...]:
        return tuple((next(numbers) * 7919 + 13) % vocabulary for _ in range(count))

    return [
        Tree(f"probe {i}", "", tokens(prefix), tuple(Branch(tokens(count), 0) for count in branches))
        for i, (prefix, branches) in enumerate(shapes)
    ]
