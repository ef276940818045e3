"""Attention over packed trees: what every token sees, and the function that transformers' attention calls for it.

Trees lie one after another in one row, so attention falls into pieces that see nothing of each other. A mask of
this file stands where a layer expects its attention mask; it is handed through the layer untouched and read by
`tree_attention`, which is registered with transformers and switched on only around the layers of a packed pass.

Two kernels. Segments: one call of torch's attention for each piece of the row, with an additive mask; runs
everywhere. Flex: one block-sparse kernel for the whole row, compiled, on a GPU. Which one a model gets is decided by
a probe (packing.py). Knows nothing of where a tree's tokens come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

NAME = "stratalign_trees"
"""The attention implementation's name in a model's configuration while packed layers run."""

Kernel = Literal["segments", "flex"]

SEGMENT = 128
"""Small trees share a call of the kernel up to so many tokens: a call costs as much as attention over some hundred."""

BLOCK = 128
"""Tokens on a side of flex attention's blocks."""

_UNKNOWN = ("position_bias", "head_mask", "alibi", "cache")
"""Arguments that change what attention computes and that no kernel here knows: such layers are not packed."""


class Spans(NamedTuple):
    """Which sequence each token of a packed row belongs to; tensors [1, tokens] int64."""

    positions: Tensor  # place in its own sequence, prefix and branch counted through
    trees: Tensor  # number of its tree
    branches: Tensor  # 0 in the prefix, then 1, 2, ...
    ends: tuple[int, ...]  # the column after the last token of each tree, in order

    def to(self, device: torch.device) -> Spans:
        """The same on a device."""
        return Spans(self.positions.to(device), self.trees.to(device), self.branches.to(device), self.ends)


class TreeMask:
    """What each token of a packed row sees in one kind of layer: the prefix of its own tree and its own branch, up
    to itself; with a sliding window only the last `window` of these, counted by position in its sequence."""

    def __init__(
        self, spans: Spans, window: int | None, dtype: torch.dtype, kernel: Kernel = "segments"
    ) -> None:
        self.window = window
        self.sizes = segment_sizes(spans.ends)
        self.blocks: Any = _block_mask(spans, window) if kernel == "flex" else None
        self.biases: list[Tensor] = []  # one for each segment, [1, 1, size, size]
        if kernel == "segments":
            start = 0
            for size in self.sizes:
                self.biases.append(dense_mask(spans, window, dtype, start, start + size))
                start += size


def segment_sizes(ends: Sequence[int]) -> list[int]:
    """Tokens in each piece of the row that gets a kernel call of its own: whole trees, small ones together."""
    sizes: list[int] = []
    start = 0
    for end in ends:
        if sizes and sizes[-1] + end - start <= SEGMENT:
            sizes[-1] += end - start
        else:
            sizes.append(end - start)
        start = end
    return sizes


def dense_mask(
    spans: Spans, window: int | None, dtype: torch.dtype, start: int = 0, end: int | None = None
) -> Tensor:
    """The mask of columns `start` to `end` as a term added to scores: [1, 1, n, n], 0 or the lowest number."""
    positions, trees, branches = (part[0, start:end] for part in spans[:3])
    places = torch.arange(len(trees), device=trees.device)
    seen = trees[:, None] == trees[None, :]
    seen &= (branches[None, :] == 0) | (branches[:, None] == branches[None, :])
    seen &= places[:, None] >= places[None, :]
    if window is not None:
        seen &= positions[:, None] - positions[None, :] < window
    mask = torch.zeros(seen.shape, dtype=dtype, device=trees.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[None, None]


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: TreeMask,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **arguments: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed row in the form of transformers' attention functions.

    Args:
        query: [1, heads, tokens, head size]; key and value may have fewer heads, each for a group of queries.
        scaling: factor on the scores, by default 1 / sqrt(head size).
        softcap: scores become cap * tanh(score / cap) (Gemma 2).
        s_aux: a score for each head [heads] that takes its share of every softmax and has no value (sinks, gpt-oss).

    Returns:
        [1, tokens, heads, head size], and no weights.

    Raises:
        ValueError: the layer asks for something that would change the result and that is not known here.
    """
    unknown = [name for name in _UNKNOWN if arguments.get(name) is not None]
    if unknown or not isinstance(attention_mask, TreeMask):
        raise ValueError(f"attention with {', '.join(unknown) or 'a mask of its own'} takes no packed trees")
    grouped = key.shape[1] != query.shape[1]
    if attention_mask.blocks is not None:
        if s_aux is not None:
            raise ValueError("the block-sparse kernel knows no sinks")
        out = _compiled_flex()(
            query,
            key,
            value,
            score_mod=_capped(softcap),
            block_mask=attention_mask.blocks,
            scale=scaling,
            enable_gqa=grouped,
        )
        return out.transpose(1, 2), None
    parts = zip(
        *(torch.split(part, attention_mask.sizes, dim=2) for part in (query, key, value)),
        attention_mask.biases,
        strict=True,
    )
    if softcap is not None or s_aux is not None:
        pieces = [_by_formula(q, k, v, bias, scaling, softcap, s_aux) for q, k, v, bias in parts]
    else:
        pieces = [
            F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scaling, enable_gqa=grouped)
            for q, k, v, bias in parts
        ]
    return torch.cat(pieces, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, tree_attention)


@contextmanager
def attending_to_trees(config: Any) -> Iterator[None]:
    """Within the block, layers that read this configuration compute attention by `tree_attention`."""
    before = config._attn_implementation
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _by_formula(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    scaling: float | None,
    cap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """The formula as it stands; no kernel of torch outside flex caps scores, and none has sinks."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scores = query @ key.transpose(2, 3) * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    scores = bias + (scores if cap is None else torch.tanh(scores / cap) * cap)
    if sinks is not None:
        scores = torch.cat([scores, sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)], dim=-1)
    weights = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32))
    return weights[..., : key.shape[2]].to(query.dtype) @ value


def _block_mask(spans: Spans, window: int | None) -> Any:
    """The mask as flex attention's block mask.

    Made one row of blocks at a time: torch's `create_block_mask` would make a mask of the whole row first, whose memory
    grows with the square of the tokens.
    """
    from torch.nn.attention.flex_attention import BlockMask

    positions, trees, branches = (part[0] for part in spans[:3])

    def seen(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        allowed = (trees[query] == trees[key]) & (query >= key)
        allowed = allowed & ((branches[key] == 0) | (branches[query] == branches[key]))
        return allowed if window is None else allowed & (positions[query] - positions[key] < window)

    count = len(trees)
    columns = torch.arange(count, device=trees.device)
    rest = -count % BLOCK
    sums: list[Tensor] = []
    for queries in torch.split(columns, BLOCK):
        allowed = seen(columns, columns, queries[:, None], columns[None, :])
        sums.append(F.pad(allowed, (0, rest)).view(len(queries), -1, BLOCK).sum(dim=(0, 2)))
    inside = torch.stack(sums)[None, None]
    full = inside == BLOCK * BLOCK
    return BlockMask.from_kv_blocks(
        *_ordered((inside > 0) & ~full),
        *_ordered(full),
        BLOCK_SIZE=BLOCK,
        mask_mod=seen,
        seq_lengths=(count, count),
    )


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Of every row of blocks how many there are, and the columns, those first."""
    wanted = blocks.to(torch.int32)
    order = wanted.argsort(dim=-1, descending=True, stable=True)
    return wanted.sum(-1).to(torch.int32), order.to(torch.int32)


def _capped(cap: float | None) -> Any:
    if cap is None:
        return None

    def score(value: Tensor, *_places: Tensor) -> Tensor:
        return torch.tanh(value / cap) * cap

    return score


@cache
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if torch.cuda.is_available() else flex_attention
