"""How many of each run's answers have a valid score, and what became of the others. Pure.

An answer counts under a state when any of its scores by the judge that decides has that state.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from stratalign.records import Score

VALID = "ok"
ABOUT = {
    "undefined": "the measure has no value for such an answer",
    "invalid": "the judge's reply was not in the form asked for",
    "truncated": "the judge's reply was cut off",
    "blocked": "the judge's host refused to read it (moderation)",
    "failed": "no reply came, after all retries",
    "pending": "not judged yet",
}


class StateRow(NamedTuple):
    """One run's answers: how many were to be judged, how many are valid in full, and the others by state."""

    run: str
    answers: int
    valid: int
    others: tuple[int, ...]


class States(NamedTuple):
    """`names` are the states other than valid that occur, each with what it means (empty where unknown)."""

    names: tuple[tuple[str, str], ...]
    rows: tuple[StateRow, ...]


def states(scores: Sequence[Score], judged: tuple[str, str] | None, runs: Sequence[str]) -> States | None:
    """The table of `runs` under the judge and protocol that decide; None without scores."""
    found: dict[str, dict[tuple[str, int, int], set[str]]] = {run: defaultdict(set) for run in runs}
    for one in scores:
        if (one.judge, one.protocol) == judged and one.run in found:
            found[one.run][one.prompt_id, one.seed, one.repeat].add(one.state)
    if not any(found.values()):
        return None
    seen = {state for answers in found.values() for its in answers.values() for state in its} - {VALID}
    names = [*(name for name in ABOUT if name in seen), *sorted(seen - set(ABOUT))]
    rows = [
        StateRow(
            run,
            len(answers),
            sum(its == {VALID} for its in answers.values()),
            tuple(sum(name in its for its in answers.values()) for name in names),
        )
        for run, answers in found.items()
    ]
    return States(tuple((name, ABOUT.get(name, "")) for name in names), tuple(rows))
