"""Turns rendered rows into token ids: trees for training, prompts for generation.

The rules are TRL 1.16's (DPOTrainer._prepare_dataset), so that its trainer is an oracle for ours: texts get
an explicit end-of-sequence token, rendered messages do not; labels start where the tokens of the prompt alone
and of prompt and response part, at the smaller of the two places for a pair, so both responses are scored
given the same context. We append the end token's id where TRL appends its text, and a text that begins with the begin
token does not get it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from stratalign.errors import UserError
from stratalign.preferences.dialogues import Asked, Dialogue, Kind, Preference, Refused
from stratalign.preferences.reading import BadRow
from stratalign.preferences.rendering import Rendered, Renderer, Tokenizer
from stratalign.preferences.settings import PreferenceSettings
from stratalign.preferences.trees import OnLong, Tree, fit, grow, shared

BATCH = 512
"""Rows that are rendered, then tokenised together."""


@dataclass(frozen=True)
class Tokenized:
    """Trees of the rows that can be trained on, in their order, and the rows that cannot."""

    trees: tuple[Tree, ...]
    bad: tuple[BadRow, ...]


def tokenize(
    rows: Iterable[Preference],
    tokenizer: Tokenizer,
    settings: PreferenceSettings,
    max_length: int | None = None,
    on_long: OnLong = "drop",
) -> Tokenized:
    """The tree of each row, with two branches (chosen, rejected) or, of a demonstration, one; rows that are too long or
    that a template refuses are bad.

    Raises:
        UserError: the tokenizer has no end-of-sequence token, or no chat template where one is needed.
    """
    trees: list[Tree] = []
    bad: list[BadRow] = []
    for row, tree in grown(rows, tokenizer, settings):
        try:
            if isinstance(tree, Refused):
                raise tree
            trees.append(fit(tree, max_length, on_long))
        except Refused as refusal:
            bad.append(BadRow(row.line, row.row_id, refusal.reason, refusal.detail))
    return Tokenized(tuple(trees), tuple(bad))


def grown(
    rows: Iterable[Preference], tokenizer: Tokenizer, settings: PreferenceSettings
) -> Iterator[tuple[Preference, Tree | Refused]]:
    """Each row with its whole tree, or with the reason why it has none; tokenised in batches."""
    renderer = Renderer(tokenizer, settings)
    left = iter(rows)
    while batch := list(islice(left, BATCH)):
        found: list[Rendered | Refused] = []
        for row in batch:
            try:
                found.append(renderer.row(row))
            except Refused as refusal:
                found.append(refusal)
        ids = _ids([one for one in found if isinstance(one, Rendered)], tokenizer)
        for row, one in zip(batch, found, strict=True):
            yield row, one if isinstance(one, Refused) else _tree(row, *next(ids))


def prompt_ids(
    preference: Preference | Asked, tokenizer: Tokenizer, settings: PreferenceSettings
) -> list[int]:
    """The tokens that generation starts from: the whole prompt, the assistant's turn opened, no end token.

    Raises:
        Refused: the chat template refuses the messages.
        UserError: the tokenizer has no chat template where one is needed.
    """
    alone, _ = next(_ids([Renderer(tokenizer, settings).prompt(preference)], tokenizer))
    return alone


def exchange_ids(prompt: Dialogue, kind: Kind, response: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a prompt with one response, as a scorer reads them: rendered where the tokenizer has a chat
    template, else the plain text and, where the tokenizer knows one, an end token.

    Raises:
        Refused: the chat template refuses the messages.
        UserError: the prompt is messages, but the tokenizer has no chat template.
    """
    shown = Renderer(tokenizer, PreferenceSettings(source="exchange")).exchange(prompt, kind, response)
    [ids] = _tokens(shown.fulls, tokenizer, special=not shown.by_template)
    return ids if shown.by_template or tokenizer.eos_token_id is None else _ended(ids, tokenizer)


def _ids(shown: Sequence[Rendered], tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Of each the tokens of its prompt alone, and of prompt and response."""
    tokens = {
        by_template: iter(
            _tokens(
                [
                    text
                    for one in shown
                    if one.by_template == by_template
                    for text in (one.prompt, *one.fulls)
                ],
                tokenizer,
                special=not by_template,
            )
        )
        for by_template in (True, False)
    }
    for one in shown:
        own = tokens[one.by_template]
        alone, fulls = next(own), [next(own) for _ in one.fulls]
        if one.by_template:
            yield alone, fulls
        else:
            yield _unended(alone, one.prompt, tokenizer), [_ended(ids, tokenizer) for ids in fulls]


def _tree(row: Preference, alone: list[int], fulls: list[list[int]]) -> Tree | Refused:
    start = min(shared(alone, full) for full in fulls)
    try:
        return grow(row.row_id, row.cluster, fulls, [start] * len(fulls))
    except Refused as refusal:
        return refusal


def _tokens(texts: Sequence[str], tokenizer: Tokenizer, *, special: bool) -> list[list[int]]:
    if not texts:
        return []
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=special)["input_ids"]
    begin = tokenizer.bos_token_id if special else None
    return [ids[1:] if begin is not None and ids[:2] == [begin, begin] else ids for ids in found]


def _unended(ids: list[int], prompt: str, tokenizer: Tokenizer) -> list[int]:
    """A prompt's tokens without an end token that the tokenizer itself appended."""
    own = tokenizer.eos_token is not None and prompt.endswith(tokenizer.eos_token)
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id and not own else ids


def _ended(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    if tokenizer.eos_token_id is None:
        raise UserError(
            "The model's tokenizer has no end-of-sequence token, so a response has no end to learn. Give a model whose "
            "tokenizer sets eos_token, or set it in its tokenizer_config.json."
        )
    return ids if ids and ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id]
