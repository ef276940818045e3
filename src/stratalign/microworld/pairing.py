"""From several answers to one prompt to preference pairs, by the verifiers' scores alone.

A pair is worth its gap in the dimension that is meant to move, less half of its gaps elsewhere, so that a set moves
one thing. Pure; knows nothing of models or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count, permutations
from typing import NamedTuple

from stratalign.microworld.people import Person
from stratalign.microworld.requests import Request
from stratalign.microworld.verifying import DIMENSIONS, OVERALL, Scores, verify
from stratalign.microworld.writing import CLEAN, Noise, write

ELSEWHERE = 0.5
"""What a gap in another dimension takes away."""
SLOPPY = 0.36
"""Slips per place of grammar in the rejected side of a minimal pair: those of the corpus's sloppy half."""


class Pair(NamedTuple):
    """Two answers to one request, and what the pair is worth."""

    request: Request
    chosen: str
    rejected: str
    worth: float


def worth(chosen: Scores, rejected: Scores, target: str) -> float:
    """The gap in `target` minus half of the sum of the absolute gaps in the other dimensions; of `overall`, the gap."""
    gap = getattr(chosen, target) - getattr(rejected, target)
    if target == OVERALL:
        return float(gap)
    others = [getattr(chosen, name) - getattr(rejected, name) for name in DIMENSIONS if name != target]
    return float(gap - ELSEWHERE * sum(map(abs, others)))


def best_pair(
    request: Request, answers: Sequence[str], target: str, people: Mapping[str, Person]
) -> Pair | None:
    """The pair of answers that is worth most for `target`; None where no two answers differ in it."""
    scored = [
        (answer, verify(request, answer, people)) for answer in dict.fromkeys(answers) if answer.strip()
    ]
    found: Pair | None = None
    for (chosen, high), (rejected, low) in permutations(scored, 2):
        if getattr(high, target) > getattr(low, target):
            value = worth(high, low, target)
            if found is None or value > found.worth:
                found = Pair(request, chosen, rejected, value)
    return found


def minimal_pair(request: Request, people: Mapping[str, Person], seed: object) -> Pair:
    """A clean answer and the same one with slips of grammar: nothing else differs.

    The base tells the two apart already, so preference accuracy on such pairs starts at 1, and training may push both
    sides down (likelihood displacement, Razin et al. 2024, arXiv 2410.08847).
    """
    for attempt in count():
        key = f"minimal {seed} {attempt}"
        chosen = write(request, people, CLEAN, key)
        rejected = write(request, people, Noise(grammar=SLOPPY), key)
        if chosen != rejected:
            clean, sloppy = (verify(request, text, people) for text in (chosen, rejected))
            return Pair(request, chosen, rejected, worth(clean, sloppy, "grammar"))
    raise AssertionError("unreachable")
