"""Draws the training loss of every run over its steps, each curve labelled at its end.

Many steps are averaged into at most `POINTS` points per curve. A condition has one colour and dash, whatever the
seed. Knows results and the steps' losses; nothing of files or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stratalign.reporting import svg

WIDTH, LEFT, TOP, MOST_LABEL, POINTS, COLOURS = 1040.0, 58.0, 14.0, 230.0, 120, 7
Curve = Sequence[tuple[float, float]]


def loss_curves(curves: Mapping[str, Curve], conditions: Mapping[str, str]) -> svg.Drawing | None:
    """The curves, or None before the first step.

    Args:
        curves: (step, loss) of each run, by step.
        conditions: the condition of each run.
    """
    drawn = {run: _averaged(curve) for run, curve in curves.items() if curve}
    if not drawn:
        return None
    order = list(dict.fromkeys(conditions[run] for run in drawn))
    kinds = {
        run: f"f-c{at % COLOURS} f-d{at // COLOURS % 4}"
        for run in drawn
        for at in [order.index(conditions[run])]
    }
    right = WIDTH - min(max(svg.width_of(run) for run in drawn) + 40, MOST_LABEL + 40)
    frame = _frame(drawn, right, max(250.0, 16.0 * len(drawn)))
    parts = frame.axes()
    for run, curve in drawn.items():
        points = [(frame.x(step), frame.y(loss)) for step, loss in curve]
        parts.append(svg.path(points, f"f-series {kinds[run]}", run))
        if len(points) == 1:
            parts.append(svg.circle(*points[0], 2.5, kinds[run], run))
    ends = {run: frame.y(curve[-1][1]) for run, curve in drawn.items()}
    for run, y in _apart(ends, frame.top, frame.bottom).items():
        start = frame.x(drawn[run][-1][0]) + 2
        course = [(start, ends[run]), (right + 10, ends[run]), (right + 24, y), (right + 32, y)]
        parts.append(svg.path(course, f"f-leader {kinds[run]}", run))
        parts.append(svg.text(right + 37, y + 4, svg.shortened(run, MOST_LABEL)))
    told = "; ".join(f"{run} ends at {curve[-1][1]:.3f}" for run, curve in drawn.items())
    return svg.Drawing(WIDTH, frame.bottom + 42, f"Training loss over the steps: {told}.", "\n".join(parts))


def _averaged(curve: Curve) -> Curve:
    """At most POINTS points: the mean step and mean loss of equally many neighbouring steps."""
    size = -(-len(curve) // POINTS)
    groups = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [
        (sum(step for step, _ in group) / len(group), sum(loss for _, loss in group) / len(group))
        for group in groups
    ]


@dataclass(frozen=True)
class _Frame:
    """The plot's box in pixels, and the steps and losses at its edges."""

    right: float
    top: float
    bottom: float
    first: float
    last: float
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + (step - self.first) / (self.last - self.first) * (self.right - LEFT)

    def y(self, loss: float) -> float:
        return self.bottom - (loss - self.low) / (self.high - self.low) * (self.bottom - self.top)

    def axes(self) -> list[str]:
        parts = []
        for tick in svg.ticks(self.low, self.high):
            parts.append(svg.line(LEFT, self.y(tick), self.right, self.y(tick), "f-rule"))
            parts.append(svg.text(LEFT - 8, self.y(tick) + 4, f"{tick:.6g}", "f-small", "end"))
        for tick in svg.ticks(self.first, self.last, 8):
            if tick == int(tick):
                parts.append(svg.text(self.x(tick), self.bottom + 18, f"{tick:.0f}", "f-small", "middle"))
        parts.append(svg.line(LEFT, self.bottom, self.right, self.bottom, "f-edge"))
        parts.append(
            svg.text((LEFT + self.right) / 2, self.bottom + 36, "optimizer step", "f-small", "middle")
        )
        return parts


def _frame(curves: Mapping[str, Curve], right: float, height: float) -> _Frame:
    steps = [step for curve in curves.values() for step, _ in curve]
    losses = [loss for curve in curves.values() for _, loss in curve]
    room = 0.06 * (max(losses) - min(losses)) or 0.05 * abs(losses[0]) or 0.05
    last = max(steps) if max(steps) > min(steps) else min(steps) + 1
    return _Frame(right, TOP, TOP + height, min(steps), last, min(losses) - room, max(losses) + room)


def _apart(ends: Mapping[str, float], top: float, bottom: float, gap: float = 15.0) -> dict[str, float]:
    """Where the labels go: as near to their curves' ends as keeps them `gap` apart and inside the frame."""
    placed: dict[str, float] = {}
    y = top - gap
    for run in sorted(ends, key=lambda run: (ends[run], run)):
        y = placed[run] = max(ends[run], y + gap)
    limit = bottom
    for run in reversed(placed):
        limit = placed[run] = min(placed[run], limit)
        limit -= gap
    return placed
