"""Answers to the held-out prompts, decoded on this machine: of one model, or of many runs in one batch.

A batch is a fixed group of prompts under fixed runs, so that an interrupted study repeats whole batches and gets the
same bits. Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stratalign.generation.decoding import decode
from stratalign.generation.noise import keyed_choice
from stratalign.generation.settings import GenerationSettings
from stratalign.models import AdapterBank, Unmixable


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


class Asked(NamedTuple):
    """One answer to be made: of which run, to which prompt, and what keys its noise beside prompt and position."""

    run: str
    prompt: Prompt
    key: object


class Answer(NamedTuple):
    """What a model answered: its tokens without the end token, their text, and why it ended."""

    tokens: tuple[int, ...]
    text: str
    finish: str  # "stop" or "length"


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
    return _answers(model, tokenizer, prompts, [key] * len(prompts), settings, stop, _ignored)


def answer_mixed(
    bank: AdapterBank,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Asked],
    settings: GenerationSettings,
    *,
    stop: Sequence[str] = (),
) -> list[Answer]:
    """Decode one batch whose rows belong to different runs; one answer for each row, in order.

    A row's answer is the one that `answer` gives with that run active, up to the rounding of its logits. Rows of a
    run should lie together. A model whose modules do not see whole rows is decoded one run at a time.
    """
    runs = [row.run for row in asked]

    def decoded(rows: Sequence[Asked], kept: Callable[[Sequence[int]], None]) -> list[Answer]:
        prompts, keys = [row.prompt for row in rows], [row.key for row in rows]
        return _answers(bank.model, tokenizer, prompts, keys, settings, stop, kept)

    try:
        with bank.mixed(runs) as mixture:
            return decoded(asked, lambda rows: mixture.assign([runs[row] for row in rows]))
    except Unmixable:
        found: dict[Asked, Answer] = {}
        for run in dict.fromkeys(runs):
            with bank.active(run):
                own = [row for row in asked if row.run == run]
                found |= zip(own, decoded(own, _ignored), strict=True)
        return [found[row] for row in asked]


def _ignored(_rows: Sequence[int]) -> None:
    """For whom it does not matter which rows stay in the batch."""


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    keys: Sequence[object],
    settings: GenerationSettings,
    stop: Sequence[str],
    kept: Callable[[Sequence[int]], None],
) -> list[Answer]:
    width = max(len(prompt.ids) for prompt in prompts)
    eos = _eos_ids(model, tokenizer)
    device = next(model.parameters()).device
    ids = torch.full((len(prompts), width), eos[0], dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, width - len(prompt.ids) :] = 1
    ends = set(eos)
    # A token holds at least one character, or a byte of one: a mark lies within so many tokens of the end.
    reach = 4 * max(map(len, stop), default=0)

    def choose(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
        names = [prompts[row].prompt_id for row in rows]
        return keyed_choice(logits, names, [keys[row] for row in rows], step, settings.temperature)

    def ended(tokens: Sequence[int]) -> bool:
        if tokens[-1] in ends:
            return True
        return bool(stop) and any(mark in tokenizer.decode(tokens[-reach:]) for mark in stop)

    made = decode(model, ids.to(device), mask.to(device), choose, ended, settings.max_new_tokens, kept)
    return [_finished(row, eos, tokenizer, stop) for row in made]


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
