"""The text that a model reads of a row: rendered by the tokenizer's chat template, or as it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from stratalign.errors import UserError
from stratalign.preferences.dialogues import Asked, Dialogue, Kind, Preference, Refused
from stratalign.preferences.settings import PreferenceSettings
from stratalign.preferences.transcripts import ASSISTANT, Turn, turns


class Tokenizer(Protocol):
    """What we use of a Hugging Face tokenizer."""

    @property
    def bos_token(self) -> str | None: ...
    @property
    def bos_token_id(self) -> int | None: ...
    @property
    def eos_token(self) -> str | None: ...
    @property
    def eos_token_id(self) -> int | None: ...
    @property
    def chat_template(self) -> Any: ...
    @property
    def added_tokens_decoder(self) -> Mapping[int, Any]: ...
    def __call__(self, text: list[str], *, add_special_tokens: bool = True) -> Mapping[str, Any]: ...
    def apply_chat_template(
        self,
        conversation: list[Turn],
        tools: list[Any] | None = None,
        *,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
    ) -> Any: ...


@dataclass(frozen=True)
class Rendered:
    """A row as the model reads it: the prompt with the assistant's turn opened, and the prompt with each response.

    `by_template` texts hold all their special tokens; to others the tokenizer adds its own.
    """

    prompt: str
    fulls: tuple[str, ...]
    by_template: bool


class Renderer:
    """Renders rows with one tokenizer under one set of settings."""

    def __init__(self, tokenizer: Tokenizer, settings: PreferenceSettings) -> None:
        self._tokenizer = tokenizer
        self._template = settings.template
        written = tokenizer.chat_template
        self._written = written if isinstance(written, str) else json.dumps(written)

    def row(self, row: Preference) -> Rendered:
        """A pair, or a demonstration, which has one response.

        Raises:
            Refused: the chat template refuses the messages.
            UserError: the tokenizer has no chat template where one is needed.
        """
        responses = [response for response in (row.chosen, row.rejected) if response is not None]
        if not self._as_chat(row.kind):
            return Rendered(str(row.prompt), tuple(f"{row.prompt}{one}" for one in responses), False)
        opening = _messages(row.prompt, row.kind)
        fulls = tuple(self._render(opening + _answer(one, row.kind), False, row.tools) for one in responses)
        return Rendered(self._render(opening, True, row.tools), fulls, True)

    def prompt(self, asked: Preference | Asked) -> Rendered:
        """A prompt alone, which generation starts from; errors as in `row`."""
        if not self._as_chat(asked.kind):
            return Rendered(str(asked.prompt), (), False)
        return Rendered(self._render(_messages(asked.prompt, asked.kind), True, asked.tools), (), True)

    def exchange(self, prompt: Dialogue, kind: Kind, response: str) -> Rendered:
        """A prompt with one response, as a scorer reads them: rendered where the tokenizer has a chat template;
        errors as in `row`."""
        if not self._tokenizer.chat_template and kind != "messages":
            return Rendered(str(prompt), (f"{prompt}{response}",), False)
        answer: Turn = {"role": "assistant", "content": response}
        return Rendered("", (self._render([*_messages(prompt, kind), answer], False),), True)

    def _as_chat(self, kind: Kind) -> bool:
        """Whether a row is rendered; `auto`, where nobody settled it (`settle_template`), goes by the tokenizer."""
        return (
            kind == "messages"
            or self._template == "chat"
            or (self._template == "auto" and bool(self._tokenizer.chat_template))
        )

    def _render(self, messages: list[Turn], generation_prompt: bool, tools: list[Any] | None = None) -> str:
        if not self._tokenizer.chat_template:
            raise UserError(
                "The preferences are messages (or preferences.template is chat), but the model's tokenizer has no chat "
                "template. Use an instruction-tuned model or set a chat template; texts can be used with "
                "`template: raw`."
            )
        calls = any(turn.get("tool_calls") for turn in messages)
        for name, used in (("tools", tools), ("tool_calls", calls)):
            if used and name not in self._written:
                way_out = (
                    "; preferences.columns: {tools: null} leaves the column out" if name == "tools" else ""
                )
                raise Refused(
                    "not shown by the chat template",
                    f"it has {name}, which the template does not use{way_out}",
                )
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tools=tools, add_generation_prompt=generation_prompt, tokenize=False
                )
            )
        except Exception as error:  # a template is a program: whatever it raises, it refuses this row
            said = (
                str(error)
                if type(error).__module__.startswith("jinja2")
                else f"{type(error).__name__}: {error}"
            )
            raise Refused("refused by the chat template", said) from error


def as_messages(row: Preference) -> Preference:
    """The row as messages, as a chat template gets it."""
    return replace(
        row,
        prompt=tuple(_messages(row.prompt, row.kind)),
        chosen=tuple(_answer(row.chosen, row.kind)),
        rejected=None if row.rejected is None else tuple(_answer(row.rejected, row.kind)),
        kind="messages",
    )


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
