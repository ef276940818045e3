"""Reads a cell of a row as a dialogue: a text, or messages in the spellings that people use.

Messages may have `role` and `content` or ShareGPT's `from` and `value`, come as JSON text, hold their content in parts,
or carry more keys, such as tool calls; what is changed on the way is noted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from stratalign.preferences.transcripts import Turn

Dialogue = str | tuple[Turn, ...]

FROM_VALUE = "messages with from and value were read as role and content"
ROLES_RENAMED = "roles were renamed to user, assistant and tool"
JSON_TEXT = "messages given as JSON text were read as messages"
PARTS_JOINED = "content given as a list of text parts was joined"
MORE_KEYS = "message keys other than role and content are passed to the chat template"
NOT_JSON = "message keys whose value JSON cannot hold were left out"
NULLS = "null values inside tools and message keys were left out"

DEEPEST = 100
"""Levels of nesting that tools and message keys may have."""

_ROLES = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function_response": "tool",
} | {role: role for role in ("user", "assistant", "system", "tool", "developer", "function_call")}

_CALLS = ("tool_calls", "function_call")
"""Keys that say something where the content is empty."""


class Refused(Exception):  # noqa: N818 - a verdict on one row, not an error of the program
    """A row that cannot be used: one of a few fixed reasons, and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason
        self.detail = detail


class _Unlike(Exception):  # noqa: N818 - handled here
    """A value that JSON cannot hold."""


def read_dialogue(value: object, column: str, notes: list[str], *, plain: bool = False) -> Dialogue:
    """The text or the messages of a cell; what was changed is added to `notes`.

    Args:
        value: the cell.
        column: its column, for messages.
        notes: where notes go.
        plain: leave texts alone that hold messages as JSON.

    Raises:
        Refused: it is neither a text nor messages.
    """
    if isinstance(value, str):
        found = None if plain else _from_json(value, column)
        if found is None:
            return valid(value, column)
        notes.append(JSON_TEXT)
        value = found
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise Refused(
            "not text", f"{column} is {type(value).__name__}, neither a text nor a list of messages"
        )
    return tuple(_turn(message, column, notes) for message in value)


def read_tools(value: object, notes: list[str]) -> list[Any] | None:
    """The schemas of a column `tools`, which may be JSON text; None where there are none.

    Raises:
        Refused: it is not a list of schemas.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Refused("not tools", "tools is a text that is not JSON") from None
    if not value:
        return None
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, Sequence) or not all(isinstance(tool, Mapping) for tool in value):
        raise Refused("not tools", f"tools is {type(value).__name__}, not a list of JSON schemas")
    try:
        return [_json(tool, "tools", notes) for tool in value]
    except _Unlike as error:
        raise Refused("not tools", f"tools holds {error}, which JSON cannot") from None


def valid(text: str, column: str) -> str:
    """The text; JSON may spell half of a surrogate pair, which no file or tokenizer can hold.

    Raises:
        Refused: it is such a text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused("not text", f"{column} is not valid Unicode") from None
    return text


def says_nothing(dialogue: Dialogue) -> bool:
    """Whether it holds white space alone, and no tool calls."""
    if isinstance(dialogue, str):
        return not dialogue.strip()
    return not any(turn["content"].strip() or any(turn.get(key) for key in _CALLS) for turn in dialogue)


def as_text(dialogue: Dialogue) -> str:
    """A dialogue as reports and judges show it; tool calls as JSON."""
    if isinstance(dialogue, str):
        return dialogue
    return "\n\n".join(f"{turn['role']}: {_said(turn)}" for turn in dialogue)


def _said(turn: Turn) -> str:
    calls = [json.dumps(turn[key], ensure_ascii=False) for key in _CALLS if turn.get(key)]
    return "\n".join(filter(None, [turn["content"], *calls]))


def _from_json(text: str, column: str) -> list[Any] | None:
    """The messages that a text holds as JSON; None of any other text."""
    start = text.lstrip()[:12].replace(" ", "")
    if start.startswith(("[{'role'", "[{'from'", "[{'conten", "[{'value'")):
        raise Refused("not text", f"{column} holds messages as Python prints them; write them as JSON")
    if not start.startswith(("[{", '{"')):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    messages = found if isinstance(found, list) else [found]
    spelled = all(
        isinstance(one, Mapping) and ({"role", "content"} <= one.keys() or {"from", "value"} <= one.keys())
        for one in messages
    )
    return messages if spelled else None


def _turn(message: object, column: str, notes: list[str]) -> Turn:
    if not isinstance(message, Mapping):
        raise Refused("not text", f"{column} holds {type(message).__name__} in place of a message")
    given = {str(key): value for key, value in message.items() if value is not None}
    if "role" not in given and "from" in given:
        notes.append(FROM_VALUE)
        given = {{"from": "role", "value": "content"}.get(key, key): value for key, value in given.items()}
    role, content = given.pop("role", None), given.pop("content", None)
    if not isinstance(role, str) or not role.strip():
        raise Refused("not text", f"a message of {column} has no role that is text")
    known = _ROLES.get(role.strip().casefold(), valid(role, column))
    if known == "function_call":
        given["tool_calls"], content = [_call(content, column)], ""
        known = "assistant"
    if known != role:
        notes.append(ROLES_RENAMED)
    turn = {"role": known, "content": _content(content, given, column, notes)}
    for key, value in given.items():
        try:
            turn[valid(key, column)] = _json(value, column, notes)
        except _Unlike:
            notes.append(NOT_JSON)
            continue
        notes.append(MORE_KEYS)
    return turn


def _call(content: object, column: str) -> dict[str, Any]:
    """ShareGPT's function call, a JSON text with name and arguments, as a tool call."""
    try:
        call = json.loads(content) if isinstance(content, str) else content
    except (ValueError, RecursionError):
        call = None
    if not isinstance(call, Mapping) or "name" not in call:
        raise Refused("not text", f"a function_call of {column} is not JSON with name and arguments")
    return {"type": "function", "function": dict(call)}


def _content(content: object, others: Mapping[str, object], column: str, notes: list[str]) -> str:
    if isinstance(content, str):
        return valid(content, column)
    if content is None and any(others.get(key) for key in _CALLS):
        return ""
    if not isinstance(content, Sequence) or isinstance(content, bytes):
        raise Refused("not text", f"a message of {column} has no content that is text")
    texts = []
    for each in content:
        text = each.get("text") if isinstance(each, Mapping) else each
        kind = each.get("type", "text") if isinstance(each, Mapping) else "text"
        if kind != "text" or not isinstance(text, str):
            named = kind if isinstance(kind, str) else type(kind).__name__
            raise Refused(
                "not text", f"a message of {column} has a part of type {named!r}: only text is read"
            )
        texts.append(valid(text, column))
    notes.append(PARTS_JOINED)
    return "".join(texts)


def _json(value: object, column: str, notes: list[str], depth: int = 0) -> Any:
    """The value as JSON gives it back, without nulls inside, which tables put where a row lacks a key."""
    if depth > DEEPEST:
        raise Refused("not text", f"{column} is nested more than {DEEPEST} levels deep")
    if isinstance(value, str):
        return valid(value, column)
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unlike(str(value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        if any(own is None for own in value.values()):
            notes.append(NULLS)
        return {
            valid(str(key), column): _json(own, column, notes, depth + 1)
            for key, own in value.items()
            if own is not None
        }
    if isinstance(value, (list, tuple)):
        return [_json(own, column, notes, depth + 1) for own in value]
    raise _Unlike(type(value).__name__)
