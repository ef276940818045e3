"""Tokenizers for the room's tests: one whose ids can be worked out by hand, and small real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

TRANSCRIPTS = Path(__file__).parent.parent / "data" / "transcripts.jsonl"

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Letters:
    """One token a letter, its code point; `merges` become one token each; "$" is the end token, id 0; id 1 begins."""

    bos_token = None
    bos_token_id = None
    eos_token = "$"
    eos_token_id = 0
    chat_template = None

    def __init__(
        self, merges: dict[str, int] | None = None, begins: bool = False, ends: bool = False
    ) -> None:
        self.merges = {"$": 0, **(merges or {})}
        self.begins = begins
        self.ends = ends

    def __call__(self, texts: list[str], *, add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        assert add_special_tokens, "only rendered texts hold their special tokens"
        return {"input_ids": [self.ids(text) for text in texts]}

    def ids(self, text: str) -> list[int]:
        ids = [1] if self.begins else []
        at = 0
        while at < len(text):
            merge = next((m for m in self.merges if text.startswith(m, at)), text[at])
            ids.append(self.merges[merge] if merge in self.merges else ord(merge))
            at += len(merge)
        return [*ids, 0] if self.ends else ids

    def apply_chat_template(self, conversation: Any, **_: Any) -> Any:
        raise AssertionError("it has no chat template")


@pytest.fixture(scope="session")
def transcripts() -> Path:
    return TRANSCRIPTS


@pytest.fixture(scope="session")
def letters() -> type[Letters]:
    return Letters


def byte_pairs(begins: bool = False, chat: bool = False) -> Any:
    """A byte-level BPE tokenizer of 600 tokens, trained on the shipped transcripts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<eos>", "<bos>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rows = [json.loads(line) for line in TRANSCRIPTS.read_text(encoding="utf-8").splitlines()]
    tokenizer.train_from_iterator([row[side] for row in rows for side in ("chosen", "rejected")], trainer)
    if begins:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<eos>",
        bos_token="<bos>" if begins else None,
        chat_template=CHAT_TEMPLATE if chat else None,
    )


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return byte_pairs()


@pytest.fixture(scope="session")
def bos_tokenizer() -> Any:
    return byte_pairs(begins=True)


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    return byte_pairs(chat=True)


@pytest.fixture(scope="session")
def bos_chat_tokenizer() -> Any:
    """Its template and its post-processor both write the token that begins a text."""
    made = byte_pairs(begins=True)
    made.chat_template = "{{ bos_token }}" + CHAT_TEMPLATE
    return made
