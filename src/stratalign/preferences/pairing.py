"""From several scored answers to one prompt to preference pairs.

A pair is worth its gap in the dimension that is meant to move, less a share of its gaps elsewhere, so that a set moves
one thing. Pure; knows nothing of texts, judges or files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

Scored = Mapping[str, float]
"""One answer's value in each dimension."""


class Choice(NamedTuple):
    """Places of two answers to one prompt, and what the pair is worth, in the units of the scores."""

    chosen: int
    rejected: int
    worth: float


def worth(chosen: Scored, rejected: Scored, target: str, off_target: Sequence[str], weight: float) -> float:
    """The gap in `target` minus `weight` times the sum of the absolute gaps in `off_target`."""
    gap = chosen[target] - rejected[target]
    return gap - weight * sum(abs(chosen[name] - rejected[name]) for name in off_target)


def best_pairs(
    answers: Sequence[Scored | None],
    target: str,
    off_target: Sequence[str],
    weight: float,
    *,
    min_gap: float = 0.0,
    most: int = 1,
) -> list[Choice]:
    """The pairs that are worth most, best first; an answer stands in one of them at most.

    Args:
        answers: the scores of each answer; None where one has no value that is needed.
        target: the dimension in which chosen is above rejected.
        off_target: dimensions in which they should be alike.
        weight: what a gap in one of those takes away.
        min_gap: the least gap in `target`; a tie never is a pair.
        most: how many pairs to return. Of pairs that are worth the same the first in order of the answers is taken.
    """
    scored = [(i, one) for i, one in enumerate(answers) if one is not None]
    found = [
        Choice(i, j, worth(high, low, target, off_target, weight))
        for (i, high), (j, low) in permutations(scored, 2)
        if high[target] > low[target] and high[target] - low[target] >= min_gap
    ]
    taken: list[Choice] = []
    used: set[int] = set()
    for pair in sorted(found, key=lambda pair: -pair.worth):
        if len(taken) == most:
            break
        if not used & {pair.chosen, pair.rejected}:
            taken.append(pair)
            used |= {pair.chosen, pair.rejected}
    return taken
