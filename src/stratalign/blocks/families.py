"""Families of models: those that the tests prove, and those that are refused, with the reason; names alone, no models.

A family is a model type of transformers. A row of `FAMILIES` is a claim, and tests/models/test_families.py runs over
all of them, so that no row stands without its proof. A type in neither catalogue is tried: its layers are found by
structure, `check_support` decides when it is loaded, and its rows are padded, since what packed rows need (the
windows of every layer, for one) can only be trusted where it was tested.

A mixture of experts takes packed rows as well: its router looks at one token at a time. That would not hold for
experts with room for so many tokens; no type of the table has them, and `check_rows` looks for such dependence when
a model is loaded. The auxiliary loss that balances experts in pretraining is no part of a preference loss here, where
TRL 1.16 adds it with the coefficient of the model's config. Rounding may send a token elsewhere if the last expert
chosen and the first left out are nearly level for it; layouts then differ by more than rounding, for that token.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

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


def describe_family(family: Family) -> str:
    """One line on a family, as `list` and the documentation show it."""
    parts = [f"{family.models}: {family.rows} rows", f"attention is {', '.join(family.attention)}"]
    if family.windows:
        parts.append("sliding windows")
    if family.experts:
        parts.append("router and experts frozen")
    return "; ".join([*parts, family.note] if family.note else parts)
