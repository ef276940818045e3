"""The scores of the judge that decides as arrays: one row per prompt and repeat, one column per dimension. Pure.

A twentieth of what the records take, so that the scores of many studies can be kept while one page is made of them.
Knows nothing of comparisons (`comparing`) or of where its numbers are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratalign.records import Score
from stratalign.reporting.comparisons.comparing import valid
from stratalign.reporting.comparisons.contrasts import Measure

Floats = NDArray[np.float64]


class Grid(NamedTuple):
    """Scores of one judge's protocol. A run's values [rows, measures] are NaN where it has no valid score.

    `rows` are (prompt id, repeat) in order; `clusters` [rows] are the prompts' clusters.
    """

    measures: tuple[Measure, ...]
    rows: tuple[tuple[str, int], ...]
    clusters: tuple[str, ...]
    values: Mapping[str, Floats]

    def column(self, measure: Measure) -> int:
        """Where the measure stands. Raises ValueError where the grid lacks it."""
        return [one.key for one in self.measures].index(measure.key)

    def of(self, runs: Iterable[str], measure: Measure) -> Floats:
        """All valid scores of the runs on one measure, stacked."""
        at = self.column(measure)
        parts = [self.values[run][:, at] for run in runs if run in self.values]
        stacked = np.concatenate(parts) if parts else np.empty(0)
        return stacked[~np.isnan(stacked)]


class Spread(NamedTuple):
    """Mean, standard deviation (n - 1) and median of `n` scores, in the measure's unit."""

    mean: float
    deviation: float | None
    median: float
    n: int


def score_grid(scores: Sequence[Score], measures: Sequence[Measure]) -> Grid:
    """The grid of `measures`, which are all of one judge and protocol; other scores are left out."""
    columns = {measure.key: at for at, measure in enumerate(measures)}
    mine = [one for one in scores if (one.judge, one.protocol, one.dimension) in columns]
    rows = sorted({(one.prompt_id, one.repeat) for one in mine})
    place = {row: at for at, row in enumerate(rows)}
    clusters = [""] * len(rows)
    values: dict[str, Floats] = {}
    for one in mine:
        at = place[one.prompt_id, one.repeat]
        if one.run not in values:
            values[one.run] = np.full((len(rows), len(measures)), np.nan)
        values[one.run][at, columns[one.judge, one.protocol, one.dimension]] = valid(one)
        clusters[at] = one.cluster
    return Grid(tuple(measures), tuple(rows), tuple(clusters), values)


def spread(values: Floats) -> Spread | None:
    """Of valid scores [n]; None without any."""
    if not len(values):
        return None
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, float(np.median(values)), len(values))
