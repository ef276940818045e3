"""Tiny random reward models, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tiny_models import make_tokenizer


def make_reward_model(
    folder: Path,
    kind: str = "llama",
    labels: tuple[str, ...] = ("reward",),
    chat_template: str | None = None,
    **changes: Any,
) -> Path:
    """A sequence classifier with the project's test tokenizer; weights large enough that texts differ."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    tokenizer = make_tokenizer()
    tokenizer.chat_template = chat_template
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "initializer_range": 0.3,
        "id2label": dict(enumerate(labels)),
        "label2id": {name: i for i, name in enumerate(labels)},
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": 0,
    }
    config = AutoConfig.for_model(kind, **(sizes | changes))
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
