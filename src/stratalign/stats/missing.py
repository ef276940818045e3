"""What the rows that are missing could have changed at most. Knows nothing of why they are missing.

Source: Manski (1989), Journal of Human Resources 24(3), 343-360: bounds that assume nothing about what was not seen.
"""

from __future__ import annotations

from typing import NamedTuple


class Bounds(NamedTuple):
    """The net win rate if every missing row had been lost, and if every one had been won."""

    worst: float
    best: float


def missing_bounds(wins: int, losses: int, n: int, missing: int) -> Bounds | None:
    """Bounds of the net win rate over n + missing rows, (wins - losses -/+ missing) / (n + missing).

    They bound what this sample's rate would be, not the truth: sampling comes on top. None without any row. With
    nothing missing both are the rate; with everything missing they are -1 and 1.
    """
    rows = n + missing
    if rows == 0:
        return None
    return Bounds((wins - losses - missing) / rows, (wins - losses + missing) / rows)
