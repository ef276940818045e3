"""How many tokens fit into one pass, and whether activations must be recomputed: measured on the loaded model.

What autograd keeps is counted, not guessed, on a small probe through all layers; what is free is asked of the
device. Whole steps in one pass without recomputation are best; recomputation costs a third more arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import psutil
import torch
from torch import Tensor

from stratalign.models import Anatomy, capture, replay

PACK_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens in a pass where memory allows it: from about a thousand on, matrix products on a CPU get no faster."""

UNPLANNED_TOKENS = PACK_TOKENS["cpu"]
"""Tokens in a pass of an engine that was given no plan."""

FEWEST_TOKENS = {"cpu": 1024, "cuda": 4096}
"""With fewer than these, recomputing activations in larger passes is the better use of memory."""

USED = 0.6
"""Share of the free memory that activations may take; masks, logits, gradients and other programs need some."""

PROBE_TOKENS = 64


class MemoryPlan(NamedTuple):
    """Tokens per pass, whether activations are recomputed, and the two figures behind it, in bytes."""

    pack_tokens: int
    checkpointing: bool
    bytes_per_token: int
    free_bytes: int


def plan_memory(anatomy: Anatomy, sizes: Sequence[int], checkpointing: bool | None) -> MemoryPlan:
    """Plan the passes of a training.

    Args:
        anatomy: of the loaded model.
        sizes: tokens of every tree; the longest must fit, whatever the plan.
        checkpointing: what the user asks for; None leaves it to the plan.
    """
    device = next(anatomy.decoder.parameters()).device
    kept, per_layer_input = activation_bytes(anatomy)
    return decide(
        kept,
        per_layer_input * len(anatomy.layers) + kept // len(anatomy.layers),
        free_bytes(device),
        max(sizes, default=1),
        device.type,
        checkpointing,
    )


def decide(
    kept: int, recomputed: int, free: int, longest: int, device: str, checkpointing: bool | None
) -> MemoryPlan:
    """The plan from bytes per token without and with recomputation, free bytes, and the longest tree in tokens."""
    most, least = PACK_TOKENS.get(device, PACK_TOKENS["cuda"]), FEWEST_TOKENS.get(device, 4096)
    room = int(free * USED)
    if checkpointing is None:
        checkpointing = room // kept < max(longest, least)
    per_token = recomputed if checkpointing else kept
    return MemoryPlan(max(longest, min(most, room // per_token)), checkpointing, per_token, free)


def activation_bytes(anatomy: Anatomy) -> tuple[int, int]:
    """Bytes per token that autograd keeps over all layers, and that a layer's input takes.

    Adapters add a few percent, which are not counted; attention whose memory grows with the square of a sequence
    (the formula with soft-capped scores) keeps more for long ones.
    """
    device = next(anatomy.decoder.parameters()).device
    ids = torch.zeros(1, PROBE_TOKENS, dtype=torch.int64, device=device)
    captured = capture(anatomy, [0], input_ids=ids, attention_mask=torch.ones_like(ids))
    own = {p.untyped_storage().data_ptr() for p in anatomy.decoder.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    entry = captured.hidden[0]
    captured.hidden[0] = entry.detach().requires_grad_()
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = replay(anatomy, captured, 0)
        kept = sum(storages.values())
    del out
    return max(1, kept // PROBE_TOKENS), max(1, entry.nbytes // PROBE_TOKENS)


def free_bytes(device: torch.device) -> int:
    """Free memory of the device, in bytes; of a CPU, what can be had without swapping."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    available: int = psutil.virtual_memory().available
    return available
