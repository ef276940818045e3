"""What lies in an adapter's folder: PEFT's configuration and tensors, read strictly; and what the tensors say alone."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stratalign.errors import UserError

PREFIX = "base_model.model."
"""What PEFT writes before a module's name in an adapter's file."""


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder, keyed as in PEFT's file.

    Raises:
        UserError: no safetensors adapter is there.
    """
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UserError(f"{folder} is no adapter in safetensors: {file.name} is missing.")
    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise UserError(f"{file} is damaged or incomplete ({error}). Copy it again.") from error


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
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}. Copy the adapter again.") from None
    if not isinstance(settings, dict):
        raise UserError(f"{file} must be a mapping, got {type(settings).__name__}. Copy the adapter again.")
    return settings


def module_names(tensors: Iterable[str]) -> list[str]:
    """The modules that an adapter file's keys name, without PEFT's prefix, in order of appearance."""
    return list(
        dict.fromkeys(module_of(tensor.removeprefix(PREFIX)) for tensor in tensors if ".lora_" in tensor)
    )


def module_of(tensor: str) -> str:
    """The module that a tensor of LoRA belongs to."""
    return tensor.split(".lora_", 1)[0]
