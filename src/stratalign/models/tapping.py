"""Taps on linear modules: the gradient of a loss by weights that are frozen, without a gradient ever being stored.

For y = x W^T the gradient by W is slope^T x, summed over tokens, where slope is the gradient by y. A tap sees both.
With an adapter on the module it is the gradient by the effective weight W + scale B A, whatever A and B are: LoRA's
own gradients are zero in A as long as B is zero, and depend on how A was drawn. Knows nothing of losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from stratalign.models.quantized import plain_weight

Receive = Callable[[str, Tensor, Tensor], None]
"""Is given a module's name, its inputs [tokens, in] and the slopes of its outputs [tokens, out]."""


@contextmanager
def tapped(model: nn.Module, names: Iterable[str], receive: Receive) -> Iterator[None]:
    """Within the block every backward pass through a named module hands its inputs and slopes to `receive`.

    Both come in float32, or in the module's own precision where that is wider. What the model was given must require
    a gradient, or else the modules that no trained tensor precedes are never reached. Several backward passes over one
    forward pass are several calls. Not for passes under activation checkpointing, which run forward twice.
    """
    handles = []
    for name in names:

        def hook(_module: nn.Module, args: tuple[Any, ...], output: Tensor, name: str = name) -> None:
            if not output.requires_grad:
                return
            given = args[0].detach()

            def handed(slope: Tensor) -> None:
                wide = torch.promote_types(slope.dtype, torch.float32)
                rows = given.reshape(-1, given.shape[-1])
                receive(name, rows.to(wide), slope.reshape(-1, slope.shape[-1]).to(wide))

            output.register_hook(handed)  # type: ignore[no-untyped-call]

        handles.append(model.get_submodule(name).register_forward_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def weight_norm(model: nn.Module, name: str) -> float:
    """Frobenius norm of a module's effective weight: with the update of the adapter that is active, if one is."""
    module: Any = model.get_submodule(name)
    if not isinstance(module, LoraLayer):
        return float(torch.linalg.vector_norm(plain_weight(module).double()))
    weight = plain_weight(module.get_base_layer()).double()
    if not module.disable_adapters:
        for adapter in module.active_adapters:
            if adapter in module.lora_A:
                weight = weight + module.get_delta_weight(adapter).double()
    return float(torch.linalg.vector_norm(weight))
