"""Turns preferences into token ids: trees for training, prompts for generation.

The tokenizer is handed in and only its few methods below are used; knows nothing of models or files.

The rules are TRL 1.16's (DPOTrainer._prepare_dataset), so that its trainer is an oracle for ours: texts get
an explicit end-of-sequence token, rendered messages do not; labels start where the tokens of the prompt alone
and of prompt and response part, at the smaller of the two places for a pair, so both responses are scored
given the same context. We append the end token's id where TRL appends its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from stratalign.errors import UserError
from stratalign.preferences.dialogues import Asked, Dialogue, Kind, Preference, Refused
from stratalign.preferences.reading import BadRow
from stratalign.preferences.settings import PreferenceSettings, Template
from stratalign.preferences.transcripts import ASSISTANT, Turn, turns
from stratalign.preferences.trees import OnLong, Tree, fit, grow, shared


class Tokenizer(Protocol):
    """What we use of a Hugging Face tokenizer."""

    @property
    def eos_token(self) -> str | None: ...
    @property
    def eos_token_id(self) -> int | None: ...
    @property
    def chat_template(self) -> Any: ...
    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...
    def __call__(self, text: str) -> Mapping[str, Any]: ...
    def apply_chat_template(
        self,
        conversation: list[Turn],
        *,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        return_dict: bool = True,
    ) -> Any: ...


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
    trees, bad = [], []
    for row in rows:
        try:
            trees.append(fit(_tree(row, tokenizer, settings.template), max_length, on_long))
        except Refused as refusal:
            bad.append(BadRow(row.line, row.row_id, refusal.reason, refusal.detail))
    return Tokenized(tuple(trees), tuple(bad))


def prompt_ids(
    preference: Preference | Asked, tokenizer: Tokenizer, settings: PreferenceSettings
) -> list[int]:
    """The tokens that generation starts from: the whole prompt, the assistant's turn opened, no end token.

    Raises:
        Refused: the chat template refuses the messages.
        UserError: the tokenizer has no chat template where one is needed.
    """
    if not _as_chat(preference.kind, settings.template, tokenizer):
        return _prompt_tokens(str(preference.prompt), tokenizer)
    return _rendered(_messages(preference.prompt, preference.kind), tokenizer, generation_prompt=True)


def as_messages(row: Preference) -> Preference:
    """The row as messages, as a chat template gets it."""
    return replace(
        row,
        prompt=tuple(_messages(row.prompt, row.kind)),
        chosen=tuple(_answer(row.chosen, row.kind)),
        rejected=None if row.rejected is None else tuple(_answer(row.rejected, row.kind)),
        kind="messages",
    )


def exchange_ids(prompt: Dialogue, kind: Kind, response: str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a prompt with one response, as a scorer reads them: rendered where the tokenizer has a chat
    template, else the plain text and, where the tokenizer knows one, an end token.

    Raises:
        Refused: the chat template refuses the messages.
        UserError: the prompt is messages, but the tokenizer has no chat template.
    """
    if tokenizer.chat_template or kind == "messages":
        answer: Turn = {"role": "assistant", "content": response}
        return _rendered([*_messages(prompt, kind), answer], tokenizer, generation_prompt=False)
    ids = _tokens(f"{prompt}{response}", tokenizer)
    return ids if tokenizer.eos_token_id is None else _ended(ids, tokenizer)


def _tree(row: Preference, tokenizer: Tokenizer, template: Template) -> Tree:
    kind = row.kind
    responses = [response for response in (row.chosen, row.rejected) if response is not None]
    if _as_chat(kind, template, tokenizer):
        opening = _messages(row.prompt, kind)
        alone = _rendered(opening, tokenizer, generation_prompt=True)
        fulls = [
            _rendered(opening + _answer(response, kind), tokenizer, generation_prompt=False)
            for response in responses
        ]
    else:
        alone = _prompt_tokens(str(row.prompt), tokenizer)
        fulls = [_ended(_tokens(f"{row.prompt}{response}", tokenizer), tokenizer) for response in responses]
    start = min(shared(alone, full) for full in fulls)
    return grow(row.row_id, row.cluster, fulls, [start] * len(fulls))


def _as_chat(kind: Kind, template: Template, tokenizer: Tokenizer) -> bool:
    """Whether a row is rendered; `auto`, where nobody settled it (`settle_template`), goes by the tokenizer alone."""
    return kind == "messages" or template == "chat" or (template == "auto" and bool(tokenizer.chat_template))


def _tokens(text: str, tokenizer: Tokenizer) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def _prompt_tokens(prompt: str, tokenizer: Tokenizer) -> list[int]:
    """A prompt's tokens without an end token that the tokenizer itself appended."""
    ids = _tokens(prompt, tokenizer)
    own = tokenizer.eos_token is not None and prompt.endswith(tokenizer.eos_token)
    if ids and ids[-1] == tokenizer.eos_token_id and not own:
        ids.pop()
    return ids


def _ended(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    if tokenizer.eos_token_id is None:
        raise UserError(
            "The model's tokenizer has no end-of-sequence token, so a response has no end to learn. Give a model whose "
            "tokenizer sets eos_token, or set it in its tokenizer_config.json."
        )
    return ids if ids and ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id]


def _messages(prompt: Dialogue, kind: Kind) -> list[Turn]:
    if not isinstance(prompt, str):
        return list(prompt)
    return list(turns(prompt)) if kind == "transcript" else [{"role": "user", "content": prompt}]


def _answer(response: Dialogue, kind: Kind) -> list[Turn]:
    if not isinstance(response, str):
        return list(response)
    if kind == "transcript":
        return list(turns(ASSISTANT + response))
    return [{"role": "assistant", "content": response}]


def _rendered(messages: list[Turn], tokenizer: Tokenizer, *, generation_prompt: bool) -> list[int]:
    if not tokenizer.chat_template:
        raise UserError(
            "The preferences are messages (or preferences.template is chat), but the model's tokenizer has no chat "
            "template. Use an instruction-tuned model or set a chat template; texts can be used with `template: raw`."
        )
    try:
        return list(
            tokenizer.apply_chat_template(
                messages, add_generation_prompt=generation_prompt, tokenize=True, return_dict=False
            )
        )
    except Exception as error:
        if not type(error).__module__.startswith("jinja2"):
            raise
        raise Refused("refused by the chat template", str(error)) from None
