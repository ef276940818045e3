"""Audit: what an existing adapter really touches, read from its tensors and not from its configuration.

Works on any PEFT LoRA folder, ours or not. With the base model it also says which modules do not exist there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stratalign.models.adapter_files import PREFIX, load_tensors, module_names, read_adapter_config
from stratalign.models.loading import ModelSettings, inspect_model


@dataclass(frozen=True)
class AuditedModule:
    """One adapted module: `trained` is false when B is all zero, so that the adapter does nothing there."""

    module: str
    layer: int | None
    rank: int
    parameters: int
    trained: bool


@dataclass(frozen=True)
class Audit:
    """What an adapter touches. `problems` are differences between what it claims and what it holds."""

    adapter: str
    base: str | None
    layers: tuple[int, ...]
    modules: tuple[AuditedModule, ...]
    other_tensors: tuple[str, ...]
    parameters: int
    problems: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def audit(adapter: str | Path, base: str | None = None) -> Audit:
    """List the layers and modules that an adapter touches.

    Args:
        adapter: a PEFT folder with adapter_config.json and adapter_model.safetensors.
        base: folder or hub id of the model that it belongs to; its modules are then checked against it.

    Raises:
        UserError: no adapter is there, or the base cannot be read.
    """
    folder = Path(adapter)
    config = read_adapter_config(folder)
    tensors = load_tensors(folder)
    known = (
        {site.name: site.layer for site in inspect_model(ModelSettings(base=base)).sites} if base else None
    )
    modules: list[AuditedModule] = []
    problems: list[str] = []
    for name in module_names(tensors):
        a, b = (tensors.get(f"{PREFIX}{name}.lora_{part}.weight") for part in "AB")
        if a is None or b is None:
            problems.append(f"{name} has only half of its pair of tensors")
            continue
        layer = _layer_in(name) if known is None else known.get(name)
        if known is not None and name not in known:
            problems.append(f"{name} does not exist in {base}")
        modules.append(AuditedModule(name, layer, a.shape[0], a.numel() + b.numel(), bool(b.any())))
    touched = sorted({module.layer for module in modules if module.layer is not None})
    problems += _unkept_claims(config, touched)
    idle = [module.module for module in modules if not module.trained]
    if idle:
        problems.append(
            f"{len(idle)} of {len(modules)} modules have B = 0: nothing was trained there ({idle[0]}, ...)"
        )
    return Audit(
        adapter=str(adapter),
        base=base,
        layers=tuple(touched),
        modules=tuple(modules),
        other_tensors=tuple(name for name in tensors if ".lora_A." not in name and ".lora_B." not in name),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        problems=tuple(problems),
    )


def _layer_in(module: str) -> int | None:
    """The first number in a module's path: later ones count experts or sub-modules, not layers."""
    match = re.search(r"(?:^|\.)(\d+)(?:\.|$)", module)
    return int(match[1]) if match else None


def _unkept_claims(config: dict[str, Any], touched: Sequence[int]) -> list[str]:
    asked = config.get("layers_to_transform")
    if asked is None:
        return []
    asked = [asked] if isinstance(asked, int) else list(asked)
    problems = [
        f"layers_to_transform asks for layer {layer}, which has no tensor"
        for layer in asked
        if layer not in touched
    ]
    problems += [
        f"layer {layer} is adapted but not in layers_to_transform" for layer in touched if layer not in asked
    ]
    return problems
