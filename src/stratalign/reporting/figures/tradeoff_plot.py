"""Draws what each condition gains on the objective against its worst loss on any other dimension, with intervals.

Both are net win rates against base, turned so that above 0 is better. The worst of many dimensions lies below 0 by
chance alone, the lower the more dimensions there are; the page says so. Knows the points only.
"""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.reporting.figures import svg
from stratalign.reporting.numbers import interval, signed
from stratalign.reporting.tables.tradeoff import Bound, Tradeoff

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720.0, 400.0, 62.0, 28.0, 150.0, 46.0


def tradeoff_plot(points: Sequence[Tradeoff]) -> svg.Drawing | None:
    """The scatter, or None without points."""
    if not points:
        return None
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    gains, losses = [one.gain for one in points], [one.worst for one in points]
    low_x, high_x = _reach(gains)
    low_y, high_y = _reach(losses)

    def x(value: float) -> float:
        return LEFT + (value - low_x) / (high_x - low_x) * (right - LEFT)

    def y(value: float) -> float:
        return bottom - (value - low_y) / (high_y - low_y) * (bottom - TOP)

    parts = []
    for tick in svg.ticks(low_x, high_x, 8):
        parts.append(svg.line(x(tick), TOP, x(tick), bottom, "f-rule" if tick else "f-zero"))
        parts.append(svg.text(x(tick), bottom + 17, signed(tick, 2), "f-small", "middle"))
    for tick in svg.ticks(low_y, high_y, 8):
        parts.append(svg.line(LEFT, y(tick), right, y(tick), "f-rule" if tick else "f-zero"))
        parts.append(svg.text(LEFT - 8, y(tick) + 4, signed(tick, 2), "f-small", "end"))
    parts.append(
        svg.text((LEFT + right) / 2, bottom + 36, f"gain on {points[0].dimension} →", "f-small", "middle")
    )
    parts.append(svg.text(LEFT, TOP - 10, "↑ the worst other dimension", "f-small"))
    labels = svg.apart({one.condition: y(one.worst.value) for one in points}, TOP + 8, bottom)
    for one in points:
        kind = {"better": "f-better", "worse": "f-worse"}.get(one.verdict, "f-unsure")
        at_x, at_y = x(one.gain.value), y(one.worst.value)
        if one.gain.low is not None and one.gain.high is not None:
            parts.append(svg.line(x(one.gain.low), at_y, x(one.gain.high), at_y, f"{kind} f-thin"))
        if one.worst.low is not None and one.worst.high is not None:
            parts.append(svg.line(at_x, y(one.worst.low), at_x, y(one.worst.high), f"{kind} f-thin"))
    for one in points:
        kind = {"better": "f-better", "worse": "f-worse"}.get(one.verdict, "f-unsure")
        at_x, at_y = x(one.gain.value), y(one.worst.value)
        parts.append(svg.circle(at_x, at_y, 5, kind, _words(one)))
        label = labels[one.condition]
        parts.append(svg.line(at_x + 6, at_y, right + 6, label, "f-leader f-c6"))
        parts.append(svg.text(right + 10, label + 4, svg.shortened(one.condition, RIGHT - 14)))
    told = "; ".join(_words(one) for one in points)
    return svg.Drawing(
        WIDTH, HEIGHT, f"Gain on the objective against the worst other dimension. {told}.", "\n".join(parts)
    )


def _reach(bounds: Sequence[Bound]) -> tuple[float, float]:
    """The ends of an axis: all intervals and 0, and some room."""
    values = [0.0] + [value for bound in bounds for value in bound if value is not None]
    room = 0.06 * (max(values) - min(values)) or 0.05
    return min(values) - room, max(values) + room


def _words(one: Tradeoff) -> str:
    return (
        f"{one.condition}: {one.dimension} {signed(one.gain.value)} {interval(one.gain.low, one.gain.high)}, "
        f"worst {one.worst_dimension} {signed(one.worst.value)} {interval(one.worst.low, one.worst.high)}"
    )
