"""Regular expressions of an adapter's configuration: refused where matching them could take time without end.

Python's `re` tries every way of sharing a name among repeats, and cannot be stopped. So the expression itself is looked
at: repeats within repeats, and many repeats one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

try:
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10
    import sre_parse as parser

MOST_REPEATS = 4
LONGEST = 2_000
_FEW = 10
"""A repeat of at most so many is none here."""


def endless(pattern: str) -> str | None:
    """Why matching `pattern` could take time without end, or why it is no expression; None of a sound one."""
    if len(pattern) > LONGEST:
        return f"it is longer than {LONGEST:,} characters"
    try:
        parsed = parser.parse(pattern)
        depths = list(_repeats(parsed, 0))
    except (re.error, RecursionError, OverflowError) as error:
        return f"it is not a regular expression ({error})"
    if max(depths, default=0) > 1:
        return "it repeats what repeats or has alternatives"
    if len(depths) > MOST_REPEATS:
        return f"it has more than {MOST_REPEATS} repeats such as .*"
    return None


def _repeats(parsed: Any, depth: int) -> Iterator[int]:
    """How deep each repeat, and each choice within one, lies within repeats."""
    for operation, argument in parsed:
        name = str(operation)
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, part = argument
            below = depth + (int(most) > _FEW and least != most)
            if below > depth:
                yield below
            yield from _repeats(part, below)
        elif name == "BRANCH":
            if depth:
                yield depth + 1
            for part in argument[1]:
                yield from _repeats(part, depth)
        elif isinstance(argument, (tuple, list)):
            for part in argument:
                if isinstance(part, parser.SubPattern):
                    yield from _repeats(part, depth)
