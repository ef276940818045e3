"""How much of its scale the deciding judge uses on each dimension, over the answers of all runs. Pure.

The arithmetic is `stats.spread`. A dimension on which nearly all scores are one value can tell nothing apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stratalign import stats
from stratalign.reporting.comparisons.grids import Grid


@dataclass(frozen=True)
class DimensionSpread:
    """Shares of all `n` scores: at the top of the scale, at its bottom, and at the commonest value. `ties` is the share
    of pairs of runs with the same score on a prompt, `entropy` is in bits. `flagged` where more than nine tenths are
    one value."""

    dimension: str
    n: int
    ceiling: float
    floor: float
    commonest: float
    commonest_share: float
    ties: float | None
    entropy: float
    flagged: bool


def dimension_spreads(grid: Grid) -> tuple[DimensionSpread, ...]:
    """Every dimension that has a scale and scores; scores off the scale are no scale's, and are left out."""
    found = []
    for at, measure in enumerate(grid.measures):
        if measure.scale is None or not grid.values:
            continue
        scores = np.stack([values[:, at] for values in grid.values.values()])
        low, high = measure.scale
        scores[(scores < low) | (scores > high)] = np.nan
        one = stats.spread(scores, measure.scale)
        if one.ceiling is None or one.floor is None or one.commonest is None:
            continue
        found.append(
            DimensionSpread(
                measure.dimension,
                one.n,
                one.ceiling,
                one.floor,
                one.commonest,
                one.commonest_share or 0.0,
                one.ties,
                one.entropy or 0.0,
                one.uninformative,
            )
        )
    return tuple(found)
