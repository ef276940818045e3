"""Answers of a run to the held-out prompts, decoded with transformers on this machine.

A batch is a fixed group of prompts for one run, so that an interrupted study repeats whole batches and gets the
same bits. Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from stratalign.generation.noise import KeyedSampling
from stratalign.generation.settings import GenerationSettings


class Prompt(NamedTuple):
    """One held-out prompt: its text as shown in reports, and its token ids as the model gets them."""

    prompt_id: str
    cluster: str
    text: str
    ids: tuple[int, ...]


def batches(prompts: Sequence[Prompt], size: int) -> list[list[Prompt]]:
    """Prompts of similar length together, in a fixed order; the grouping depends on the prompts alone."""
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.ids), prompt.prompt_id))
    return [list(ordered[i : i + size]) for i in range(0, len(ordered), size)]


class Answer(NamedTuple):
    """What a model answered: its tokens without the end token, their text, and why it ended."""

    tokens: tuple[int, ...]
    text: str
    finish: str  # "stop" or "length"


@torch.no_grad()
def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    key: object,
    stop: Sequence[str] = (),
) -> list[Answer]:
    """Decode one batch with whatever adapter is active on `model`; one answer for each prompt, in order.

    Args:
        key: what keys the sampling noise beside prompt and position.
        stop: texts that end an answer; they are cut off.
    """
    width = max(len(prompt.ids) for prompt in prompts)
    eos = _eos_ids(model, tokenizer)
    device = next(model.parameters()).device
    ids = torch.full((len(prompts), width), eos[0], dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, width - len(prompt.ids) :] = 1
    processors = LogitsProcessorList()
    if settings.temperature > 0:
        names = [prompt.prompt_id for prompt in prompts]
        processors.append(KeyedSampling(names, key, settings.temperature, width))
    produced = model.generate(
        ids.to(device),
        attention_mask=mask.to(device),
        generation_config=GenerationConfig(
            stop_strings=list(stop) or None,
            do_sample=False,
            num_beams=1,
            max_new_tokens=settings.max_new_tokens,
            eos_token_id=eos,
            pad_token_id=eos[0],
        ),
        logits_processor=processors,
        tokenizer=tokenizer,
    )
    return [_finished(row, eos, tokenizer, stop) for row in produced[:, width:].tolist()]


def _finished(
    row: list[int], eos: Sequence[int], tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]
) -> Answer:
    end = next((i for i, token in enumerate(row) if token in eos), len(row))
    tokens = row[:end]
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    ends = [at for mark in stop if (at := text.find(mark)) >= 0]
    if not ends:
        return Answer(tuple(tokens), text, "stop" if end < len(row) else "length")
    text = text[: min(ends)]
    while tokens and tokenizer.decode(tokens[:-1], skip_special_tokens=True).startswith(text):
        tokens = tokens[:-1]
    return Answer(tuple(tokens), text, "stop")


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokenizer's end token first, then those of the model's own generation settings."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    extra = configured if isinstance(configured, list) else [] if configured is None else [configured]
    vocabulary = model.get_input_embeddings().num_embeddings
    return [token for token in dict.fromkeys([tokenizer.eos_token_id, *extra]) if token < vocabulary]
