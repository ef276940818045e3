"""Which prompts to show: those on which the runs' scores differ most, dimension by dimension in turn. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from stratalign.reporting.comparisons.contrasts import Measure
from stratalign.reporting.comparisons.grids import Grid


class Difference(NamedTuple):
    """A prompt, and the dimension that it was chosen for; `apart` is highest minus lowest score of the runs."""

    prompt_id: str
    measure: Measure
    apart: float


def largest_differences(
    grid: Grid, runs: Sequence[str], measures: Sequence[Measure], most: int, among: Collection[str]
) -> list[Difference]:
    """At most `most` prompts of `among`, no prompt twice; of equal differences the first in the table.

    Each measure names its next prompt in turn, so that one dimension with a wide scale does not fill the list.
    """
    shown = [run for run in runs if run in grid.values]
    if len(shown) < 2 or not measures:
        return []
    queues = [iter(_queue(grid, shown, measure, among)) for measure in measures]
    chosen: dict[str, Difference] = {}
    while queues and len(chosen) < most:
        for queue in list(queues):
            found = next((one for one in queue if one.prompt_id not in chosen), None)
            if found is None:
                queues.remove(queue)
            elif len(chosen) < most:
                chosen[found.prompt_id] = found
    return list(chosen.values())


def _queue(grid: Grid, runs: Sequence[str], measure: Measure, among: Collection[str]) -> list[Difference]:
    """Prompts by how far apart the runs' scores are, the first repeat only; none where all are equal."""
    at = grid.column(measure)
    values = np.stack([grid.values[run][:, at] for run in runs], axis=1)
    whole = ~np.isnan(values).any(axis=1)
    apart = np.zeros(len(values))
    apart[whole] = values[whole].max(axis=1) - values[whole].min(axis=1)
    # Of equal ranges the one that divides the runs, not the one that sets a single run apart.
    spread = np.where(whole, np.nan_to_num(values).std(axis=1), 0.0)
    order = np.lexsort((np.arange(len(apart)), -spread, -apart))
    found: dict[str, Difference] = {}
    for row in order:
        prompt, _ = grid.rows[row]
        if apart[row] > 0 and prompt in among:
            found.setdefault(prompt, Difference(prompt, measure, float(apart[row])))
    return list(found.values())
