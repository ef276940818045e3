"""Tiny random models, their tokenizer and a recipe that runs in seconds; made here, never fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TRANSCRIPTS = Path(__file__).parent / "data" / "transcripts.jsonl"


def random_model(kind: str, layers: int, vocabulary: int) -> Any:
    """A random model with weights large enough that training moves its loss."""
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
    if kind == "gpt2":
        sizes |= {"n_embd": 32, "n_layer": layers, "n_head": 4}
    elif kind != "gpt_neox":
        sizes |= {"num_key_value_heads": 2, "head_dim": 8}
    if kind != "gpt2":
        sizes |= {"intermediate_size": 48, "max_position_embeddings": 2048}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))


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
