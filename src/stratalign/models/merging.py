"""Merge: base plus adapter as one plain Hugging Face model, which needs neither PEFT nor this library."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel

from stratalign.errors import UserError
from stratalign.models.adapter_files import read_adapter_config, resolve_adapter
from stratalign.models.fitting import refuse_unusable, with_adapter
from stratalign.models.hushing import hushed
from stratalign.models.loading import (
    ModelSettings,
    check_safetensors,
    load_stock,
    load_tokenizer,
    resolve_folder,
)
from stratalign.models.quantized import dequantize
from stratalign.records import ADAPTER_NOTES, read_json, read_record, replacing_folder, told

BESIDE = (
    "*processor_config.json",
    "chat_template.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "generation_config.json",
    "tokenizer*",
    "*.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "tekken.json",
)
"""Files of a model that hold no weights and that a server needs: its processors of images and sound, its templates, its
tokenizer in every form, and how it generates."""

_NO_TOKENIZER = ("*processor_config.json", "generation_config.json")
"""Those of them that do not belong to its tokenizer, for a merged model that has the adapter's."""


def merge(adapter: str | Path, out: str | Path, base: str | None = None) -> Path:
    """Write base plus adapter into `out`, in the base's own precision; the sum is formed in float32.

    Args:
        adapter: a PEFT adapter folder, or a hub id; where a study wrote it, the SFT adapter of its base is merged
            first, and a base in 4 bits is taken as the weights that its codes stand for: those that it was trained on.
        out: a folder that does not exist yet, or is empty.
        base: folder or hub id of the base, where it is not the one that adapter_config.json names.

    Raises:
        UserError: the folder is taken; the adapter or its base cannot be read, do not fit, or give the base unchanged;
            or the base takes images or sound and the merged model would not.
        StudyFailure: the adapter is a study's and has changed since it was trained.
    """
    folder, target = resolve_adapter(adapter), Path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists already. Nothing was overwritten; name a new folder with --out.")
    config = read_adapter_config(folder)
    refuse_unusable(folder)
    settings = _base(folder, config, base)
    source = resolve_folder(settings.base, settings.revision)
    check_safetensors(source)
    stored = _stored_dtype(source)
    tokenizer = load_tokenizer(settings.model_copy(update={"adapter": settings.adapter or str(folder)}))
    model = load_stock(settings, dtype=torch.float32, device=torch.device("cpu"))
    if settings.quantization is not None:
        model = dequantize(model)
    _refuse_smaller(model, source)
    before = _digests(model, stored)
    model = with_adapter(model, folder, settings.base).merge_and_unload()
    if _digests(model, stored) == before:
        precision = str(stored).removeprefix("torch.")
        raise UserError(
            f"The adapter {folder} changes no weight of {settings.base} in {precision}, in which the base is stored, "
            f"so the merged model would be the base. `stratalign audit {folder}` shows what it holds."
        )
    with told(target), hushed(), replacing_folder(target.absolute(), over=False) as temporary:
        try:
            model.to(stored).save_pretrained(temporary, safe_serialization=True)
            tokenizer.save_pretrained(temporary)
            _copy_beside(
                source, temporary, BESIDE if tokenizer.name_or_path == str(source) else _NO_TOKENIZER
            )
        except SafetensorError as error:  # safetensors' own form of an operating system's error
            full = "os error 28" in str(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
    return target


def _base(folder: Path, config: dict[str, Any], base: str | None) -> ModelSettings:
    """The base that the adapter names or that was given, and what a study noted beside name and revision: an SFT
    adapter, and how it was quantised."""
    notes = folder / "stratalign.json"
    model: dict[str, Any] = read_record(notes, ADAPTER_NOTES).get("model") or {}
    beside = {key: model[key] for key in ("adapter", "quantization", "double_quantization") if key in model}
    if base is not None:
        return ModelSettings(base=base, **beside)
    named = config.get("base_model_name_or_path")
    if not named:
        raise UserError(
            f"{folder / 'adapter_config.json'} does not name its base model (base_model_name_or_path). Give it with "
            "--base."
        )
    return ModelSettings(base=named, revision=config.get("revision"), **beside)


def _refuse_smaller(model: PreTrainedModel, source: Path) -> None:
    """A model of text alone, loaded from one that also takes images or sound, would lose those weights."""
    made = read_json(source / "config.json").get("architectures") or []
    processors = sorted(path.name for path in source.glob("*processor_config.json"))
    if processors and made and type(model).__name__ not in made:
        raise UserError(
            f"The base in {source} is {' or '.join(map(str, made))} with {', '.join(processors)}, of which "
            f"transformers loads the text part alone here ({type(model).__name__}), so the merged model would lack the "
            "rest. Load base and adapter together with PEFT instead."
        )


@torch.no_grad()
def _digests(model: PreTrainedModel, dtype: torch.dtype) -> dict[str, str]:
    """A digest of every parameter as it would be stored."""
    return {
        name: hashlib.sha256(
            parameter.detach().to(dtype).contiguous().flatten().view(torch.uint8).numpy().data
        ).hexdigest()
        for name, parameter in model.named_parameters()
    }


def _copy_beside(source: Path, target: Path, patterns: Sequence[str]) -> None:
    """Copy what the base has beside its weights and saving did not write anew."""
    for path in sorted({path for pattern in patterns for path in source.glob(pattern) if path.is_file()}):
        own = target / path.relative_to(source)
        if not own.exists():
            own.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, own)


def _stored_dtype(folder: Path) -> torch.dtype:
    """The precision that the base is stored in, from the header of its first file of weights."""
    from safetensors import safe_open

    with safe_open(sorted(folder.glob("*.safetensors"))[0], framework="pt") as file:
        dtype: torch.dtype = file.get_tensor(next(iter(file.keys()))).dtype
    return dtype
