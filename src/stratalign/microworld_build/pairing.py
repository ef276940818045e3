"""The micro-world's pairs: of several answers to one request those that differ most in one dimension, and answers with
and without slips. Scores come from the verifiers; knows nothing of models or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import NamedTuple

from stratalign import preferences
from stratalign.microworld import (
    CLEAN,
    DIMENSIONS,
    OVERALL,
    Noise,
    Person,
    Request,
    Scores,
    verify,
    write,
)

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
    return preferences.worth(chosen._asdict(), rejected._asdict(), target, _elsewhere(target), ELSEWHERE)


def best_pair(
    request: Request, answers: Sequence[str], target: str, people: Mapping[str, Person]
) -> Pair | None:
    """The pair of answers that is worth most for `target`; None where no two answers differ in it."""
    texts = [answer for answer in dict.fromkeys(answers) if answer.strip()]
    scored = [verify(request, answer, people)._asdict() for answer in texts]
    for best in preferences.best_pairs(scored, target, _elsewhere(target), ELSEWHERE):
        return Pair(request, texts[best.chosen], texts[best.rejected], best.worth)
    return None


def _elsewhere(target: str) -> list[str]:
    return [] if target == OVERALL else [name for name in DIMENSIONS if name != target]


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
