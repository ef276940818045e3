"""How much of its scale a judge uses: a dimension whose scores hardly differ can tell nothing apart.

Knows nothing of which runs or dimensions it is given, and of no page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratalign.stats.agreement import exact_agreement
from stratalign.stats.groups import score_array

UNINFORMATIVE_SHARE = 0.9
"""A dimension with a larger share of one value is flagged (ours)."""


@dataclass(frozen=True)
class Spread:
    """How the scores of one dimension lie on their scale; shares are of all `n` scores, None without any.

    `ties` is the share of pairs of runs with the same score for the same prompt, averaged over prompts; None where
    no prompt was scored for two runs. `entropy` is that of the scores' distribution in bits, 0 where all are equal
    and log2 of the number of steps at most. `uninformative` flags more than nine tenths at one value.
    """

    n: int
    ceiling: float | None
    floor: float | None
    ties: float | None
    entropy: float | None
    commonest: float | None
    commonest_share: float | None
    uninformative: bool


def spread(scores: object, scale: tuple[float, float]) -> Spread:
    """The spread of one dimension's scores.

    Args:
        scores: [runs, prompts], NaN where missing; one run may be given as [1, prompts].
        scale: lowest and highest score that the judge can give.

    Raises:
        ValueError: scores are not a table, or lie outside the scale.
    """
    table = score_array(scores, "scores")
    if table.ndim != 2:
        raise ValueError(f"`scores` are [runs, prompts]; got the shape {table.shape}.")
    given = table[~np.isnan(table)]
    low, high = scale
    if not len(given):
        return Spread(0, None, None, None, None, None, None, uninformative=False)
    if given.min() < low or given.max() > high:
        raise ValueError(
            f"Scores lie from {given.min():g} to {given.max():g}, the scale from {low:g} to {high:g}."
        )
    values, counts = np.unique(given, return_counts=True)
    shares = counts / len(given)
    return Spread(
        n=len(given),
        ceiling=float((given == high).mean()),
        floor=float((given == low).mean()),
        ties=exact_agreement(table, resamples=2).value,
        entropy=abs(float(-(shares * np.log2(shares)).sum())),
        commonest=float(values[counts.argmax()]),
        commonest_share=float(shares.max()),
        uninformative=bool(shares.max() > UNINFORMATIVE_SHARE),
    )
