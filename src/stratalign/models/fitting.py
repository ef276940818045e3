"""Whether files and model fit: every parameter comes from a file, and every tensor of the files is used.

A tensor that is left out in silence (two layers that config.json does not count, an adapter whose keys have another
prefix) gives a model that runs and is not the one that was meant. Both directions are refused, for a base by what
transformers reports of loading, for an adapter by what PEFT does.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from stratalign.blocks import describe_layers
from stratalign.errors import UserError
from stratalign.models.adapter_files import PREFIX, load_tensors, read_adapter_config
from stratalign.models.hushing import hushed
from stratalign.records import refuse_changed

_NOT_WEIGHTS = re.compile(
    r"(^|\.)(inv_freq|masked_bias|position_ids)$"  # buffers that older versions of transformers saved
    r"|(^|\.)(attn|attention)\.bias$"  # causal masks, saved likewise
    r"|(^|\.)mtp(_layers)?\."  # heads that predict several tokens ahead
    r"|(^|\.)lm_head\.weight$"  # the language model's head, beside a classifier's
)
_OTHER_INPUTS = re.compile(
    r"(^|\.)(vision|visual|image|video|audio|speech|multi_?modal|mm_|embed_vision|embed_audio)"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")
_SHOWN = 3


def refuse_misfit(folder: Path, model: PreTrainedModel, found: Mapping[str, Any]) -> None:
    """Refuse a model that its files do not fill, or that does not use all of them.

    Unused and yet right: buffers of older formats, heads for several tokens ahead, and towers for images or sound
    where the model is the text part of one that has them.

    Args:
        folder: where the files are.
        model: the model that was filled.
        found: what transformers reports of loading (`output_loading_info`).

    Raises:
        UserError: tensors are missing, have another shape, or are not used.
    """
    random = sorted({*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])})
    if random:
        raise UserError(
            f"The weights in {folder} do not fill the model that its config.json describes: {_tensors(random)} "
            f"{'are missing or have' if len(random) > 1 else 'is missing or has'} another shape ({_some(random)}). "
            "Download the model again, or correct config.json."
        )
    text: Any = model.config.get_text_config(decoder=True)
    unused = sorted(key for key in found["unexpected_keys"] if not _is_left_out(key, model.config))
    if not unused:
        return
    layers = sorted({int(match[1]) for key in unused if (match := _LAYER.search(key))})
    n_layers = getattr(text, "num_hidden_layers", None)
    beyond = [layer for layer in layers if isinstance(n_layers, int) and layer >= n_layers]
    where = f" of layers {describe_layers(beyond)}" if beyond else ""
    described = f"a model of {n_layers} layers" if beyond else "a model without them"
    raise UserError(
        f"{_tensors(unused)}{where} {'are' if len(unused) > 1 else 'is'} in {folder} and not used ({_some(unused)}): "
        f"its config.json describes {described}. Correct config.json, or download the model again."
    )


def with_adapter(model: nn.Module, folder: Path, base: str, name: str = "default") -> PeftModel:
    """`model` with a PEFT adapter on it, in which every tensor of the adapter's file has found its place.

    A model without weights (meta device) stays so; only the adapter's tensors are read then. Where the adapter
    holds embeddings, as after training with added tokens, the model gets as many.

    Args:
        model: a model, or one that this function has given back.
        folder: the adapter's.
        base: what messages call the model.
        name: under which PEFT keeps the adapter.

    Raises:
        UserError: the adapter cannot be read, or does not fit the model.
    """
    tensors = load_tensors(folder)
    read_adapter_config(folder)
    if not isinstance(model, PeftModel):
        _resize_for(model, tensors)
    empty = any(parameter.is_meta for parameter in model.parameters())
    options: dict[str, Any] = {"torch_device": "cpu", "low_cpu_mem_usage": empty}
    try:
        with hushed(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")
            if isinstance(model, PeftModel):
                found = model.load_adapter(str(folder), name, **options)
                adapted = model
            else:
                adapted = PeftModel.from_pretrained(model, str(folder), adapter_name=name, **options)
                # what `from_pretrained` found, it keeps to itself; filling the same places again tells
                found = adapted.load_adapter(str(folder), name, **options)
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(
            f"The adapter {folder} does not fit its base model {base}: {' '.join(str(error).split())[:300]}. "
            f"`stratalign audit {folder} --base {base}` shows where they differ."
        ) from error
    try:
        # where embeddings were resized, PEFT saves its copies under their inner names as well
        strangers = [
            k for k in found.unexpected_keys if k.replace(".modules_to_save.", ".") not in {*tensors} - {k}
        ]
        _refuse_strangers(folder, base, strangers, _plain(found.missing_keys, name))
    except UserError:
        adapted.delete_adapter(name)  # PEFT puts it into the model that it was given
        raise
    return adapted


def refuse_unusable(folder: Path) -> None:
    """Refuse an adapter that changes no weight whatever it is put on, or that has changed since a study trained it.

    Raises:
        StudyFailure: see `refuse_changed`.
        UserError: values of it are not finite; or all of its tensors are LoRA's, and its updates are 0 everywhere.
    """
    refuse_changed(folder)
    tensors = load_tensors(folder)
    refuse_not_finite(tensors, f"The weights of the adapter {folder}", "Copy the adapter again")
    if is_idle(tensors):
        raise UserError(
            f"The adapter {folder} changes nothing: lora_B is 0 in all of its modules, as before training. Give the "
            "adapter that was trained."
        )


def refuse_not_finite(tensors: Mapping[str, Tensor], whose: str, remedy: str) -> None:
    """Refuse weights with NaN or infinite values. A tensor is read twice only where its sum is not finite.

    Raises:
        UserError: with the tensors' names and how many values of each are not finite.
    """
    found = {}
    for name, tensor in tensors.items():
        if (
            not tensor.is_floating_point()
            or tensor.is_meta
            or tensor.detach().sum(dtype=_wide(tensor)).isfinite()
        ):
            continue
        if count := int((~tensor.detach().isfinite()).sum()):
            found[name] = count
    if found:
        each = [f"{name}: {count:,} of {tensors[name].numel():,}" for name, count in found.items()]
        raise UserError(
            f"{whose} are not all finite numbers: {_tensors(list(found))} hold{'' if len(found) > 1 else 's'} NaN or "
            f"infinite values ({_some(each)}). {remedy}, or save it again from a checkpoint that is sound."
        )


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def is_idle(tensors: Mapping[str, Tensor]) -> bool:
    """Whether an adapter is LoRA alone and as before training: B is zero, and A where it is on embeddings."""

    def is_silent(name: str, tensor: Tensor) -> bool:
        kind = re.search(r"\.lora_((?:embedding_)?[AB])(?:\.|$)", name)
        if kind is None:
            return False
        return kind[1] in ("A", "embedding_B") or not tensor.any()

    return all(is_silent(name, tensor) for name, tensor in tensors.items())


def _resize_for(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the model as many embeddings as the adapter holds, if it holds embeddings and another number of them."""
    if not isinstance(model, PreTrainedModel):
        return
    embeddings = model.get_input_embeddings()
    name = next(name for name, module in model.named_modules() if module is embeddings)
    stored = (f"{PREFIX}{name}.weight", f"{PREFIX}{name}.modules_to_save.weight")
    rows = next((tensors[key].shape[0] for key in stored if key in tensors), embeddings.num_embeddings)
    if rows != embeddings.num_embeddings:
        with hushed():
            model.resize_token_embeddings(rows, mean_resizing=False)


def _refuse_strangers(folder: Path, base: str, unexpected: Sequence[str], missing: Sequence[str]) -> None:
    audit = f"`stratalign audit {folder} --base {base}` lists them."
    if unexpected:
        lacking = f", {missing[0]} of the model gets nothing" if missing else ""
        raise UserError(
            f"The adapter {folder} does not fit its base model {base}: {_tensors(unexpected)} of the adapter would not "
            f"be used ({unexpected[0]} has no place in the model{lacking}). Give the base that it was trained on, or "
            f"rename its tensors as the model's modules are named. {audit}"
        )
    if missing:
        raise UserError(
            f"The adapter {folder} is not complete: adapter_config.json asks for {_tensors(missing)} that "
            f"adapter_model.safetensors does not hold ({_some(missing)}). Copy the adapter again, or correct "
            "adapter_config.json."
        )


def _is_left_out(key: str, config: Any) -> bool:
    """Whether a tensor that the model does not use is known to be none of its weights."""
    if _NOT_WEIGHTS.search(key):
        return True
    text = config.get_text_config(decoder=True)
    ahead = getattr(text, "num_nextn_predict_layers", None) or 0
    n_layers = getattr(text, "num_hidden_layers", None)
    match = _LAYER.search(key)
    if match and n_layers is not None and n_layers <= int(match[1]) < n_layers + ahead:
        return True
    senses = any(getattr(config, f"{sense}_config", None) is not None for sense in ("vision", "audio"))
    return senses and _OTHER_INPUTS.search(key) is not None


def _plain(keys: Sequence[str], name: str) -> list[str]:
    """PEFT's names of places, spelt as in an adapter's file."""
    return [key.replace(f".{name}.", ".").removesuffix(f".{name}") for key in keys]


def _tensors(names: Sequence[str]) -> str:
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
