"""Turns one raw row, of any of the accepted forms, into a `Preference`, or says why it cannot.

Knows nothing of where rows come from, of splits or of tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stratalign.preferences.settings import Format
from stratalign.preferences.sources import Unreadable
from stratalign.preferences.transcripts import Turn, is_transcript, part, spans_turns, turns

Kind = Literal["text", "messages", "transcript"]
Dialogue = str | tuple[Turn, ...]

ACCEPTED = (
    "prompt, chosen and rejected as texts; prompt, chosen and rejected as lists of messages (role, content); "
    "chosen and rejected as lists of messages that begin with the same turns; or chosen and rejected as "
    '"\\n\\nHuman: ...\\n\\nAssistant: ..." transcripts. For training.loss: sft also demonstrations: prompt and '
    "response (or completion), or messages that end with a turn of the assistant"
)

DEMONSTRATED = ("response", "completion", "messages")
"""Columns that hold a response to imitate, in a row that has neither chosen nor rejected."""

PARTS = ("train", "validation", "held_out")
SPANS = "response spans several turns"
REPEATS = "response repeats the prompt"
EXTRA_KEYS = "message keys other than role and content are ignored"


@dataclass(frozen=True)
class Preference:
    """A prompt with the response that was preferred and the one that was not.

    A demonstration has a response to imitate, as `chosen`, and nothing rejected.

    `prompt`, `chosen` and `rejected` are texts, or tuples of messages where `kind` is "messages". Rows of one
    `cluster` open with the same human turn, or name the same cluster themselves, and must stay together. `line` is
    the row's place in its source. `part` is what the row says of where it belongs: one of `PARTS`, or nothing.
    """

    row_id: str
    line: int
    prompt: Dialogue
    chosen: Dialogue
    rejected: Dialogue | None
    cluster: str
    kind: Kind
    part: str | None = None


@dataclass(frozen=True)
class Asked:
    """A prompt alone. `cluster` is the name that its row gives, or that of what the human said first."""

    row_id: str
    prompt: Dialogue
    kind: Kind
    cluster: str
    part: str | None = None


class Refused(Exception):  # noqa: N818 - a verdict on one row, not an error of the program
    """A row that cannot be used: one of a few fixed reasons, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


def as_text(dialogue: Dialogue) -> str:
    """A prompt as reports show it."""
    if isinstance(dialogue, str):
        return dialogue
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in dialogue)


def row_name(line: int) -> str:
    """The id of the row at a line: stable when rows are added after it."""
    return f"r{line:06d}"


def interpret(line: int, row: object, form: Format = "auto") -> tuple[Preference, tuple[str, ...]]:
    """The row at a line as a preference, with the notes that it deserves.

    Raises:
        Refused: the row cannot be used.
    """
    if isinstance(row, Unreadable):
        raise Refused("not JSON", row.detail)
    if not isinstance(row, Mapping):
        raise Refused("not an object", f"got {type(row).__name__}")
    demonstrated = _demonstrated(row)
    columns = ("chosen", "rejected") if demonstrated is None else (demonstrated,)
    for column in columns:
        if row.get(column) is None:
            raise Refused("missing column", column)
    notes: list[str] = []
    chosen, rejected = (_dialogue(row[column], column, notes) for column in (columns[0], columns[-1]))
    if demonstrated is not None and not _ends_with_an_answer(chosen):
        raise Refused("no assistant turn", f"{demonstrated} does not end with a turn of the assistant")
    whole = row.get("prompt") is None or demonstrated == "messages"
    prompt = None if whole else _dialogue(row["prompt"], "prompt", notes)
    kind, prompt, chosen, rejected = _shaped(prompt, chosen, rejected, form)
    for column, response in zip(columns, (chosen, rejected), strict=False):
        if _is_blank(response):
            raise Refused("empty response", column)
        if kind == "transcript" and isinstance(response, str) and spans_turns(response):
            notes.append(SPANS)
        if kind == "messages" and len(response) > 1:
            notes.append(SPANS)
    if _is_blank(prompt):
        raise Refused("empty prompt")
    if demonstrated is None and _same(chosen, rejected):
        raise Refused("responses are equal")
    if isinstance(prompt, str) and str(chosen).startswith(prompt) and str(rejected).startswith(prompt):
        notes.append(REPEATS)
    said = row.get("part")
    preference = Preference(
        row_name(line),
        line,
        prompt,
        chosen,
        rejected if demonstrated is None else None,
        cluster_of(named_cluster(row) or first_human_turn(prompt, kind)),
        kind,
        said if said in PARTS else None,
    )
    return preference, tuple(dict.fromkeys(notes))


def interpret_prompt(line: int, row: object, form: Format = "auto") -> Asked:
    """What the row at a line asks: of a pair or a demonstration its prompt, else its column `prompt`.

    Raises:
        Refused: the row has no prompt that can be used.
    """
    if not isinstance(row, Mapping) or _demonstrated(row) or "chosen" in row or "rejected" in row:
        preference, _ = interpret(line, row, form)
        asked, kind, said = preference.prompt, preference.kind, preference.part
    else:
        if row.get("prompt") is None:
            raise Refused("missing column", "prompt")
        asked, said = _dialogue(row["prompt"], "prompt", []), row.get("part")
        if _is_blank(asked):
            raise Refused("empty prompt")
        marked = isinstance(asked, str) and form != "text" and is_transcript(asked)
        kind = "transcript" if marked else "text" if isinstance(asked, str) else "messages"
    cluster = (named_cluster(row) if isinstance(row, Mapping) else None) or cluster_of(
        first_human_turn(asked, kind)
    )
    return Asked(row_name(line), asked, kind, cluster, said if said in PARTS else None)


def named_cluster(row: Mapping[str, object]) -> str | None:
    """The cluster that a row names itself."""
    named = row.get("cluster")
    return named if isinstance(named, str) and named.strip() else None


def _demonstrated(row: Mapping[str, object]) -> str | None:
    """The column whose response is to be imitated; None in a row that names chosen or rejected, or holds nothing."""
    if row.get("chosen") is not None or row.get("rejected") is not None:
        return None
    return next((column for column in DEMONSTRATED if row.get(column) is not None), None)


def _ends_with_an_answer(response: Dialogue) -> bool:
    return isinstance(response, str) or (bool(response) and response[-1]["role"] == "assistant")


def first_human_turn(prompt: Dialogue, kind: Kind) -> str:
    """What the human said first; the whole prompt where no human turn is marked."""
    if isinstance(prompt, str):
        messages = turns(prompt) if kind == "transcript" else ()
        whole = prompt
    else:
        messages = prompt
        whole = "\n".join(turn["content"] for turn in prompt)
    return next((turn["content"] for turn in messages if turn["role"] == "user"), whole)


def cluster_of(text: str) -> str:
    """The name of a cluster: 12 hexadecimal digits of SHA-256, blind to case and white space."""
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).hexdigest()[:12]


def _dialogue(value: object, column: str, notes: list[str]) -> Dialogue:
    if isinstance(value, str):
        return _valid(value, column)
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise Refused(
            "not text", f"{column} is {type(value).__name__}, neither a text nor a list of messages"
        )
    messages = []
    for message in value:
        if not isinstance(message, Mapping):
            raise Refused("not text", f"{column} holds {type(message).__name__} in place of a message")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not isinstance(content, str):
            raise Refused("not text", f"a message of {column} lacks a role or a content that is text")
        if any(other is not None for key, other in message.items() if key not in ("role", "content")):
            notes.append(EXTRA_KEYS)
        messages.append({"role": _valid(role, column), "content": _valid(content, column)})
    return tuple(messages)


def _valid(text: str, column: str) -> str:
    """JSON may spell half of a surrogate pair, which no file or tokenizer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("not text", f"{column} is not valid Unicode") from None
    return text


def _shaped(
    prompt: Dialogue | None, chosen: Dialogue, rejected: Dialogue, form: Format
) -> tuple[Kind, Dialogue, Dialogue, Dialogue]:
    texts = isinstance(chosen, str) and isinstance(rejected, str)
    if form == "messages" and texts and not isinstance(prompt, tuple):
        raise Refused("not messages", "format is messages, but the responses are texts")
    if form in ("text", "transcript") and not (texts and not isinstance(prompt, tuple)):
        raise Refused("not text", f"format is {form}, but the row holds messages")
    if isinstance(chosen, str) and isinstance(rejected, str) and not isinstance(prompt, tuple):
        return _shaped_texts(prompt, chosen, rejected, form)
    return ("messages", *_shaped_messages(prompt, _answer(chosen), _answer(rejected)))


def _shaped_texts(
    prompt: str | None, chosen: str, rejected: str, form: Format
) -> tuple[Kind, Dialogue, Dialogue, Dialogue]:
    if prompt is not None:
        marked = form != "text" and is_transcript(prompt)
        if form == "transcript" and not marked:
            raise Refused("no common assistant turn", 'the prompt holds no "\\n\\nAssistant:"')
        return "transcript" if marked else "text", prompt, chosen, rejected
    marked = form != "text" and (is_transcript(chosen) or is_transcript(rejected))
    if not marked and form != "transcript":
        raise Refused("missing column", "prompt")
    parted = part(chosen, rejected)
    if parted is None:
        raise Refused("no common assistant turn", 'no "\\n\\nAssistant:" lies in the common beginning')
    return ("transcript", *parted)


def _shaped_messages(
    prompt: Dialogue | None, chosen: tuple[Turn, ...], rejected: tuple[Turn, ...]
) -> tuple[tuple[Turn, ...], tuple[Turn, ...], tuple[Turn, ...]]:
    """Whole conversations are parted; lists that hold the answer alone follow the prompt."""
    whole = all(side and side[0]["role"] != "assistant" for side in (chosen, rejected))
    if whole:
        return _parted_messages(chosen, rejected)
    if prompt is None:
        raise Refused("missing column", "prompt")
    if isinstance(prompt, str):
        prompt = ({"role": "user", "content": prompt},) if prompt.strip() else ()
    return prompt, chosen, rejected


def _parted_messages(
    chosen: tuple[Turn, ...], rejected: tuple[Turn, ...]
) -> tuple[tuple[Turn, ...], tuple[Turn, ...], tuple[Turn, ...]]:
    """The prompt is the longest common run of turns after which the assistant speaks on both sides."""
    shorter = min(len(chosen), len(rejected))
    common = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
    for end in range(min(common, shorter - 1), 0, -1):
        if chosen[end]["role"] == rejected[end]["role"] == "assistant":
            return chosen[:end], chosen[end:], rejected[end:]
    raise Refused(
        "no common assistant turn", "no turn of the assistant follows the common turns on both sides"
    )


def _answer(response: Dialogue) -> tuple[Turn, ...]:
    return ({"role": "assistant", "content": response},) if isinstance(response, str) else response


def _is_blank(dialogue: Dialogue) -> bool:
    if isinstance(dialogue, str):
        return not dialogue.strip()
    return not any(turn["content"].strip() for turn in dialogue)


def _same(one: Dialogue, other: Dialogue) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    return one == other
