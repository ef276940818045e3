"""How many answers of each run have a judgement, and what became of the others, in numbers and as a table. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stratalign.records import Score

STATES = ("pending", "failed", "blocked", "truncated", "invalid")
"""From what says least to what says most about an answer; one with several counts as the first of them."""


@dataclass(frozen=True)
class RunStates:
    """The answers of one run under one protocol. `ok` have every score that their measures define; `states` counts the
    others by what became of them; `undefined` counts single scores that a measure does not have on an answer."""

    run: str
    judge: str
    protocol: str
    answers: int
    ok: int
    states: dict[str, int]
    undefined: int


def run_states(scores: Iterable[Score], runs: Sequence[str]) -> tuple[RunStates, ...]:
    """Counts per run, judge and protocol, in the order of `runs`; repeats count as answers of their own."""
    answers: dict[tuple[str, str, str], dict[tuple[str, int, int], set[str]]] = defaultdict(
        lambda: defaultdict(set)
    )
    undefined: dict[tuple[str, str, str], int] = defaultdict(int)
    for score in scores:
        key = (score.run, score.judge, score.protocol)
        answers[key][score.prompt_id, score.seed, score.repeat].add(score.state)
        undefined[key] += score.state == "undefined"
    found = []
    for key in sorted(answers, key=lambda key: (runs.index(key[0]), key[1:])):
        counts: dict[str, int] = dict.fromkeys(STATES, 0)
        for seen in answers[key].values():
            bad = next(
                (state for state in (*STATES, *sorted(seen - {"ok", "undefined"})) if state in seen), None
            )
            if bad is not None:
                counts[bad] = counts.get(bad, 0) + 1
        total = len(answers[key])
        found.append(RunStates(*key, total, total - sum(counts.values()), counts, undefined[key]))
    return tuple(found)


ABOUT = {
    "undefined": "single scores: the measure has no value for such an answer",
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


def state_rows(found: Iterable[RunStates], judged: tuple[str, str] | None) -> States | None:
    """The table of what became of the answers under the judge and protocol that decide; None without any."""
    mine = [one for one in found if (one.judge, one.protocol) == judged]
    if not mine:
        return None
    counts = [{**one.states, "undefined": one.undefined} for one in mine]
    seen = {name for its in counts for name, count in its.items() if count}
    names = [*(name for name in ABOUT if name in seen), *sorted(seen - set(ABOUT))]
    rows = [
        StateRow(one.run, one.answers, one.ok, tuple(its.get(name, 0) for name in names))
        for one, its in zip(mine, counts, strict=True)
    ]
    return States(tuple((name, ABOUT.get(name, "")) for name in names), tuple(rows))
