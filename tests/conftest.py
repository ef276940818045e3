"""Fixtures of the whole project: tiny random models with a tokenizer, and the shipped transcripts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

TRANSCRIPTS = Path(__file__).parent / "data" / "transcripts.jsonl"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tiny matrices are slower on several threads, and bits do not depend on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def transcripts() -> Path:
    """About thirty hh-rlhf style pairs that ship with the project."""
    return TRANSCRIPTS


@pytest.fixture(scope="session")
def hh_rlhf() -> Path:
    """A real hh-rlhf file, named by STRATALIGN_HH_RLHF; tests that want it skip without it."""
    name = os.environ.get("STRATALIGN_HH_RLHF")
    if not name or not Path(name).is_file():
        pytest.skip("set STRATALIGN_HH_RLHF to a file of real hh-rlhf rows")
    return Path(name)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a tiny random model folder: `make_model("llama", layers=6, seed=0)`; the same call gives the same folder."""
    made: dict[tuple[Any, ...], Path] = {}

    def make(kind: str = "llama", layers: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
        key = (kind, layers, seed, dtype)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{kind}-{layers}")
            tokenizer = make_tokenizer()
            torch.manual_seed(seed)
            random_model(kind, layers, len(tokenizer)).to(dtype).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make


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


@pytest.fixture
def recipe(make_model: Callable[..., Path], transcripts: Path) -> Callable[..., dict[str, Any]]:
    """`recipe(seeds=[0, 1])`: the small recipe on a random Llama and the shipped transcripts, as a mapping."""
    return lambda **changes: {**small_recipe(make_model("llama"), transcripts), **changes}
