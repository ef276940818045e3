"""Which modules of a layer an adapter can go to: its linear ones, and of a mixture of experts only the attention's.

Works on a model without weights (meta device). Which of them are an attention's is read from the class that holds
them; what holds three-dimensional weights is taken for experts. Knows nothing of adapters or conditions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from stratalign.blocks import Site
from stratalign.models.anatomy import find_anatomy

FROZEN = "routers and experts stay frozen, adapters of a mixture of experts go on its attention alone"
"""Why a part of a mixture of experts takes no adapter."""


class _Part(NamedTuple):
    """A module of a layer, or a weight of one: name within the layer, and features if it is linear."""

    kind: str
    in_features: int = 0
    out_features: int = 0
    transposed: bool = False


def list_sites(model: PreTrainedModel) -> list[Site]:
    """Every linear module of every layer, with its full name; routers and experts as well, marked as frozen."""
    layers = find_anatomy(model).layers
    names = {module: name for name, module in model.named_modules()}
    sites: list[Site] = []
    for number, layer in enumerate(layers):
        mixture = _holds_experts(layer)
        for part in _parts(layer, weights=mixture):
            attention = _is_attention(layer, part.kind)
            frozen = FROZEN if mixture and not attention else None
            if frozen or part.in_features:
                name = f"{names[layer]}.{part.kind}"
                sites.append(Site(name, number, *part, attention, frozen))
    return sites


def _parts(layer: nn.Module, weights: bool) -> Iterator[_Part]:
    """Linear modules; with `weights` also the other modules that hold matrices, and these by name."""
    for kind, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            yield _Part(kind, module.in_features, module.out_features)
        elif isinstance(module, Conv1D):  # GPT-2 stores its weights transposed
            inputs, outputs = module.weight.shape
            yield _Part(kind, inputs, outputs, transposed=True)
        elif weights:
            held = [name for name, p in module.named_parameters(recurse=False) if p.dim() > 1]
            if held:
                yield _Part(kind)
            yield from (_Part(f"{kind}.{name}") for name in held if name != "weight")


def _holds_experts(layer: nn.Module) -> bool:
    """Experts are lists of modules by that name, or one module whose weights have a dimension for the expert."""
    return any(
        name.rpartition(".")[2] == "experts"
        or (
            any(p.dim() == 3 for p in module.parameters(recurse=False))
            and not isinstance(module, nn.modules.conv._ConvNd)
        )
        for name, module in layer.named_modules()
    )


def _is_attention(layer: nn.Module, kind: str) -> bool:
    """Whether a module lies within attention, and there not among experts of its own (JetMoe's)."""
    parts = kind.split(".")
    inside = [".".join(parts[:count]) for count in range(1, len(parts))]
    return not {"experts", "router"} & set(parts) and any(
        "Attention" in type(layer.get_submodule(name)).__name__ for name in inside
    )
