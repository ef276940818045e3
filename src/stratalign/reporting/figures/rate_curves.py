"""Draws what was measured on validation against the learning rate, one line for each condition, the chosen one ringed.

Rates are on a logarithmic scale. Knows nothing of what was measured, or of how the choice was made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from stratalign.reporting.figures import svg

WIDTH, LEFT, TOP, HEIGHT, FOOT, COLOURS = 760.0, 66.0, 16.0, 280.0, 44.0, 7


class RatePoint(NamedTuple):
    """The mean at one rate with its interval, if it has one."""

    rate: float
    mean: float
    low: float | None
    high: float | None
    chosen: bool


class RateCurve(NamedTuple):
    """A condition's points at the rank that was chosen for it, by rate."""

    condition: str
    rank: int
    points: tuple[RatePoint, ...]


def rate_curves(curves: Sequence[RateCurve], measured: str) -> svg.Drawing:
    """At least one curve of at least two points; `measured` names the vertical axis."""
    labels = {one.condition: f"{one.condition} (rank {one.rank})" for one in curves}
    right = WIDTH - 40 - max(map(svg.width_of, labels.values()))
    points = [point for one in curves for point in one.points]
    rates = sorted({point.rate for point in points})
    ends = [end for p in points for end in (p.mean, p.low, p.high) if end is not None]
    room = 0.06 * (max(ends) - min(ends)) or 0.05
    low, high, bottom = min(ends) - room, max(ends) + room, TOP + HEIGHT

    def x(rate: float) -> float:
        return LEFT + math.log(rate / rates[0]) / math.log(rates[-1] / rates[0]) * (right - LEFT)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * HEIGHT

    parts = []
    for tick in svg.ticks(low, high):
        parts.append(svg.line(LEFT, y(tick), right, y(tick), "f-rule"))
        parts.append(svg.text(LEFT - 8, y(tick) + 4, f"{tick:.6g}", "f-small", "end"))
    parts += [svg.text(x(rate), bottom + 18, f"{rate:g}", "f-small", "middle") for rate in rates]
    parts.append(svg.line(LEFT, bottom, right, bottom, "f-edge"))
    caption = f"learning rate; {measured}, 95 % intervals"
    parts.append(svg.text((LEFT + right) / 2, bottom + 36, caption, "f-small", "middle"))
    for at, one in enumerate(curves):
        kind = f"f-c{at % COLOURS} f-d{at // COLOURS % 4}"
        shift = 2.5 * (at - (len(curves) - 1) / 2)  # intervals beside each other, not on each other
        for point in one.points:
            if point.low is not None and point.high is not None:
                place = x(point.rate) + shift
                parts.append(svg.line(place, y(point.low), place, y(point.high), f"f-thin {kind}"))
        course = [(x(point.rate) + shift, y(point.mean)) for point in one.points]
        parts.append(svg.path(course, f"f-series {kind}", one.condition))
        for point, (across, down) in zip(one.points, course, strict=True):
            told = f"{one.condition}: {point.rate:g}, {point.mean:.4f}"
            if point.chosen:
                parts.append(svg.circle(across, down, 5.5, f"f-series {kind}", f"{told}, chosen"))
            parts.append(svg.circle(across, down, 2, f"f-b{at % COLOURS}", told))
    last = {one.condition: y(one.points[-1].mean) for one in curves}
    for name, place in svg.apart(last, TOP, bottom).items():
        parts.append(svg.text(right + 16, place + 4, labels[name]))
    chosen = "; ".join(
        f"{one.condition} at {point.rate:g} ({point.mean:.4f})"
        for one in curves
        for point in one.points
        if point.chosen
    )
    about = f"{measured} against the learning rate. Chosen: {chosen}."
    return svg.Drawing(WIDTH, bottom + FOOT, about, "\n".join(parts))
