"""What the `text` protocol measured of the answers themselves, looked up beside any judge's rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from stratalign.reporting.comparisons.comparing import Floats, Row, ScoreTable, matched_base
from stratalign.reporting.comparisons.contrasts import BASE, Measure

PROTOCOL = "text"
SAME_SIGN = {"reward_accuracy": "margin"}
"""A pair is ranked right where its margin is above 0: against base, which has a margin of 0 and one half of the
accuracy everywhere, both have the same wins and losses, so that one test is of both."""


def with_a_sign_of_their_own(measures: Sequence[Measure]) -> list[Measure]:
    """The measures without those that have the sign of another one that is there, row by row."""
    known = {measure.key for measure in measures}
    return [
        one
        for one in measures
        if one.protocol != PROTOCOL or (*one.key[:2], SAME_SIGN.get(one.dimension)) not in known
    ]


def measured(table: ScoreTable, condition: str, dimension: str, rows: Sequence[Row]) -> Floats:
    """The measure `dimension` [rows] of the condition's answers, NaN where it has none.

    A text is measured once, whatever a judge repeats; the answers of a base with one seed serve every seed.
    """
    found: dict[tuple[str, int], float] = {}
    seeds = {row.seed for row in rows}
    for (_, protocol), by_condition in table.cells.items():
        if protocol == PROTOCOL and condition in by_condition:
            cells = by_condition[condition]
            for row, cell in (matched_base(cells, seeds) if condition == BASE else cells).items():
                found[row.prompt_id, row.seed] = cell.get(dimension, math.nan)
    return np.array([found.get((row.prompt_id, row.seed), math.nan) for row in rows], dtype=np.float64)
