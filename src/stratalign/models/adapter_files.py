"""What lies in an adapter's folder: PEFT's configuration and tensors, read strictly; and what the tensors say alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stratalign.errors import UserError, shortened
from stratalign.models.patterns import endless

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PREFIX = "base_model.model."
"""What PEFT writes before a module's name in an adapter's file."""


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder, keyed as in PEFT's file.

    Raises:
        UserError: no safetensors adapter is there.
    """
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        pickled = file.with_suffix(".bin").name
        there = (
            f" {pickled} is pickled, which can run code, and is not read: save the adapter anew with PEFT."
        )
        raise UserError(
            f"{folder} is no adapter in safetensors: {file.name} is missing."
            f"{there if (folder / pickled).exists() else ''}"
        )
    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise UserError(f"{file} is damaged or incomplete ({error}). Copy it again.") from error


def resolve_adapter(name: str | Path) -> Path:
    """A local folder as it is, or the local snapshot of a hub id (owner/name), downloaded if the hub can be reached."""
    folder = Path(name).expanduser()
    if folder.exists() or not HUB_ID.fullmatch(str(name)):
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), allow_patterns=["adapter_*.json", "adapter_*.safetensors"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise UserError(
            f"The adapter {str(name)!r} is not a local folder, and was not found on the Hub ({reason.rstrip('.')}). "
            "Check the path, your network and HF_HUB_OFFLINE, or give a local PEFT folder."
        ) from error


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json of an adapter folder.

    Raises:
        UserError: it is missing or unreadable.
    """
    file = folder / "adapter_config.json"
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder} is no PEFT adapter: {file.name} is missing. Give the folder that holds it, such as "
            "studies/<name>/adapters/<run>."
        ) from None
    except OSError as error:
        raise UserError(f"Cannot read {file}: {error.strerror or error}. Copy the adapter again.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not JSON: {error}. Copy the adapter again.") from None
    if not isinstance(settings, dict):
        raise UserError(f"{file} must be a mapping, got {type(settings).__name__}. Copy the adapter again.")
    kind, base = settings.get("peft_type", "LORA"), settings.get("base_model_name_or_path")
    if kind != "LORA":
        raise UserError(
            f"{folder} is a PEFT adapter of type {shortened(kind)}. Only LoRA is read; give a LoRA adapter."
        )
    if base is not None and not isinstance(base, str):
        raise UserError(
            f"{file} has base_model_name_or_path: {shortened(base)}, which must be text. Correct it, or copy the "
            "adapter again."
        )
    for key, pattern in _patterns(settings):
        why = endless(pattern)
        if why is not None:
            raise UserError(
                f"{file} has {key}: {shortened(pattern)}, which is not matched, since {why}. List the modules by name."
            )
    return settings


def _patterns(settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The regular expressions in an adapter's configuration, with their keys."""
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        if isinstance(settings.get(key), str):
            yield key, settings[key]
    for key in ("rank_pattern", "alpha_pattern"):
        if isinstance(settings.get(key), dict):
            yield from ((key, pattern) for pattern in settings[key])


def module_names(tensors: Iterable[str]) -> list[str]:
    """The modules that an adapter file's keys name, without PEFT's prefix, in order of appearance."""
    return list(
        dict.fromkeys(module_of(tensor.removeprefix(PREFIX)) for tensor in tensors if ".lora_" in tensor)
    )


def module_of(tensor: str) -> str:
    """The module that a tensor of LoRA belongs to."""
    return tensor.split(".lora_", 1)[0]
