"""A study's chat template: which rows it renders, which template it is, with which arguments, and what it does to a
turn of the assistant. All settled once, from the rows, the recipe and the tokenizer."""

from __future__ import annotations

import datetime
import json
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stratalign.errors import UserError
from stratalign.preferences.dialogues import Asked, Preference
from stratalign.preferences.rendering import Tokenizer
from stratalign.preferences.settings import PreferenceSettings
from stratalign.preferences.trees import shared


def settle_template(
    settings: PreferenceSettings, rows: Sequence[Preference | Asked], tokenizer: Tokenizer
) -> PreferenceSettings:
    """The settings with `template: auto` replaced by what it comes to: chat where the tokenizer has a chat template and
    the rows are not rendered already, else raw. It stays where every row is messages, which are always rendered."""
    if settings.template != "auto" or not _texts(rows):
        return settings
    chat = tokenizer.chat_template and rendered_by(rows, tokenizer) is None
    return settings.model_copy(update={"template": "chat" if chat else "raw"})


def describe_template(
    settings: PreferenceSettings,
    rows: Sequence[Preference | Asked],
    tokenizer: Tokenizer,
    habits: Habits | None = None,
) -> dict[str, Any]:
    """What is used for texts and transcripts (chat where there are only messages), whether the tokenizer has a chat
    template, the special token that shows that the rows are rendered already, and what the template does."""
    settled = settle_template(settings, rows, tokenizer)
    raw = settled.template == "raw" and bool(_texts(rows))
    begin = tokenizer.bos_token if raw else None
    return {
        "used": "raw" if raw else "chat",
        "begin_token": begin,
        "begun": sum(text.startswith(begin) for text in _texts(rows)) if begin else 0,
        "available": bool(tokenizer.chat_template),
        "rendered_by": rendered_by(rows, tokenizer),
        "date": settings.date,
        "habits": None if habits is None else asdict(habits),
    }


@dataclass(frozen=True)
class Habits:
    """What a chat template does around the assistant's answer, as seen on a short conversation.

    `added` is the opening of the assistant's turn that the template lacks and that was added to it. Where generation
    starts from other text than trained answers follow, `asked` and `trained` are what only the one and only the other
    has.
    """

    added: str = ""
    asked: str = ""
    trained: str = ""


def prepare_template(tokenizer: Any, settings: PreferenceSettings) -> Habits | None:
    """Make the tokenizer render as the study wants it: with the chosen template, the recipe's arguments and one date,
    and with the assistant's turn opened where generation starts. None where it has no chat template.

    Raises:
        UserError: the template that is named is not there, cannot be compiled, or opens a turn of the assistant after
            every conversation.
    """
    template = _chosen(tokenizer.chat_template, settings.chat_template)
    if not template:
        return None
    if settings.date is not None:
        template = _fixed_clock(settings.date) + template
    tokenizer.chat_template = template
    stock = type(tokenizer).apply_chat_template

    def apply_chat_template(conversation: Any, **given: Any) -> Any:
        with _limited(RENDERING_LIMIT):
            return stock(tokenizer, conversation, **{**settings.chat_template_kwargs, **given})

    tokenizer.apply_chat_template = apply_chat_template
    habits = _habits(tokenizer)
    if habits.added:
        opening = "{{ " + json.dumps(habits.added, ensure_ascii=False) + " }}"
        tokenizer.chat_template = (
            template.removesuffix("\n") + "{% if add_generation_prompt %}" + opening + "{% endif %}"
        )
    return habits


def writes_the_date(tokenizer: Tokenizer, settings: PreferenceSettings) -> bool:
    """Whether the study's chat template asks for the present time."""
    return "strftime_now" in (_chosen(tokenizer.chat_template, settings.chat_template) or "")


def _fixed_clock(date: str) -> str:
    """A macro, for the line before a template, that takes the place of its `strftime_now`: midnight of that day.
    transformers hands no functions to a template."""
    day = datetime.datetime.fromisoformat(date)
    codes = (*(f"%{letter}" for letter in "aAbBcdDeFgGHIjmMpSuUVwWxXyYzZ"), "%-d", "%-m", "%-j")
    filled = "".join(f" | replace({json.dumps(code)}, {json.dumps(day.strftime(code))})" for code in codes)
    return f"{{% macro strftime_now(format) %}}{{{{ format{filled} }}}}{{% endmacro %}}\n"


RENDERING_LIMIT = 10.0
"""Processor seconds that a template may take for one row."""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError once the block has used so much of the processor; only where a signal can reach it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"it took more than {seconds:g} seconds of processor time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _chosen(template: Any, name: str | None) -> str | None:
    """The template that the recipe names, of the tokenizer's own or in a file; else the tokenizer's default."""
    named = template if isinstance(template, dict) else {"default": template} if template else {}
    if name is None:
        if named and "default" not in named:
            raise UserError(
                f"The tokenizer has the chat templates {', '.join(sorted(named))}, and none of them is the default. "
                f"Choose one, such as preferences.chat_template: {min(named)}, or give a .jinja file."
            )
        return named.get("default")
    if name in named:
        return str(named[name])
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        known = f"Its templates: {', '.join(sorted(named))}." if named else "It has none of its own."
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "not UTF-8 text"
        raise UserError(
            f"preferences.chat_template: {name!r} is neither a chat template of the tokenizer nor a file that can be "
            f"read ({reason}). {known}"
        ) from None


QUESTION, ANSWERS, FURTHER = "Which of them?", ("Alpha.", "Zulu."), "Why is it so?"


def _habits(tokenizer: Tokenizer) -> Habits:
    from jinja2 import TemplateSyntaxError

    def shown(*texts: str, opened: bool = False) -> str:
        roles = ("user", "assistant", "user")
        turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
        return str(tokenizer.apply_chat_template(turns, add_generation_prompt=opened, tokenize=False))

    try:
        closed, asked = shown(QUESTION), shown(QUESTION, opened=True)
        answered = [shown(QUESTION, answer) for answer in ANSWERS]
        longer = shown(QUESTION, ANSWERS[0], FURTHER)
    except TemplateSyntaxError as error:
        raise UserError(
            f"The chat template cannot be compiled ({error.message}, near "
            f"{_quoted(_line(tokenizer.chat_template, error.lineno))}). Correct it, or give another: "
            "preferences.chat_template: FILE.jinja."
        ) from None
    except Exception:  # noqa: BLE001 - of a template that wants other conversations; its rows say what is wrong with them
        return Habits()
    ends = [text.partition(ANSWERS[0])[2] for text in (answered[0], longer)]
    if not all(ANSWERS[0] in text for text in (answered[0], longer)):
        return Habits()
    trained = answered[0][: shared(*answered)]
    pieces = [re.findall(r"<[^<>\s]*>|.", text, re.DOTALL) for text in (asked, trained)]  # a token is not cut
    both = len("".join(pieces[0][: shared(*pieces)]))
    missing = trained[len(closed) :] if trained.startswith(closed) else ""
    opened = trained.rstrip() == closed.rstrip() or "assistant" in ends[0].casefold()
    if closed == asked and opened and not ends[1].startswith(ends[0]):
        raise UserError(
            f"The chat template opens a turn of the assistant after every conversation, asked or not: an answer is "
            f"followed by {_quoted(ends[0])}, which would be trained. Give a template that opens it only where "
            "add_generation_prompt is set: preferences.chat_template: FILE.jinja."
        )
    if closed == asked and missing.strip():
        return Habits(added=missing)
    only_asked, only_trained = asked[both:], trained[both:]
    if only_asked.strip() or only_trained.strip():
        return Habits(asked=only_asked, trained=only_trained)
    return Habits()


def _line(text: str, number: int) -> str:
    """The beginning of a line, counted from 1."""
    return (text.splitlines() or [""])[number - 1][:80]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def rendered_by(rows: Sequence[Preference | Asked], tokenizer: Tokenizer) -> str | None:
    """A special token that the chat template writes and that stands in at least half of the prompts that are texts."""
    texts, template = _texts(rows), tokenizer.chat_template
    if not template or not texts:
        return None
    written = template if isinstance(template, str) else json.dumps(template, ensure_ascii=False)
    special = {
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special and token.content in written
    }
    if not special:
        return None
    pattern = re.compile("|".join(map(re.escape, sorted(special))))
    found = [match[0] for text in texts if (match := pattern.search(text))]
    return found[0] if 2 * len(found) >= len(texts) else None


def _texts(rows: Sequence[Preference | Asked]) -> list[str]:
    return [row.prompt for row in rows if isinstance(row.prompt, str)]
