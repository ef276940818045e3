"""The user's errors, the one "unknown name" message, and how texts from elsewhere are shown.

Two kinds of trouble are told apart everywhere: `UserError` is a mistake that the user can mend (the command
line prints it without a traceback and exits with 2); `StudyFailure` is something that went wrong although the
input was right, such as a loss that is no longer finite or a proof that does not hold (exit code 1).
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Callable, Iterable


class UserError(Exception):
    """Something that the user can mend. The message says what is wrong, what we got and what to do."""


class StudyFailure(Exception):  # noqa: N818 - it is a failure of the study, not an error of the user
    """The study cannot go on, or its result cannot be trusted, although the input was right."""


def shortened(value: object, most: int = 100) -> str:
    """A value as Python writes it, cut where it is long; of a long list only its beginning is written at all.

    >>> shortened([0] * 1000, 12)
    '[0, 0, 0, 0, ...'
    """
    brief = reprlib.Repr()
    brief.maxlist = brief.maxdict = brief.maxtuple = brief.maxset = most // 3
    brief.maxstring = brief.maxother = brief.maxlong = most
    written = brief.repr(value)
    return written if len(written) <= most else f"{written[:most]}..."


def unknown_name(
    kind: str, got: object, known: Iterable[str], advice: str = "", key: Callable[[str], str] = str
) -> UserError:
    """One message for every name that is not in a catalogue.

    Args:
        kind: what the names name.
        got: the name that is not known.
        known: the names that are.
        advice: a sentence that follows.
        key: what of a name is compared where a near one is looked for; all of it if not given.

    >>> print(unknown_name("partition", "evn", ["even", "explicit"]))
    Unknown partition 'evn'. Did you mean 'even'? Known: even, explicit.
    """
    names = list(known)
    by_key = {key(name): name for name in names}
    asked = key(str(got))
    near = difflib.get_close_matches(asked, by_key, n=1, cutoff=0.5) if len(asked) <= 100 else []
    guess = f" Did you mean {by_key[near[0]]!r}?" if near else ""
    tail = f" {advice}" if advice else ""
    return UserError(f"Unknown {kind} {shortened(got)}.{guess} Known: {', '.join(names) or 'none'}.{tail}")


_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys instead of showing them; of white space only the tab and the end of a line stay."""


def visible(text: str) -> str:
    r"""The text with control characters spelt out, so that data, servers and names cannot command the terminal.

    >>> visible("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
