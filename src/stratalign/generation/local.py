"""Answers to the held-out prompts, decoded on this machine: of one model, or of many runs in one batch.

A batch is a fixed group of prompts under fixed runs, so that an interrupted study repeats whole batches and gets the
same bits. Knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stratalign.generation.decoding import Watch, decode
from stratalign.generation.noise import keyed_choice
from stratalign.generation.prefill import Prefilled, Prompts, prefill, prefill_shared
from stratalign.generation.settings import GenerationSettings
from stratalign.models import AdapterBank, Unmixable, eos_ids


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


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    key: object,
    stop: Sequence[str] = (),
    watch: Watch = lambda _token, _ended, _going: None,
) -> list[Answer]:
    """Decode one batch with whatever adapter is active on `model`; one answer for each prompt, in order.

    Args:
        key: what keys the sampling noise beside prompt and position.
        stop: texts that end an answer, special tokens among them; they are cut off.
        watch: called after every token.
    """
    given = _padded(model, tokenizer, prompts)
    keys = [key] * len(prompts)
    return _answers(model, tokenizer, prompts, keys, given.mask, prefill(model, given), settings, stop, watch)


def answer_mixed(
    bank: AdapterBank,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    keys: Mapping[str, object],
    settings: GenerationSettings,
    *,
    stop: Sequence[str] = (),
    watch: Watch = lambda _token, _ended, _going: None,
) -> dict[str, list[Answer]]:
    """Decode one batch of several runs' answers to the same prompts; run -> one answer for each prompt, in order.

    A run's answers are those that `answer` gives while it is active, up to the rounding of its logits. A model
    whose modules do not see whole rows is decoded one run at a time.

    Args:
        keys: run -> what keys its sampling noise beside prompt and position.
        watch: called after every token.
    """
    rows = [(run, prompt) for run in keys for prompt in prompts]
    given = _padded(bank.model, tokenizer, prompts)
    try:
        with bank.mixed([run for run, _ in rows]) as mixture:
            made = _answers(
                bank.model,
                tokenizer,
                [prompt for _, prompt in rows],
                [keys[run] for run, _ in rows],
                given.mask.repeat(len(keys), 1),
                prefill_shared(bank, mixture, list(keys), given),
                settings,
                stop,
                watch,
                lambda left: mixture.assign([rows[row][0] for row in left]),
            )
    except Unmixable:
        made = []
        for run, key in keys.items():

            def of_all(token: int, ended: int, going: int, before: int = len(made)) -> None:
                watch(token, before + ended, going)

            with bank.active(run):
                made += answer(bank.model, tokenizer, prompts, settings, key=key, stop=stop, watch=of_all)
    count = len(prompts)
    return {run: made[i * count : (i + 1) * count] for i, run in enumerate(keys)}


def _padded(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]) -> Prompts:
    width = max(len(prompt.ids) for prompt in prompts)
    padding = next(iter(_eos_ids(model, tokenizer)), 0)
    ids = torch.full((len(prompts), width), padding, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, width - len(prompt.ids) :] = 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    return Prompts(*(part.to(next(model.parameters()).device) for part in (ids, mask, positions)))


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    keys: Sequence[object],
    mask: Tensor,
    prefilled: Prefilled,
    settings: GenerationSettings,
    stop: Sequence[str],
    watch: Watch,
    kept: Callable[[Sequence[int]], None] = lambda _rows: None,
) -> list[Answer]:
    """One answer for each row; `prompts` and `keys` are those of the rows."""
    special = special_tokens(tokenizer)
    ends = {*_eos_ids(model, tokenizer), *(special[mark] for mark in stop if mark in special)}
    stop = [mark for mark in stop if mark not in special]
    # A token holds at least one character, or a byte of one: a mark lies within so many tokens of the end.
    reach = 4 * max(map(len, stop), default=0)

    def choose(logits: Tensor, rows: Sequence[int], step: int) -> Tensor:
        names = [prompts[row].prompt_id for row in rows]
        return keyed_choice(logits, names, [keys[row] for row in rows], step, settings.temperature)

    def ended(tokens: Sequence[int]) -> bool:
        if tokens[-1] in ends:
            return True
        return bool(stop) and any(mark in tokenizer.decode(tokens[-reach:]) for mark in stop)

    made = decode(model, mask, prefilled, choose, ended, settings.max_new_tokens, kept, watch)
    return [_finished(row, ends, tokenizer, stop) for row in made]


def _finished(
    row: list[int], ends: Collection[int], tokenizer: PreTrainedTokenizerBase, stop: Sequence[str]
) -> Answer:
    end = next((i for i, token in enumerate(row) if token in ends), len(row))
    tokens = row[:end]
    whole = tokenizer.decode(tokens)
    marks = [at for mark in stop if (at := whole.find(mark)) >= 0]
    if not marks:
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        return Answer(tuple(tokens), text, "stop" if end < len(row) else "length")
    before = whole[: min(marks)]
    while tokens and tokenizer.decode(tokens[:-1]).startswith(before):
        tokens = tokens[:-1]
    beyond = len(tokenizer.decode(tokens)) - len(
        before
    )  # characters of the last token that belong to the mark
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    if beyond and tokens[-1] not in special_tokens(tokenizer).values():
        text = text[:-beyond]
    return Answer(tuple(tokens), text, "stop")


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that decoding to plain text leaves out, by their text."""
    return {
        token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokenizer's end token first, then those of the model's own generation settings."""
    vocabulary = model.get_input_embeddings().num_embeddings
    named = dict.fromkeys([tokenizer.eos_token_id, *eos_ids(model.generation_config)])
    return [token for token in named if token < vocabulary]
