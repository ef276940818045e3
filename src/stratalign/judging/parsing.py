"""A judge's reply to scores, strictly: a reply is exactly valid or it gives no score at all.

The whole reply is a JSON array of {"dimension", "score", "reason"}, or {"scores": that array}, optionally inside one
fence of three backticks. Nothing is searched for, repaired or filled in: what a parser finds in a longer text may be
the judge quoting the response. Knows nothing of prompts, servers or what the scores mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

JSON_SPACE = " \t\r\n"
FENCED = re.compile(r"```(?:json)?[ \t]*\r?\n(.*)\r?\n[ \t]*```", re.DOTALL | re.IGNORECASE)
ENTRY_KEYS = ("dimension", "score", "reason")


class InvalidReply(ValueError):  # noqa: N818 - a reply that is no judgement, not an error of the program
    """The reply is no judgement; the message is the reason."""


def read_reply(
    reply: str, dimensions: Sequence[str], scale: tuple[int, int], shown: Iterable[str] = ()
) -> dict[str, int]:
    """The score of each dimension, in the protocol's order.

    Args:
        reply: the judge's whole reply.
        dimensions: names that must each occur exactly once.
        scale: lowest and highest score.
        shown: texts that the judge was shown. A reply whose array stands in one of them, white space aside, is a
            copy and no judgement.

    Raises:
        InvalidReply: the reply is anything else than exactly valid.
    """
    text = _unfenced(reply.strip(JSON_SPACE))
    scores: dict[str, int] = {}
    for number, entry in enumerate(_entries(_parsed(text)), 1):
        name, score = _entry(entry, number, dimensions, scale)
        if name in scores:
            raise InvalidReply(f"{name} is scored twice")
        scores[name] = score
    missing = [name for name in dimensions if name not in scores]
    if missing:
        raise InvalidReply(f"no score for {', '.join(missing)}")
    copied = _squeezed(text)
    if copied.startswith("{"):
        copied = copied[copied.index(":") + 1 : -1]
    if any(copied in _squeezed(one) for one in shown):
        raise InvalidReply("the reply is a copy of text that the judge was shown")
    return {name: scores[name] for name in dimensions}


def _unfenced(text: str) -> str:
    """The inside of the one fence that encloses the whole reply, if it begins with one."""
    if not text.startswith("```"):
        return text
    fence = FENCED.fullmatch(text)
    if fence is None:
        raise InvalidReply("the reply begins with a fence that does not enclose all of it")
    return fence[1].strip(JSON_SPACE)


def _parsed(text: str) -> Any:
    if not text:
        raise InvalidReply("the reply is empty")
    if text[0] not in "[{":
        raise InvalidReply(f"the reply is not JSON alone: it begins with {_excerpt(text)}")
    try:
        return json.loads(text, object_pairs_hook=_without_doubles, parse_constant=_refused_constant)
    except InvalidReply:
        raise
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            raise InvalidReply(f"text follows the JSON: {_excerpt(text[error.pos :])}") from None
        raise InvalidReply(f"not JSON: {error.msg} at character {error.pos}") from None
    except ValueError:  # a number with thousands of digits
        raise InvalidReply("not JSON that can be read: a number is too long") from None
    except RecursionError:
        raise InvalidReply("not JSON that can be read: nested too deep") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidReply("a JSON object has a key twice")
    return found


def _refused_constant(name: str) -> Any:
    raise InvalidReply(f"{name} is not JSON")


def _entries(value: Any) -> list[Any]:
    if isinstance(value, dict):
        if list(value) != ["scores"]:
            raise InvalidReply('the object must have the one key "scores"')
        value = value["scores"]
    if not isinstance(value, list):
        raise InvalidReply(f"the scores must be an array, got {_excerpt(value)}")
    return value


def _entry(entry: Any, number: int, dimensions: Sequence[str], scale: tuple[int, int]) -> tuple[str, int]:
    """Name and score of the array's entry with this number, counted from 1."""
    if not isinstance(entry, dict):
        raise InvalidReply(f"entry {number} must be an object, got {_excerpt(entry)}")
    for key in entry:
        if key not in ENTRY_KEYS:
            raise InvalidReply(f"entry {number} has the unknown key {_excerpt(key)}")
    for key in ("dimension", "score"):
        if key not in entry:
            raise InvalidReply(f'entry {number} has no "{key}"')
    name, score = entry["dimension"], entry["score"]
    if not isinstance(name, str) or name not in dimensions:
        raise InvalidReply(f"entry {number} has the unknown dimension {_excerpt(name)}")
    if not isinstance(entry.get("reason", ""), str):
        raise InvalidReply(f"the reason for {name} must be text, got {_excerpt(entry['reason'])}")
    low, high = scale
    # bool is an int in Python, and 4.0 equals 4.
    if type(score) is not int or not low <= score <= high:
        raise InvalidReply(
            f"the score of {name} must be an integer from {low} to {high}, got {_excerpt(score)}"
        )
    return name, score


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _excerpt(value: Any) -> str:
    """A value in a message: short, on one line, and never a nested one."""
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return ascii(value if len(value) <= 32 else value[:32] + "...")
    text = json.dumps(value)
    return text if len(text) <= 32 else text[:32] + "..."
