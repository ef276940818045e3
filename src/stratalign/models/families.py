"""Families of models: those that the tests prove, and those that are refused, with the reason.

A family is a model type of transformers. A row of `FAMILIES` is a claim, and tests/models/test_families.py runs over
all of them, so that no row stands without its proof. A type in neither catalogue is tried: its layers are found by
structure, `check_support` decides when it is loaded, and its rows are padded, since what packed rows need (the
windows of every layer, for one) can only be trusted where it was tested.

A mixture of experts takes packed rows as well: its router looks at one token at a time. What does depend on the
batch is left out: experts with room for so many tokens are refused when the model is loaded (`check_rows`), and
the auxiliary loss that balances experts in pretraining is no part of a preference loss here, where TRL 1.16 adds it
with the coefficient of the model's config. Rounding may send a token elsewhere if the last expert chosen and the first
left out are nearly level for it; layouts then differ by more than rounding, for that token.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from stratalign.errors import UserError

Rows = Literal["packed", "padded"]

_QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
_FUSED = ("query_key_value", "dense")


class Family(NamedTuple):
    """What holds for a model type: its layout, the modules that `targets: attention` stands for, and what it has."""

    models: str
    rows: Rows = "packed"
    attention: tuple[str, ...] = _QKVO
    windows: bool = False
    experts: bool = False
    note: str = ""


class Refusal(NamedTuple):
    """Why some model types are refused, and which ones the tests try."""

    reason: str
    types: tuple[str, ...]


FAMILIES: dict[str, Family] = {
    "llama": Family("Llama 2 and 3, and others of this type"),
    "qwen2": Family("Qwen2, Qwen2.5", windows=True),
    "qwen3": Family("Qwen3", windows=True),
    "mistral": Family("Mistral", windows=True),
    "ministral": Family("Ministral", windows=True),
    "gemma": Family("Gemma"),
    "gemma2": Family("Gemma 2", windows=True, note="soft-capped logits"),
    "gemma3_text": Family("Gemma 3, text", windows=True, note="two rotary embeddings"),
    "phi": Family(
        "Phi-1, Phi-2", attention=("q_proj", "k_proj", "v_proj", "dense"), note="parallel residual"
    ),
    "phi3": Family("Phi-3, Phi-4", attention=("o_proj", "qkv_proj"), windows=True, note="fused"),
    "olmo": Family("OLMo"),
    "olmo2": Family("OLMo 2", note="norms after attention and MLP"),
    "olmo3": Family("OLMo 3", windows=True),
    "smollm3": Family("SmolLM3", note="layers without rotary embedding"),
    "starcoder2": Family("StarCoder2", windows=True),
    "cohere": Family("Command R", note="scaled logits, parallel residual"),
    "cohere2": Family("Command R7B, Command A", windows=True),
    "granite": Family("Granite", note="scaled logits"),
    "glm4": Family("GLM-4", note="fused MLP"),
    "opt": Family("OPT", attention=("k_proj", "v_proj", "q_proj", "out_proj"), note="learned positions"),
    "gpt_neox": Family("Pythia, GPT-NeoX", attention=_FUSED, note="fused, parallel residual"),
    "gpt2": Family("GPT-2", attention=("c_attn", "attn.c_proj"), note="fused, learned positions"),
    "gptj": Family("GPT-J", "padded", ("k_proj", "v_proj", "q_proj", "out_proj"), note="parallel residual"),
    "stablelm": Family("StableLM", "padded"),
    "bloom": Family("BLOOM", "padded", _FUSED, note="fused, ALiBi"),
    "falcon": Family("Falcon", "padded", _FUSED, note="fused, ALiBi or rotary"),
    "mpt": Family("MPT", "padded", ("Wqkv", "out_proj"), note="fused, ALiBi"),
    "mixtral": Family("Mixtral", windows=True, experts=True),
    "qwen2_moe": Family("Qwen1.5-MoE, Qwen2-MoE", experts=True),
    "qwen3_moe": Family("Qwen3-MoE", experts=True),
    "olmoe": Family("OLMoE", experts=True),
    "gpt_oss": Family("gpt-oss", windows=True, experts=True, note="attention sinks"),
    "deepseek_v3": Family(
        "DeepSeek-V3",
        attention=("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
        experts=True,
        note="latent attention",
    ),
    "llama4_text": Family("Llama 4, text", "padded", experts=True, note="chunked attention"),
}

REFUSALS: dict[str, Refusal] = {
    "encoder_decoder": Refusal(
        "it is an encoder with a decoder, and a preference pair here is one text that goes on from its prompt",
        ("t5", "bart"),
    ),
    "recurrent": Refusal(
        "it has recurrent or convolutional layers, which carry a state along the row; only attention is known to be "
        "exact here",
        (
            "mamba",
            "mamba2",
            "falcon_mamba",
            "rwkv",
            "recurrent_gemma",
            "jamba",
            "qwen3_next",
            "lfm2",
            "minimax",
        ),
    ),
    "shared_keys": Refusal(
        "later layers use the keys and values of earlier ones, so that a layer cannot be replayed by itself",
        ("gemma3n_text", "gemma4_text"),
    ),
    "sparse": Refusal(
        "an indexer chooses the tokens that its attention sees, and gets no gradient through that choice",
        ("deepseek_v32",),
    ),
}

_RECURRENT = {"linear_attention", "mamba", "recurrent", "conv", "hybrid", "hybrid_sliding"}
"""Kinds of layers, as configs name them, that carry a state along the row."""


def describe_family(family: Family) -> str:
    """One line on a family, as `list` and the documentation show it."""
    parts = [f"{family.models}: {family.rows} rows", f"attention is {', '.join(family.attention)}"]
    if family.windows:
        parts.append("sliding windows")
    if family.experts:
        parts.append("router and experts frozen")
    return "; ".join([*parts, family.note] if family.note else parts)


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


def _refusal(name: object, config: PretrainedConfig, why: str) -> UserError:
    return UserError(
        f"The model in {name} has the model type {config.model_type!r}, which is not supported: "
        f"{REFUSALS[why].reason}. `stratalign list models` names the families that are."
    )


def _type(config: PretrainedConfig) -> str:
    return str(config.get_text_config(decoder=True).model_type)
