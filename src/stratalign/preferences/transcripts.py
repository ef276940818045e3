r"""Dialogues written as one text: "\n\nHuman: ...\n\nAssistant: ...", the form of Anthropic's hh-rlhf.

Finds turns and the place where two transcripts part. Knows nothing of rows, files or tokens.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"

Turn = dict[str, Any]
"""One message: {"role": ..., "content": ...}, two texts; beside them what a chat template may use, as JSON values."""

_MARKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


class Parted(NamedTuple):
    """A shared prompt that ends in the assistant's marker, and what each transcript says after it."""

    prompt: str
    chosen: str
    rejected: str


def is_transcript(text: str) -> bool:
    """Whether an assistant's turn is marked in the text."""
    return ASSISTANT in text


def opens_as_transcript(text: str) -> bool:
    """Whether the text begins with a human turn, and an assistant's turn follows."""
    return text.lstrip().startswith(HUMAN.lstrip()) and is_transcript(text)


def part(chosen: str, rejected: str) -> Parted | None:
    """Split two transcripts after the last assistant's marker that lies wholly in their common beginning.

    None when there is no such marker. Unlike the longest common run of characters (TRL's rule), the prompt
    never runs into first words that both responses share.
    """
    shorter = min(len(chosen), len(rejected))
    common = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
    marker = chosen.rfind(ASSISTANT, 0, common)
    if marker < 0:
        return None
    end = marker + len(ASSISTANT)
    return Parted(chosen[:end], chosen[end:], rejected[end:])


def turns(text: str) -> tuple[Turn, ...]:
    """A transcript as messages, contents stripped; a last assistant's turn that is still empty is left out.

    Text before the first marker becomes a system message.
    """
    marks = list(_MARKER.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    found = [
        {"role": _ROLES[mark[1]], "content": text[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
    if found and found[-1] == {"role": "assistant", "content": ""}:
        found.pop()
    preamble = text[: marks[0].start()].strip() if marks else text.strip()
    return tuple([{"role": "system", "content": preamble}, *found] if preamble else found)


def spans_turns(response: str) -> bool:
    """Whether a response goes on with another human turn."""
    return HUMAN in response
