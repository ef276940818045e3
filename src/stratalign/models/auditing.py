"""Audit: what an existing adapter really touches, read from its tensors, and where its configuration says otherwise.

Works on any PEFT LoRA folder, ours or not. With the base model, tensors are also held against its modules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from stratalign.blocks import describe_layers
from stratalign.errors import StudyFailure
from stratalign.microworld import NAME
from stratalign.models.adapter_files import PREFIX, load_tensors, read_adapter_config, resolve_adapter
from stratalign.models.linears import list_sites
from stratalign.models.loading import ModelSettings, empty_model
from stratalign.records import refuse_changed

_PART = re.compile(
    r"^(?P<module>.+?)\.(?P<part>lora_(?:embedding_)?[AB]|lora_magnitude_vector|trainable_tokens_delta)(?:\.weight)?$"
)
_LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


@dataclass(frozen=True)
class AuditedModule:
    """One module that the adapter changes.

    `kind` is lora, embedding (LoRA on an embedding), tokens (rows of an embedding) or whole (a copy in the module's
    place). `trained` is false where nothing changes: B, or an embedding's A, is zero. `rank` is 0 but for LoRA.
    """

    module: str
    layer: int | None
    rank: int
    parameters: int
    trained: bool
    kind: Literal["lora", "embedding", "tokens", "whole"] = "lora"


@dataclass(frozen=True)
class Audit:
    """What an adapter touches. `base` is the model that it was held against, if any; `problems` are what does not fit:
    its tensors each other, its configuration or the base."""

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
        adapter: a PEFT folder with adapter_config.json and adapter_model.safetensors, or a hub id.
        base: folder or hub id of the model that it belongs to, to hold its tensors against; if not given, the one that
            adapter_config.json names, where that is a local folder.

    Raises:
        UserError: no adapter is there, or the base cannot be read.
    """
    folder = resolve_adapter(adapter)
    config, tensors = read_adapter_config(folder), load_tensors(folder)
    base = base or _local(config.get("base_model_name_or_path"))
    model = None if base is None else empty_model(ModelSettings(base=base))
    numbers = {} if model is None else {site.name: site.layer for site in list_sites(model)}
    known = {} if model is None else dict(model.named_modules())
    parts, others = _sorted_out(tensors, config)
    problems: list[str] = []
    modules: list[AuditedModule] = []
    for name, own in parts.items():
        layer = numbers.get(name) if name in known else _layer_in(name)
        found = _module(name, layer, own)
        if found is None:
            problems.append(f"{name} has only half of its pair of tensors")
        else:
            modules.append(found)
    modules.sort(key=lambda one: (one.layer is None, one.layer or 0))
    touched = sorted({one.layer for one in modules if one.layer is not None})
    problems += _unfit(parts)
    problems += _not_finite(tensors)
    problems += _unkept_layers(config, touched)
    problems += _unkept_targets(config, modules, numbers)
    problems += _unkept_ranks(config, modules)
    problems += _unkept_extras(config, parts, modules)
    if model is not None and base is not None:
        problems += _unfit_base(base, model, parts)
    idle = [one.module for one in modules if not one.trained]
    if idle:
        problems.append(
            f"{len(idle)} of {len(modules)} modules have B = 0: nothing was trained there ({_some(idle, 1)})"
        )
    try:
        refuse_changed(folder)
    except StudyFailure as changed:
        problems.append(str(changed))
    return Audit(
        adapter=str(adapter),
        base=base,
        layers=tuple(touched),
        modules=tuple(modules),
        other_tensors=tuple(others),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        problems=tuple(problems),
    )


def _local(base: object) -> str | None:
    """The base that an adapter names, where it can be read without asking anyone."""
    here = isinstance(base, str) and (base == NAME or (Path(base).expanduser() / "config.json").is_file())
    return str(base) if here else None


def _sorted_out(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Tensor]], list[str]]:
    """Module -> its tensors by part, in the file's order; and the names of tensors that are no part of a change."""
    parts: dict[str, dict[str, Tensor]] = {}
    others: list[str] = []
    whole = tuple(config.get("modules_to_save") or ())
    for full, tensor in tensors.items():
        name = full.removeprefix(PREFIX)
        match = _PART.match(name)
        module, _, last = name.rpartition(".")
        if match:
            parts.setdefault(match["module"].removesuffix(".token_adapter"), {})[match["part"]] = tensor
        elif _is_one_of(module, whole) and last in ("weight", "bias"):
            parts.setdefault(module, {})[f"whole {last}"] = tensor
        else:
            others.append(full)
    return parts, others


def _module(name: str, layer: int | None, parts: Mapping[str, Tensor]) -> AuditedModule | None:
    """One module's change; None where a tensor of its pair is missing."""
    size = sum(tensor.numel() for tensor in parts.values())
    if "trainable_tokens_delta" in parts:
        return AuditedModule(name, layer, 0, size, True, "tokens")
    if any(part.startswith("whole") for part in parts):
        return AuditedModule(name, layer, 0, size, True, "whole")
    on_embedding = "lora_embedding_A" in parts or "lora_embedding_B" in parts
    a, b = (parts.get(f"lora_{'embedding_' if on_embedding else ''}{part}") for part in "AB")
    if a is None or b is None:
        return None
    starts_at_zero = a if on_embedding else b
    trained = bool(starts_at_zero.float().any())
    return AuditedModule(name, layer, a.shape[0], size, trained, "embedding" if on_embedding else "lora")


def _layer_in(module: str) -> int | None:
    """The first number in a module's path: later ones count experts or sub-modules, not layers."""
    match = _LAYER.search(module)
    return int(match[1]) if match else None


def _pairs(parts: Mapping[str, Mapping[str, Tensor]]) -> Iterator[tuple[str, Tensor, Tensor, bool]]:
    """Module, A, B, and whether they are an embedding's."""
    for name, own in parts.items():
        for middle in ("", "embedding_"):
            a, b = own.get(f"lora_{middle}A"), own.get(f"lora_{middle}B")
            if a is not None and b is not None and a.dim() == b.dim() == 2:
                yield name, a, b, bool(middle)


def _unfit(parts: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    return [
        f"the two tensors of {name} do not fit each other: A has {a.shape[0]} rows, B {b.shape[1]} columns"
        for name, a, b, _ in _pairs(parts)
        if a.shape[0] != b.shape[1]
    ]


def _not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    counts = {name: int((~tensor.float().isfinite()).sum()) for name, tensor in tensors.items()}
    return [
        f"{name} has {count} of {tensors[name].numel()} values that are not finite"
        for name, count in counts.items()
        if count
    ]


def _unkept_layers(config: Mapping[str, Any], touched: Sequence[int]) -> list[str]:
    asked = config.get("layers_to_transform")
    if asked is None:
        return []
    asked = [asked] if isinstance(asked, int) else sorted(asked)
    missing, extra = (
        [layer for layer in one if layer not in other] for one, other in ((asked, touched), (touched, asked))
    )
    problems = []
    if missing:
        problems.append(f"layers_to_transform asks for {_layers(missing)}, without a tensor in the file")
    if extra:
        is_are = "are" if len(extra) > 1 else "is"
        problems.append(f"{_layers(extra)} {is_are} adapted but not in layers_to_transform")
    return problems


def _unkept_targets(
    config: Mapping[str, Any], modules: Sequence[AuditedModule], numbers: Mapping[str, int]
) -> list[str]:
    """Where target_modules and tensors differ. `numbers`: the base's modules and their layers, if it is known."""
    targets = config.get("target_modules")
    adapted = [one.module for one in modules if one.kind in ("lora", "embedding")]
    if not targets or targets == "all-linear":
        return []

    def claimed(name: str) -> bool:
        if isinstance(targets, str):
            return re.fullmatch(targets, name) is not None
        return _is_one_of(name, targets)

    problems = []
    if not isinstance(targets, str):
        lacking = [one for one in sorted(targets) if not any(_is_one_of(name, [one]) for name in adapted)]
        if lacking:
            problems.append(f"target_modules asks for {_some(lacking)}, without a tensor in the file")
    extra = [name for name in adapted if not claimed(name)]
    if extra:
        problems.append(f"{len(extra)} modules are adapted but not in target_modules ({_some(extra)})")
    layers = config.get("layers_to_transform")
    wanted = None if layers is None else [layers] if isinstance(layers, int) else layers
    excluded = config.get("exclude_modules") or ()
    missing = [
        name
        for name, layer in numbers.items()
        if claimed(name)
        and (wanted is None or layer in wanted)
        and name not in adapted
        and not (re.fullmatch(excluded, name) if isinstance(excluded, str) else _is_one_of(name, excluded))
    ]
    if missing:
        problems.append(
            f"{len(missing)} modules of the base are in target_modules, without a tensor in the file ({_some(missing)})"
        )
    return problems


def _unkept_ranks(config: Mapping[str, Any], modules: Sequence[AuditedModule]) -> list[str]:
    patterns: Mapping[str, int] = config.get("rank_pattern") or {}

    def asked(name: str) -> Any:
        own = (rank for key, rank in patterns.items() if re.match(rf"(.*\.)?({key})$", name))
        return next(own, config.get("r"))

    wrong = Counter(
        (one.rank, asked(one.module))
        for one in modules
        if one.kind in ("lora", "embedding") and asked(one.module) not in (None, one.rank)
    )
    return [
        f"{count} modules have rank {rank}, adapter_config.json says {said}"
        for (rank, said), count in wrong.items()
    ]


def _unkept_extras(
    config: Mapping[str, Any], parts: Mapping[str, Mapping[str, Tensor]], modules: Sequence[AuditedModule]
) -> list[str]:
    """DoRA's magnitudes, modules saved whole, trained rows of an embedding: claimed and not there, or the reverse."""
    problems = []
    vectors = {name for name, own in parts.items() if "lora_magnitude_vector" in own}
    without = [one.module for one in modules if one.kind == "lora" and one.module not in vectors]
    if config.get("use_dora") and without:
        problems.append(
            f"use_dora is true, and {len(without)} modules have no magnitude vector ({_some(without)})"
        )
    if vectors and not config.get("use_dora"):
        problems.append(f"{len(vectors)} modules have a magnitude vector, and use_dora is not true")
    whole = [one.module for one in modules if one.kind == "whole"]
    lacking = [
        one
        for one in config.get("modules_to_save") or ()
        if not any(_is_one_of(name, [one]) for name in whole)
    ]
    if lacking:
        problems.append(f"modules_to_save asks for {_some(lacking)}, without a tensor in the file")
    tokens = config.get("trainable_token_indices")
    listed = list(tokens.values()) if isinstance(tokens, dict) else [tokens] if tokens else []
    rows = [
        own["trainable_tokens_delta"].shape[0] for own in parts.values() if "trainable_tokens_delta" in own
    ]
    if sorted(map(len, listed)) != sorted(rows):
        problems.append(
            f"trainable_token_indices asks for {sum(map(len, listed))} tokens, the file holds {sum(rows)}"
        )
    return problems


def _unfit_base(base: str, model: nn.Module, parts: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """Modules that the base does not have, or has in another size."""
    known: dict[str, nn.Module] = dict(model.named_modules())
    absent = [name for name in parts if name not in known]
    problems = []
    if absent:
        there = next(
            (name for name, module in known.items() if isinstance(module, (nn.Linear, Conv1D))), "none"
        )
        problems.append(
            f"{len(absent)} modules do not exist in {base} ({_some(absent)}; a module there is {there})"
        )
    for name, a, b, on_embedding in _pairs(parts):
        weight = getattr(known.get(name), "weight", None)
        if not isinstance(weight, torch.Tensor) or weight.dim() != 2:
            continue
        update = (b.shape[0], a.shape[1])
        turned = on_embedding or isinstance(known[name], Conv1D)  # stored with inputs first
        if tuple(weight.shape) != (update[::-1] if turned else update):
            problems.append(
                f"{name} changes a weight of {update[0]} x {update[1]}, that of {base} is "
                f"{' x '.join(map(str, tuple(weight.shape)[:: -1 if turned else 1]))}"
            )
    for name, own in parts.items():
        weight, copy = getattr(known.get(name), "weight", None), own.get("whole weight")
        if copy is not None and isinstance(weight, torch.Tensor) and weight.shape != copy.shape:
            problems.append(
                f"{name} is saved as {tuple(copy.shape)}, that of {base} is {tuple(weight.shape)}"
            )
    return problems


def _is_one_of(module: str, targets: Iterable[str]) -> bool:
    """As PEFT matches a list of targets: the module's whole name or the end of it."""
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _layers(numbers: Sequence[int]) -> str:
    return f"layer{'s' if len(numbers) > 1 else ''} {describe_layers(numbers)}"


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
