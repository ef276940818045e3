"""Draws the training loss of every run over its steps, each curve labelled at its end.

Losses of different kinds are not on one scale and get a panel each. Many steps are averaged into at most `POINTS`
points per curve. A condition has one colour and dash, whatever the seed. Knows results and the steps' losses; nothing
of files or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stratalign.reporting.figures import svg

WIDTH, LEFT, TOP, MOST_LABEL, POINTS, COLOURS = 1040.0, 58.0, 14.0, 230.0, 120, 7
TITLE, FOOT, LEAST = 22.0, 42.0, 250.0
Curve = Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """The curves of one kind of loss: (step, loss) of each run, by step. A title is drawn where it has words."""

    title: str
    curves: Mapping[str, Curve]
    conditions: Mapping[str, str]


def loss_curves(curves: Mapping[str, Curve], conditions: Mapping[str, str]) -> svg.Drawing | None:
    """One panel without a title, or None before the first step; `conditions` has the condition of each run."""
    return loss_panels([Panel("", curves, conditions)])


def loss_panels(panels: Sequence[Panel]) -> svg.Drawing | None:
    """Panels one below the other, or None before the first step of any."""
    panels = [panel for panel in panels if any(panel.curves.values())]
    if not panels:
        return None
    order = list(dict.fromkeys(panel.conditions[run] for panel in panels for run in panel.curves))
    parts: list[str] = []
    told: list[str] = []
    y = TOP
    for panel in panels:
        drawn = {run: _averaged(curve) for run, curve in panel.curves.items() if curve}
        kinds = {
            run: f"f-c{at % COLOURS} f-d{at // COLOURS % 4}"
            for run in drawn
            for at in [order.index(panel.conditions[run])]
        }
        if panel.title:
            y += TITLE
            parts.append(svg.text(LEFT, y - 12, panel.title, "f-strong"))
        right = WIDTH - min(max(svg.width_of(run) for run in drawn) + 40, MOST_LABEL + 40)
        frame = _frame(drawn, right, y, max(LEAST, 16.0 * len(drawn)))
        parts += _panel(frame, drawn, kinds)
        told.append(_told(panel.title, drawn))
        y = frame.bottom + FOOT + (TOP if panel is not panels[-1] else 0)
    return svg.Drawing(WIDTH, y, f"Training loss over the steps: {'; '.join(told)}.", "\n".join(parts))


def _panel(frame: _Frame, drawn: Mapping[str, Curve], kinds: Mapping[str, str]) -> list[str]:
    parts, right = frame.axes(), frame.right
    for run, curve in drawn.items():
        points = [(frame.x(step), frame.y(loss)) for step, loss in curve]
        parts.append(svg.path(points, f"f-series {kinds[run]}", run))
        if len(points) == 1:
            parts.append(svg.circle(*points[0], 2.5, kinds[run], run))
    ends = {run: frame.y(curve[-1][1]) for run, curve in drawn.items()}
    for run, y in svg.apart(ends, frame.top, frame.bottom).items():
        start = frame.x(drawn[run][-1][0]) + 2
        course = [(start, ends[run]), (right + 10, ends[run]), (right + 24, y), (right + 32, y)]
        parts.append(svg.path(course, f"f-leader {kinds[run]}", run))
        parts.append(svg.text(right + 37, y + 4, svg.shortened(run, MOST_LABEL)))
    return parts


def _told(title: str, drawn: Mapping[str, Curve]) -> str:
    ends = "; ".join(f"{run} ends at {curve[-1][1]:.3f}" for run, curve in drawn.items())
    return f"{title}: {ends}" if title else ends


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


def _frame(curves: Mapping[str, Curve], right: float, top: float, height: float) -> _Frame:
    steps = [step for curve in curves.values() for step, _ in curve]
    losses = [loss for curve in curves.values() for _, loss in curve]
    room = 0.06 * (max(losses) - min(losses)) or 0.05 * abs(losses[0]) or 0.05
    last = max(steps) if max(steps) > min(steps) else min(steps) + 1
    return _Frame(right, top, top + height, min(steps), last, min(losses) - room, max(losses) + room)
