"""How many tokens fit into one pass, and whether activations must be recomputed: measured on the loaded model.

What a pass holds is counted, not guessed: small probes go through the engine under the attached runs, and every
tensor that autograd keeps is seen. What is free is asked of the device. Whole steps in one pass without recomputation
are best; recomputation costs a third more arithmetic.

Planned: what autograd keeps of the run that needs most (adapters and their dropout included), the activations that
each run starts from, attention masks, the logits of one chunk, and gradients and AdamW's moments of all runs. Not
planned: buffers that live only within one operation, experts that get more tokens than others, fragmentation, and
other programs; the share of free memory that is left alone is for these.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn

from stratalign.engine.batches import Batch
from stratalign.engine.cutting import PACK_TOKENS
from stratalign.engine.joint import JointEngine
from stratalign.engine.labels import CHUNK
from stratalign.models import SEGMENT, TreeMask, packed_length, positions_of, segment_sizes
from stratalign.preferences import Branch, Tree

FEWEST_TOKENS = {"cpu": 1024, "cuda": 4096}
"""With fewer than these, recomputing activations in larger passes is the better use of memory."""

USED = 0.6
"""Share of the free memory that is planned with."""

LOGITS_HELD = 5
"""Tensors as large as a chunk of logits that exist at once: logits, their log-softmax and the gradients of both."""

PROBES = (((87, 8),), ((31, 64),), ((87, 8), (87, 8)), ((182, 8),))
"""Trees of the probes as tokens of the prefix and of the one branch. They differ in tokens, in labels and in how many
tokens attend to each other; no length is a multiple of what kernels like. A model with fewer positions gets shorter
ones."""


class Size(NamedTuple):
    """What the memory of a batch depends on: tokens laid out, labels, and pairs of tokens within the pieces that
    attention is computed in (rows, or the segments of a packed row)."""

    tokens: int
    labels: int
    pairs: int


class Needs(NamedTuple):
    """Bytes held until the backward pass is done: whatever the batch, and for each part of its `Size`."""

    fixed: float
    token: float
    label: float
    pair: float

    def of(self, size: Size) -> int:
        """Bytes for a batch."""
        parts = zip(self[1:], size, strict=True)
        return max(0, round(self.fixed + sum(each * count for each, count in parts)))


class MemoryPlan(NamedTuple):
    """Tokens per pass, whether activations are recomputed, and the two figures behind it, in bytes."""

    pack_tokens: int
    checkpointing: bool
    bytes_per_token: int
    free_bytes: int


def plan_memory(
    engine: JointEngine,
    trees: Sequence[Tree],
    checkpointing: bool | None,
    *,
    training: bool = True,
    passes: Sequence[Sequence[str]] = (),
) -> MemoryPlan:
    """Plan the passes of an engine whose runs are attached.

    Args:
        engine: its own plan, if it has one, does not matter.
        trees: all that will be passed; the longest must fit, whatever the plan.
        checkpointing: what the user asks for; None leaves it to the plan.
        training: with dropout, gradients and AdamW's moments; else a diagnosis, whose gradients may reach down to what
            a run starts from.
        passes: the runs that train at the same time, where not all of the engine's do.
    """
    device = next(engine.model.parameters()).device
    kept, recomputed = measure(engine, training=training)
    sizes = [_size_alone(tree, packed=engine.packs) for tree in trees] or [Size(1, 1, 1)]
    kept_each, recomputed_each = (
        max(1, max((needs.of(size) - round(needs.fixed)) // size.tokens for size in sizes))
        for needs in (kept, recomputed)
    )
    fixed = round(max(kept.fixed, recomputed.fixed)) + _logits_bytes(engine, device.type)
    if training:
        fixed += max(_optimizer_bytes(engine, runs) for runs in passes or [list(engine.first_layers)])
    return decide(
        kept_each,
        recomputed_each,
        fixed,
        free_bytes(device),
        max(size.tokens for size in sizes),
        device.type,
        checkpointing,
    )


def decide(
    kept: int, recomputed: int, fixed: int, free: int, longest: int, device: str, checkpointing: bool | None
) -> MemoryPlan:
    """The plan from bytes per token without and with recomputation, bytes whatever the tokens, free bytes, and the
    longest tree in tokens."""
    most, least = PACK_TOKENS.get(device, PACK_TOKENS["cuda"]), FEWEST_TOKENS.get(device, 4096)
    room = max(0, int(free * USED) - fixed)
    if checkpointing is None:
        checkpointing = room // kept < max(longest, least)
    per_token = recomputed if checkpointing else kept
    return MemoryPlan(max(longest, min(most, room // per_token)), checkpointing, per_token, free)


def measure(engine: JointEngine, *, training: bool = True) -> tuple[Needs, Needs]:
    """What a pass of the run that needs most holds: when activations are kept, and when they are recomputed."""
    batches = [engine.collate(_probe_trees(engine, shapes)) for shapes in PROBES]
    sizes = torch.tensor([[1, *size_of(batch)] for batch in batches], dtype=torch.float64)
    own = {tensor.untyped_storage().data_ptr() for tensor in _weights(engine.model)}
    runs: list[str | None] = [*_uncovered(engine)] or [None]
    first = {run: _held(engine, run, batches[0], training, own) for run in runs}
    found: list[Needs] = []
    for way in (0, 1):
        run = max(runs, key=lambda name: first[name][way])
        held = [_held(engine, run, batch, training, own)[way] for batch in batches[1:]]
        bytes_held = torch.tensor([first[run][way], *held], dtype=torch.float64)
        found.append(Needs(*torch.linalg.solve(sizes, bytes_held).tolist()))
    return found[0], found[1]


def size_of(batch: Batch) -> Size:
    """The size of a batch."""
    rows, width = batch.ids.shape
    pieces = [width] * rows if batch.spans is None else segment_sizes(batch.spans.ends)
    return Size(rows * width, len(batch.labels), sum(piece**2 for piece in pieces))


def free_bytes(device: torch.device) -> int:
    """Free memory of the device, in bytes; of a CPU, what can be had without swapping."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    available: int = psutil.virtual_memory().available
    return available


def _size_alone(tree: Tree, *, packed: bool) -> Size:
    """What a tree adds to a batch of trees like it; small ones share a segment."""
    labels = sum(len(branch.ids) - branch.first_label for branch in tree.branches)
    if packed:
        tokens = packed_length(tree)
        return Size(tokens, labels, tokens * max(tokens, SEGMENT))
    width = len(tree.prefix) + max(len(branch.ids) for branch in tree.branches)
    return Size(len(tree.branches) * width, labels, len(tree.branches) * width**2)


def _logits_bytes(engine: JointEngine, device: str) -> int:
    most = PACK_TOKENS.get(device, PACK_TOKENS["cuda"]) * engine.anatomy.vocabulary
    return LOGITS_HELD * 4 * min(CHUNK, most)


def _optimizer_bytes(engine: JointEngine, runs: Sequence[str]) -> int:
    """Gradients and AdamW's two moments of these runs, which are there from the second step on."""
    tensors = (p for run in runs for p in engine.bank.parameters(run).values())
    return sum(3 * p.numel() * p.element_size() for p in tensors)


def _probe_trees(engine: JointEngine, shapes: Sequence[tuple[int, int]]) -> list[Tree]:
    positions = positions_of(engine.model.config)
    longest = max(sum(shape) for probe in PROBES for shape in probe)
    share = 1.0 if positions is None else min(1.0, positions / longest)

    def tokens(count: int) -> tuple[int, ...]:
        count = max(1, int(count * share))
        return tuple((number * 7919 + 13) % engine.anatomy.vocabulary for number in range(count))

    return [
        Tree(f"probe {i}", "", tokens(prefix), (Branch(tokens(branch), 0),))
        for i, (prefix, branch) in enumerate(shapes)
    ]


def _uncovered(engine: JointEngine) -> list[str]:
    """The runs of which no other one has all modules, at no lower rank and with dropout where they have some."""
    specs = [engine.bank.specs[run] for run in engine.first_layers]
    found: list[Any] = []
    for spec in sorted(specs, key=lambda one: (len(one.modules), one.rank, one.dropout), reverse=True):
        covered = any(
            set(spec.modules) <= set(one.modules)
            and spec.rank <= one.rank
            and (one.dropout or not spec.dropout)
            for one in found
        )
        if not covered:
            found.append(spec)
    return [spec.run for spec in found]


class _Saved:
    """A tensor that autograd saved, and the layer that it was saved in, from 1 on; 0 for none. Autograd holds this
    object, so that it is gone with the graph."""

    def __init__(self, tensor: Tensor, layer: int) -> None:
        self.tensor, self.layer = tensor, layer


def _held(
    engine: JointEngine, run: str | None, batch: Batch, training: bool, own: AbstractSet[int]
) -> tuple[int, int]:
    """Bytes that a batch holds at the end of the run's forward pass, storages at the addresses `own` aside: with
    activations kept, and with each layer's recomputed, one layer at a time. Without a run what the base leaves."""
    passed = engine.base(batch)
    shared = _storages(_tensors(passed), own)
    if run is None:
        return sum(shared.values()), sum(shared.values())
    if not training:
        passed.captured.hidden[engine.first_layers[run]].requires_grad_()
    entries: list[Tensor] = []
    inside = 0
    saved: weakref.WeakSet[_Saved] = weakref.WeakSet()

    def watched(run_layer: Callable[..., Any]) -> Callable[..., Any]:
        def call(layer: nn.Module, hidden: Tensor, **arguments: Any) -> Any:
            nonlocal inside
            entries.append(hidden)
            inside = len(entries)
            out = run_layer(layer, hidden, **arguments)
            inside = 0
            return out

        return call

    def save(tensor: Tensor) -> _Saved:
        one = _Saved(tensor, inside)
        saved.add(one)
        return one

    noise = engine.bank.dropout(run, 0) if training and engine.bank.specs[run].dropout else nullcontext()
    hooks = torch.autograd.graph.saved_tensors_hooks(save, lambda one: one.tensor)
    with engine.active(run), noise, torch.enable_grad(), hooks:
        out = engine.forward(batch, run, passed, watched)
        by_layer = [
            _storages((one.tensor for one in saved if one.layer == layer), own)
            for layer in range(len(entries) + 1)
        ]
    del out
    kept = shared | {place: size for storages in by_layer for place, size in storages.items()}
    always = shared | _storages(entries, own) | by_layer[0]
    again = (
        sum(size for place, size in storages.items() if place not in always) for storages in by_layer[1:]
    )
    return sum(kept.values()), sum(always.values()) + max(again, default=0)


def _storages(tensors: Iterable[Tensor], own: AbstractSet[int]) -> dict[int, int]:
    """Address and bytes of the distinct storages that are not at the addresses `own`."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return {one.data_ptr(): one.nbytes() for one in storages if one.data_ptr() not in own}


def _weights(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, mappings and tree masks."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, TreeMask):
        yield from value.biases
    elif isinstance(value, (tuple, list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)
