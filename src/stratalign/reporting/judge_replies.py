"""Which models a judge's replies came from, as its server named them, beside the model that was asked. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stratalign.reporting.numbers import plain

DATE = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{6}|\d{4})")
"""What a dated snapshot's name has after that of its alias: gpt-x-2026-01-01 and gpt-x."""


@dataclass(frozen=True)
class Named:
    """A model as the server named it, None where it named none, and how many replies came from it."""

    model: str | None
    replies: int


@dataclass(frozen=True)
class JudgeReplies:
    """One judge of a study: which model was asked, which answered, and the same in words.

    `as_asked` says that every name is that of the model that was asked, or of one dated snapshot of it.
    """

    asked: str
    answered: tuple[Named, ...]
    as_asked: bool
    words: str


def judge_replies(judges: Iterable[Mapping[str, Any]]) -> tuple[JudgeReplies, ...]:
    """Of every language model in judges.json that has given a reply, in their order."""
    found = []
    for judge in judges:
        answered = tuple(Named(one["model"], one["replies"]) for one in judge.get("answered") or ())
        if answered:
            asked = str(judge["model"])
            first, *rest = (
                (one.model or "a model that the server does not name", one.replies) for one in answered
            )
            words = f"{asked} was asked; {first[0]} answered {plain(first[1])}"
            words += "".join(f", {model} {plain(count)}" for model, count in rest)
            found.append(JudgeReplies(asked, answered, _as_asked(asked, answered), f"{words}."))
    return tuple(found)


def _as_asked(asked: str, answered: Iterable[Named]) -> bool:
    others = {one.model for one in answered if one.model} - {asked}
    alias = asked.removesuffix("-latest")
    dated = all(name.startswith(alias) and DATE.fullmatch(name[len(alias) :]) for name in others)
    return dated and len(others) <= 1
