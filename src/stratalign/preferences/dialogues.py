"""Turns one raw row, of any of the forms in forms.py, into a `Preference`, or says why it cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from stratalign.preferences.files import Unreadable
from stratalign.preferences.forms import Cells, recognise, recognise_prompt, says_whether
from stratalign.preferences.messages import Dialogue as Dialogue
from stratalign.preferences.messages import Refused as Refused
from stratalign.preferences.messages import as_text as as_text
from stratalign.preferences.messages import read_dialogue, read_tools, says_nothing, valid
from stratalign.preferences.settings import Format, PreferenceSettings
from stratalign.preferences.transcripts import (
    ASSISTANT,
    Turn,
    is_transcript,
    opens_as_transcript,
    part,
    spans_turns,
    turns,
)

Kind = Literal["text", "messages", "transcript"]
Sides = tuple[Dialogue, ...]
"""The response of a demonstration, or chosen and rejected."""

ACCEPTED = (
    "prompt, chosen and rejected as texts; prompt, chosen and rejected as lists of messages (role, content); "
    "chosen and rejected as lists of messages that begin with the same turns; chosen and rejected as "
    '"\\n\\nHuman: ...\\n\\nAssistant: ..." transcripts; orca_dpo_pairs, Alpaca and ShareGPT rankings, HelpSteer3, '
    "PKU-SafeRLHF. For training.loss: sft also demonstrations: prompt and response (or completion), or messages that "
    "end with a turn of the assistant"
)

PARTS = ("train", "validation", "held_out")
SPANS = "response spans several turns"
REPEATS = "response repeats the prompt"
SYSTEM = "the column system became the system message"
TOOLS = "the column tools is passed to the chat template"
WANTED = "the label is true: the response is imitated"
JOINED = "chosen and rejected repeat the end of the prompt, which is read once"
NO_PART = f"part is none of {', '.join(PARTS)}, so it is not used"

_DIFFERS = (
    "the turns before the answer in chosen and rejected do not contain the prompt; preferences.columns: "
    "{prompt: null} takes those turns alone"
)


@dataclass(frozen=True)
class Preference:
    """A prompt with the response that was preferred and the one that was not.

    A demonstration has a response to imitate, as `chosen`, and nothing rejected.

    `prompt`, `chosen` and `rejected` are texts, or tuples of messages where `kind` is "messages". Rows of one
    `cluster` open with the same human turn, or name the same cluster themselves, and must stay together. `line` is
    the row's place in its source. `part` is what the row says of where it belongs: one of `PARTS`, or nothing. `tools`
    are the schemas that the chat template gets with the messages.
    """

    row_id: str
    line: int
    prompt: Dialogue
    chosen: Dialogue
    rejected: Dialogue | None
    cluster: str
    kind: Kind
    part: str | None = None
    tools: list[Any] | None = None


@dataclass(frozen=True)
class Asked:
    """A prompt alone. `cluster` is the name that its row gives, or that of what the human said first."""

    row_id: str
    prompt: Dialogue
    kind: Kind
    cluster: str
    part: str | None = None
    tools: list[Any] | None = None


class Read(NamedTuple):
    """What a row gave: the preference, notes on it, its form, and the columns that were looked at."""

    preference: Preference
    notes: tuple[str, ...]
    form: str
    columns: tuple[str, ...]


def row_name(line: int) -> str:
    """The id of the row at a line: stable when rows are added after it."""
    return f"r{line:06d}"


def interpret(line: int, row: object, settings: PreferenceSettings) -> Read:
    """The row at a line as a preference.

    Raises:
        Refused: the row cannot be used.
    """
    form, cells, looked = recognise(_row(row), settings.columns)
    notes: list[str] = []
    plain = settings.format == "text"
    columns = [cells[side].column for side in ("chosen", "rejected") if side in cells]
    sides: Sides = tuple(
        read_dialogue(cells[side].value, cells[side].column, notes, plain=plain)
        for side in ("chosen", "rejected")
        if side in cells
    )
    if len(sides) == 1:
        if not _ends_with_an_answer(sides[0]):
            raise Refused("no assistant turn", f"{columns[0]} does not end with a turn of the assistant")
        _check_label(cells, notes)
    own = cells.get("prompt")
    given = own is not None and own.value is not None
    prompt = read_dialogue(own.value, own.column, notes, plain=plain) if own is not None and given else None
    kind, prompt, sides = _shaped(prompt, sides, settings.format, columns, notes)
    for column, response in zip(columns, sides, strict=True):
        if says_nothing(response):
            raise Refused("empty response", column)
        if kind == "messages" and response[0]["role"] != "assistant":  # type: ignore[index]
            raise Refused("not an answer", f"{column} does not begin with a turn of the assistant")
        spans = spans_turns(response) if isinstance(response, str) else len(response) > 1
        if kind != "text" and spans:
            notes.append(SPANS)
    _check_asks(prompt, kind)
    if len(sides) == 2 and _same(*sides):
        raise Refused("responses are equal")
    if isinstance(prompt, str) and all(str(side).startswith(prompt) for side in sides):
        notes.append(REPEATS)
    cluster = cluster_of(named_cluster(cells) or first_human_turn(prompt, kind))
    kind, prompt, sides, tools = _instructed(kind, prompt, sides, cells, settings, notes)
    preference = Preference(
        row_name(line),
        line,
        prompt,
        sides[0],
        sides[1] if len(sides) == 2 else None,
        cluster,
        kind,
        _part(cells, notes),
        tools,
    )
    return Read(preference, tuple(dict.fromkeys(notes)), form, looked)


def interpret_prompt(line: int, row: object, settings: PreferenceSettings) -> Asked:
    """What the row at a line asks: of a pair or a demonstration its prompt, else a column that holds a prompt alone.

    Raises:
        Refused: the row has no prompt that can be used.
    """
    cells = recognise_prompt(_row(row), settings.columns)
    if cells is None:
        found = interpret(line, row, settings).preference
        cluster = found.cluster
        if named := named_cluster(recognise(_row(row), settings.columns).cells):
            cluster = named
        return Asked(found.row_id, found.prompt, found.kind, cluster, found.part, found.tools)
    own = cells["prompt"]
    prompt = read_dialogue(own.value, own.column, [], plain=settings.format == "text")
    marked = isinstance(prompt, str) and settings.format != "text" and is_transcript(prompt)
    kind: Kind = "transcript" if marked else "text" if isinstance(prompt, str) else "messages"
    _check_asks(prompt, kind)
    cluster = named_cluster(cells) or cluster_of(first_human_turn(prompt, kind))
    kind, prompt, _, tools = _instructed(kind, prompt, (), cells, settings, [])
    return Asked(row_name(line), prompt, kind, cluster, _part(cells, []), tools)


def named_cluster(cells: Cells) -> str | None:
    """The cluster that a row names itself.

    Raises:
        Refused: it is neither a text nor a number.
    """
    named = cells["cluster"].value if "cluster" in cells else None
    if isinstance(named, int) and not isinstance(named, bool):
        return str(named)
    if named is not None and not isinstance(named, str):
        raise Refused(
            "not a cluster", f"cluster is {type(named).__name__}, neither a text nor a whole number"
        )
    return valid(named, "cluster") if named and named.strip() else None


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


def _row(row: object) -> Mapping[str, object]:
    if isinstance(row, Unreadable):
        raise Refused(row.reason, row.detail)
    if not isinstance(row, Mapping):
        raise Refused("not an object", f"got {type(row).__name__}")
    return row


def _check_asks(prompt: Dialogue, kind: Kind) -> None:
    if says_nothing(prompt):
        raise Refused("empty prompt")
    if kind == "transcript" and isinstance(prompt, str) and not turns(prompt):
        raise Refused("empty prompt", "nothing stands before the turn of the assistant")


def _part(cells: Cells, notes: list[str]) -> str | None:
    said = cells["part"].value if "part" in cells else None
    if said is not None and said not in PARTS:
        notes.append(NO_PART)
    return said if isinstance(said, str) and said in PARTS else None


def _check_label(cells: Cells, notes: list[str]) -> None:
    """Rows of KTO are single answers, of which some are marked as bad: those are nothing to imitate."""
    if "label" not in cells:
        return
    if not says_whether(cells["label"].value):
        raise Refused(
            "marked as undesirable", f"{cells['label'].column} is false, and demonstrations are imitated"
        )
    notes.append(WANTED)


def _ends_with_an_answer(response: Dialogue) -> bool:
    return isinstance(response, str) or (bool(response) and response[-1]["role"] == "assistant")


def _shaped(
    prompt: Dialogue | None, sides: Sides, form: Format, columns: Sequence[str], notes: list[str]
) -> tuple[Kind, Dialogue, Sides]:
    texts = tuple(side for side in sides if isinstance(side, str))
    if len(texts) == len(sides) and not isinstance(prompt, tuple):
        if form == "messages":
            raise Refused("not messages", "format is messages, but the responses are texts")
        return _shaped_texts(prompt, texts, form)
    if form in ("text", "transcript"):
        raise Refused("not text", f"format is {form}, but the row holds messages")
    answers = tuple(_answer(side, "text") for side in sides)
    for column, answer in zip(columns, answers, strict=True):
        if not answer:
            raise Refused("empty response", column)
    return ("messages", *_shaped_messages(prompt, answers, notes))


def _shaped_texts(prompt: str | None, sides: tuple[str, ...], form: Format) -> tuple[Kind, Dialogue, Sides]:
    """Whole transcripts are parted; answers alone follow the prompt."""
    whole = form != "text" and all(map(opens_as_transcript, sides))
    if prompt is not None and not whole:
        marked = form != "text" and is_transcript(prompt)
        if form == "transcript" and not marked:
            raise Refused("no common assistant turn", 'the prompt holds no "\\n\\nAssistant:"')
        return "transcript" if marked else "text", prompt, sides
    marked = form != "text" and any(map(is_transcript, sides))
    if not marked and form != "transcript":
        raise Refused("missing column", "prompt")
    parted = part(sides[0], sides[-1])
    if parted is None:
        raise Refused("no common assistant turn", 'no "\\n\\nAssistant:" lies in the common beginning')
    common = turns(parted.prompt)
    if prompt is not None and _joined(prompt, common, []) != common:
        raise Refused("prompt differs", _DIFFERS)
    return "transcript", parted.prompt, parted[1 : 1 + len(sides)]


def _shaped_messages(
    prompt: Dialogue | None, sides: tuple[tuple[Turn, ...], ...], notes: list[str]
) -> tuple[tuple[Turn, ...], Sides]:
    """Whole conversations are parted; lists that hold the answer alone follow the prompt."""
    if all(side[0]["role"] != "assistant" for side in sides):
        common, rest = _parted_messages(sides)
        return common if prompt is None else _joined(prompt, common, notes), rest
    if prompt is None:
        raise Refused("missing column", "prompt")
    return tuple(_opening(prompt)), sides


def _parted_messages(sides: tuple[tuple[Turn, ...], ...]) -> tuple[tuple[Turn, ...], Sides]:
    """The prompt is the longest common run of turns after which the assistant speaks on both sides."""
    chosen, rejected = sides[0], sides[-1]
    shorter = min(len(chosen), len(rejected))
    common = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
    for end in range(min(common, shorter - 1), 0, -1):
        if chosen[end]["role"] == rejected[end]["role"] == "assistant":
            return chosen[:end], tuple(side[end:] for side in sides)
    raise Refused(
        "no common assistant turn", "no turn of the assistant follows the common turns on both sides"
    )


def _joined(prompt: Dialogue, common: tuple[Turn, ...], notes: list[str]) -> tuple[Turn, ...]:
    """What comes before the answer where a prompt stands beside whole conversations: nothing of either is lost.

    Raises:
        Refused: they do not overlap.
    """
    if isinstance(prompt, str) and not is_transcript(prompt):
        contents = _squeezed("\n".join(turn["content"] for turn in common))
        if _squeezed(prompt) in contents:
            return common
    else:
        own = _opening(prompt)
        mine, theirs = [*map(_key, own)], [*map(_key, common)]
        if any(theirs[i : i + len(mine)] == mine for i in range(len(theirs) - len(mine) + 1)):
            return common
        overlap = next((n for n in range(min(len(mine), len(theirs)), 0, -1) if mine[-n:] == theirs[:n]), 0)
        if overlap:
            notes.append(JOINED)
            return (*own, *common[overlap:])
    raise Refused("prompt differs", _DIFFERS)


def _key(turn: Turn) -> tuple[str, str, str]:
    others = {key: value for key, value in turn.items() if key not in ("role", "content")}
    return turn["role"], _squeezed(turn["content"]), repr(others)


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _opening(prompt: Dialogue) -> list[Turn]:
    """A prompt as turns; a transcript as those that it marks."""
    if not isinstance(prompt, str):
        return list(prompt)
    if is_transcript(prompt):
        return list(turns(prompt))
    return [{"role": "user", "content": prompt}] if prompt.strip() else []


def _answer(response: Dialogue, kind: Kind) -> tuple[Turn, ...]:
    if not isinstance(response, str):
        return response
    if kind == "transcript":
        return turns(ASSISTANT + response)
    return ({"role": "assistant", "content": response},)


def _instructed(
    kind: Kind, prompt: Dialogue, sides: Sides, cells: Cells, settings: PreferenceSettings, notes: list[str]
) -> tuple[Kind, Dialogue, Sides, list[Any] | None]:
    """With the columns `system` and `tools`, which only a chat template can show: the row becomes messages."""
    system = cells["system"].value if "system" in cells else None
    tools = read_tools(cells["tools"].value, notes) if "tools" in cells else None
    if isinstance(system, float) and system != system:
        system = None
    if system is not None and not isinstance(system, str):
        raise Refused("not text", f"system is {type(system).__name__}, not a text")
    if not (system and system.strip()) and tools is None:
        return kind, prompt, sides, None
    if kind != "messages" and settings.template == "raw":
        column = "tools" if tools else "system"
        raise Refused(
            "needs a chat template",
            f"it has {column}, but preferences.template is raw; set it to chat, or leave the column out with "
            f"preferences.columns: {{{column}: null}}",
        )
    whole = _opening(prompt)
    if kind == "text":
        whole = [{"role": "user", "content": prompt}]
    if system and system.strip():
        if not whole or whole[0]["role"] != "system":
            whole.insert(0, {"role": "system", "content": valid(system, "system")})
            notes.append(SYSTEM)
        elif _squeezed(whole[0]["content"]) != _squeezed(system):
            raise Refused("two system messages", "the column system and the first message differ")
    if tools is not None:
        notes.append(TOOLS)
    return "messages", tuple(whole), tuple(_answer(side, kind) for side in sides), tools


def _same(one: Dialogue, other: Dialogue) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.strip() == other.strip()
    return one == other
