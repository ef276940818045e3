"""Tiny random models, their tokenizer and a recipe that runs in seconds; made here, never fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TRANSCRIPTS = Path(__file__).parent / "data" / "transcripts.jsonl"

LAYERS = object()
"""Stands for the number of layers asked for, where a family has a name of its own for it."""

_MIXTURE: dict[str, Any] = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
_PER_KIND: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": LAYERS, "n_head": 4},
    "gpt_neox": {"intermediate_size": 48},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.15},
    "gptj": {"n_embd": 32, "n_layer": LAYERS, "n_head": 4, "rotary_dim": 4, "n_positions": 256},
    "bloom": {"n_layer": LAYERS, "n_head": 4},
    "falcon": {"alibi": True, "new_decoder_architecture": True, "num_kv_heads": 2},
    "mpt": {"d_model": 32, "n_layers": LAYERS, "n_heads": 4, "max_seq_len": 256},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {"num_experts": 4, "shared_expert_intermediate_size": 16, **_MIXTURE},
    "qwen3_moe": {"num_experts": 4, **_MIXTURE},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "deepseek_v3": {
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "num_key_value_heads": 4,
        "first_k_dense_replace": 1,
        **_MIXTURE,
    },
    "llama4_text": {"num_local_experts": 4, "intermediate_size_mlp": 48, "interleave_moe_layer_step": 2},
}
_OWN_NAMES = ("gpt2", "gptj", "bloom", "falcon", "mpt")
"""Kinds that have no key/value heads and sizes by the common names."""


WINDOW = 6
_WINDOWED: dict[str, dict[str, Any]] = {
    "qwen2": {"use_sliding_window": True, "max_window_layers": 2},
    "qwen3": {"use_sliding_window": True, "max_window_layers": 2},
    "gemma3_text": {"layer_types": ["sliding_attention", "full_attention"] * 2},
}


def windowed_model(kind: str) -> Any:
    """A random model of four layers whose windows are shorter than the sequences of most tests."""
    return random_model(kind, 4, 101, sliding_window=WINDOW, **_WINDOWED.get(kind, {}))


def random_model(kind: str, layers: int, vocabulary: int, **changes: Any) -> Any:
    """A random model with weights large enough that training moves its loss; `changes` go to its configuration."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    if kind not in (*_OWN_NAMES, "gpt_neox"):
        sizes |= {"num_key_value_heads": 2, "head_dim": 8}
    if kind not in _OWN_NAMES:
        sizes |= {"intermediate_size": 48, "max_position_embeddings": 2048}
    own = _PER_KIND.get(kind, {})
    own = {key: layers if value is LAYERS else value for key, value in own.items()}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(sizes | own | changes)))


def make_tokenizer() -> Any:
    """A byte-level BPE of 300 tokens, trained on the shipped transcripts; end of sequence is token 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    rows = [json.loads(line) for line in TRANSCRIPTS.read_text(encoding="utf-8").splitlines()]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([text for row in rows for text in row.values()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")


def small_recipe(model: Path, source: Path) -> dict[str, Any]:
    """A recipe that runs in seconds."""
    return {
        "model": str(model),
        "preferences": {"source": str(source), "train": 18, "validation": 4, "held_out": 8},
        "training": {
            "learning_rate": 1e-3,
            "batch_size": 3,
            "gradient_accumulation": 2,
            "epochs": 2,
            "rank": 4,
            "alpha": 8,
        },
        "generation": {"max_new_tokens": 12, "batch_size": 4},
    }
