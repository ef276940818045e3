"""PEFT adapters of a tiny model made by PEFT itself, with updates that are not zero, and damaged ones made of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stratalign.models import hushed

FILE = "adapter_model.safetensors"


def make_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """Rank 4 on q_proj and v_proj of every layer, unless `settings` say otherwise."""
    config = LoraConfig(
        **{"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
        | settings
    )
    with hushed():
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    drawn = torch.Generator().manual_seed(5)
    for name, p in adapted.named_parameters():
        if "lora_B" in name or "lora_embedding_A" in name:
            p.data.normal_(std=0.3, generator=drawn)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Setting `save_embedding_layers`")
        adapted.save_pretrained(folder)
    return folder


def rewritten(folder: Path, change: Callable[[str, torch.Tensor], dict[str, torch.Tensor]]) -> Path:
    """The adapter with each tensor replaced by what `change(name, tensor)` gives."""
    tensors = load_file(folder / FILE)
    new = {key: value for name, one in tensors.items() for key, value in change(name, one).items()}
    save_file(new, folder / FILE, metadata={"format": "pt"})
    return folder


def renamed(folder: Path, old: str, new: str) -> Path:
    return rewritten(folder, lambda name, tensor: {name.replace(old, new): tensor})


def without(folder: Path, part: str) -> Path:
    return rewritten(folder, lambda name, tensor: {} if part in name else {name: tensor})


def emptied(folder: Path, part: str = ".lora_B.") -> Path:
    return rewritten(folder, lambda name, tensor: {name: tensor * 0 if part in name else tensor})
