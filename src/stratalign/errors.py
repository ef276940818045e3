"""The user's errors, and the one "unknown name" message.

Two kinds of trouble are told apart everywhere: `UserError` is a mistake that the user can mend (the command
line prints it without a traceback and exits with 2); `StudyFailure` is something that went wrong although the
input was right, such as a loss that is no longer finite or a proof that does not hold (exit code 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can mend. The message says what is wrong, what we got and what to do."""


class StudyFailure(Exception):  # noqa: N818 - it is a failure of the study, not an error of the user
    """The study cannot go on, or its result cannot be trusted, although the input was right."""


def unknown_name(kind: str, got: object, known: Iterable[str], advice: str = "") -> UserError:
    """One message for every name that is not in a catalogue.

    >>> print(unknown_name("partition", "evn", ["even", "explicit"]))
    Unknown partition 'evn'. Did you mean 'even'? Known: even, explicit.
    """
    names = list(known)
    near = difflib.get_close_matches(str(got), names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    tail = f" {advice}" if advice else ""
    return UserError(f"Unknown {kind} {got!r}.{guess} Known: {', '.join(names) or 'none'}.{tail}")
