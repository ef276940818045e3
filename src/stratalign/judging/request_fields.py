"""What a recipe may add to a judge's requests, and from which environment variables a key may come."""

from __future__ import annotations

import math
import re
from typing import Any

FIXED = {
    "messages": "the protocol says it",
    "model": "judge.model says it",
    "models": "judge.model says it",
    "fallbacks": "judge.model says it",
    "temperature": "judge.temperature says it",
    "response_format": "judge.response_format says it",
    "max_tokens": "judge.max_tokens says it",
    "max_completion_tokens": "judge.max_tokens says it",
    "n": "one reply is read; judge.repeats asks several times",
    "best_of": "one reply is read; judge.repeats asks several times",
    "stream": "replies are read whole",
    "stream_options": "replies are read whole",
}
"""Fields of a request that stratalign sets, or that would make the record of a judgement untrue; and why."""

DEEPEST = 20
MOST = 10_000
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_variable(name: str | None) -> str | None:
    """A recipe from elsewhere must not be able to send any variable of the environment to any server."""
    if name is not None and not (_VARIABLE.fullmatch(name) and name.upper().endswith(("KEY", "TOKEN"))):
        raise ValueError(
            "the name of an environment variable that is sent to a server must end in KEY or TOKEN, such as "
            f"JUDGE_API_KEY, got {name!r}"
        )
    return name


def check_fields(given: Any) -> Any:
    """Fields that can be sent as JSON, and none that is set elsewhere."""
    if not isinstance(given, dict):
        return given  # its type is checked next
    for name in given:
        key = str(name).strip().casefold()
        if key in FIXED:
            raise ValueError(f"extra_body may not set {key}: {FIXED[key]}")
    _check(given, "extra_body", 0, [0])
    return given


def _check(value: Any, where: str, depth: int, seen: list[int]) -> None:
    seen[0] += 1
    if depth > DEEPEST or seen[0] > MOST:
        raise ValueError(
            f"extra_body refers to itself, has more than {DEEPEST} levels or more than {MOST:,} values; "
            "write only what the server reads"
        )
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where} has the key {key!r:.60}, which is not text; quote it")
            _check(key, where, depth + 1, seen)
            _check(each, f"{where}.{key}", depth + 1, seen)
    elif isinstance(value, list):
        for place, each in enumerate(value):
            _check(each, f"{where}[{place}]", depth + 1, seen)
    elif isinstance(value, str):
        if not _encodes(value):
            raise ValueError(f"{where} has half of a character pair (a lone surrogate), which cannot be sent")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, which JSON does not have; give a finite number")
    elif isinstance(value, int):
        if abs(value) >= 2**63:
            raise ValueError(f"{where} is a whole number beyond 64 bits, which servers do not read")
    elif value is not None:
        raise ValueError(
            f"{where} is of the type {type(value).__name__}, which JSON does not have; if it is meant as text, quote it"
        )


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
