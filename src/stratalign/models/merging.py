"""Merge: base plus adapter as one plain Hugging Face model, which needs neither PEFT nor this library."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import SafetensorError

from stratalign.errors import UserError
from stratalign.models.adapter_files import load_tensors, read_adapter_config
from stratalign.models.hushing import hushed
from stratalign.models.loading import ModelSettings, load_stock, load_tokenizer, resolve_folder
from stratalign.models.quantized import dequantize
from stratalign.records import read_json, told


def merge(adapter: str | Path, out: str | Path) -> Path:
    """Write base plus adapter into `out`, in the base's own precision; the sum is formed in float32.

    Args:
        adapter: a PEFT adapter folder; where a study wrote it, the SFT adapter of its base is merged first, and a base
            in 4 bits is taken as the weights that its codes stand for: those that the adapter was trained on.
        out: a folder that does not exist yet, or is empty.

    Raises:
        UserError: the folder is taken, or the adapter or its base cannot be read.
    """
    folder, target = Path(adapter), Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists already. Nothing was overwritten; name a new folder with --out.")
    config = read_adapter_config(folder)
    load_tensors(folder)
    base = config.get("base_model_name_or_path")
    if not base:
        raise UserError(
            f"{folder / 'adapter_config.json'} does not name its base model (base_model_name_or_path). Add it."
        )
    settings = ModelSettings(base=base, revision=config.get("revision"), **_beside(folder))
    source = resolve_folder(settings.base, settings.revision)
    stored = _stored_dtype(source)
    tokenizer = load_tokenizer(settings)
    model = load_stock(settings, dtype=torch.float32, device=torch.device("cpu"))
    if settings.quantization is not None:
        model = dequantize(model)
    try:
        with hushed():
            model = PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"The adapter {folder} does not fit its base model {base}: {' '.join(str(error).split())[:300]}. "
            f"`stratalign audit {folder} --base {base}` shows where they differ."
        ) from error
    temporary = target.absolute().with_name(f".{target.absolute().name}.tmp")
    with told(target), hushed():
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            model.to(stored).save_pretrained(temporary, safe_serialization=True)
            tokenizer.save_pretrained(temporary)
            os.replace(temporary, target)
        except SafetensorError as error:  # safetensors' own form of an operating system's error
            full = "os error 28" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _beside(folder: Path) -> dict[str, Any]:
    """What a study noted of its base beside name and revision: an SFT adapter, and how it was quantised."""
    notes = folder / "stratalign.json"
    model: dict[str, Any] = read_json(notes)["model"] if notes.is_file() else {}
    return {key: model[key] for key in ("adapter", "quantization", "double_quantization") if key in model}


def _stored_dtype(folder: Path) -> torch.dtype:
    """The precision that the base is stored in, from the header of its first file of weights."""
    from safetensors import safe_open

    with safe_open(sorted(folder.glob("*.safetensors"))[0], framework="pt") as file:
        dtype: torch.dtype = file.get_tensor(next(iter(file.keys()))).dtype
    return dtype
