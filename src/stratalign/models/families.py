"""Which models may be trained, as far as configuration and modules tell before weights are loaded.

The catalogues of families are `stratalign.blocks.families`; what only a loaded model shows is `models/soundness.py`.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from stratalign.blocks import FAMILIES, REFUSALS
from stratalign.errors import UserError

_RECURRENT = {"linear_attention", "mamba", "recurrent", "conv", "hybrid", "hybrid_sliding"}
"""Kinds of layers, as configs name them, that carry a state along the row."""


def is_proven(config: PretrainedConfig) -> bool:
    """Whether the model's type is one of `FAMILIES`."""
    return _type(config) in FAMILIES


def may_pack(config: PretrainedConfig) -> bool:
    """Whether packed rows are proven for the model's type."""
    return is_proven(config) and FAMILIES[_type(config)].rows == "packed"


def refuse_config(config: PretrainedConfig, name: object) -> None:
    """Refuse what the configuration alone gives away; `name` says in the message which model it is.

    Raises:
        UserError: the model's type is refused, with the reason.
    """
    text: Any = config.get_text_config(decoder=True)
    kinds = {*(getattr(text, "layer_types", None) or ())}
    if getattr(config, "is_encoder_decoder", False):
        raise _refusal(name, config, "encoder_decoder")
    if getattr(text, "num_kv_shared_layers", 0):
        raise _refusal(name, config, "shared_keys")
    if kinds & _RECURRENT or _type(config) in REFUSALS["recurrent"].types:
        raise _refusal(name, config, "recurrent")
    if any("sparse" in kind or "indexed" in kind for kind in kinds):
        raise _refusal(name, config, "sparse")


def refuse_structure(model: PreTrainedModel, layers: nn.ModuleList, name: object) -> None:
    """Refuse what the modules give away; weights not needed.

    Raises:
        UserError: the model is refused, with the reason.
    """
    convolves = any(isinstance(module, (nn.Conv1d, nn.Conv2d)) for module in layers.modules())
    if convolves or getattr(model, "_is_stateful", False):
        raise _refusal(name, model.config, "recurrent")
    if any(name.rpartition(".")[2] == "indexer" for name, _ in layers.named_modules()):
        raise _refusal(name, model.config, "sparse")


def longest_exact(config: PretrainedConfig) -> int | None:
    """Tokens up to which a sequence's rotary embedding is its own; None for any length.

    Beyond, "longrope" and "dynamic" embeddings follow the longest sequence of the batch, or of any batch before.
    """
    text: Any = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or {}
    limits = {
        "longrope": getattr(text, "original_max_position_embeddings", None),
        "dynamic": getattr(text, "max_position_embeddings", None),
    }
    found = [
        part.get("original_max_position_embeddings") or limits[part["rope_type"]]
        for part in (rope, *rope.values())
        if isinstance(part, dict) and part.get("rope_type") in limits
    ]
    return min((limit for limit in found if limit), default=None)


def positions_of(config: PretrainedConfig) -> int | None:
    """Tokens that the model has positions for, learned or rotary; None where its attention needs none (ALiBi).

    A rotary embedding that is scaled reaches as far as its scaling says, where that is more.
    """
    text: Any = config.get_text_config(decoder=True)
    stated = getattr(text, "max_position_embeddings", None)
    if not isinstance(stated, int) or stated <= 0 or getattr(text, "alibi", False):
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    scaled = [
        int((part.get("original_max_position_embeddings") or stated) * part["factor"])
        for part in (rope, *rope.values())
        if isinstance(part, dict) and part.get("factor")
    ]
    return max(stated, *scaled) if scaled else stated


def _refusal(name: object, config: PretrainedConfig, why: str) -> UserError:
    return UserError(
        f"The model in {name} has the model type {config.model_type!r}, which is not supported: "
        f"{REFUSALS[why].reason}. `stratalign list models` names the families that are."
    )


def _type(config: PretrainedConfig) -> str:
    return str(config.get_text_config(decoder=True).model_type)
