"""Draws numbers by depth: a panel for each group of lines, whiskers where there are intervals, a line between blocks.

Depth runs from the first layer on the left to the last one. Knows nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stratalign.reporting.figures import svg
from stratalign.reporting.numbers import plain

WIDTH, LEFT, TOP, PLOT, TITLE, FOOT, MOST_LABEL, COLOURS = 900.0, 58.0, 10.0, 170.0, 38.0, 44.0, 170.0, 7


class Point(NamedTuple):
    """A number, and the ends of its interval where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class DepthPanel:
    """Lines by name, a point for each place. `marks` are values that a thin line goes through, by name; `reach` are
    the ends of the axis, beyond which whiskers are cut off, where they are not to follow from the points."""

    title: str
    lines: Mapping[str, Sequence[Point]]
    marks: Mapping[str, float]
    reach: tuple[float, float] | None = None


def depth_lines(
    places: Sequence[str], edges: Mapping[str, int], panels: Sequence[DepthPanel], told: str
) -> svg.Drawing | None:
    """The panels one below the other, or None where there is nothing to draw.

    Args:
        places: what stands below each place, such as "in" (the embeddings), "0", "1".
        edges: name -> the place at which the block begins; a line is drawn before it, but for the first.
        told: what the figure shows, for whoever cannot see it.
    """
    panels = [panel for panel in panels if any(panel.lines.values())]
    if not panels or not places:
        return None
    names = [name for panel in panels for name in (*panel.lines, *panel.marks)]
    right = WIDTH - min(max(map(svg.width_of, names)) + 34, MOST_LABEL + 34)
    cell = (right - LEFT) / len(places)
    order = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    parts: list[str] = []
    y = TOP
    for panel in panels:
        frame = _Frame(y + TITLE, right, cell, *_reach(panel))
        parts.append(svg.text(LEFT, y + 12, panel.title, "f-strong"))
        parts += _axes(frame, places, edges)
        parts += _lines(panel, frame, order)
        y += TITLE + PLOT + FOOT
    return svg.Drawing(WIDTH, y, f"{told} {'; '.join(map(_told, panels))}.", "\n".join(parts))


@dataclass(frozen=True)
class _Frame:
    top: float
    right: float
    cell: float
    low: float
    high: float

    def x(self, place: float) -> float:
        return LEFT + (place + 0.5) * self.cell

    def y(self, value: float) -> float:
        kept = min(max(value, self.low), self.high)
        return self.top + PLOT * (self.high - kept) / (self.high - self.low)


def _reach(panel: DepthPanel) -> tuple[float, float]:
    if panel.reach is not None:
        return panel.reach
    points = [point for line in panel.lines.values() for point in line]
    values = [end for point in points for end in point if end is not None] + list(panel.marks.values())
    room = 0.05 * (max(values) - min(values)) or 0.05
    return min(values) - room, max(values) + room


def _axes(frame: _Frame, places: Sequence[str], edges: Mapping[str, int]) -> list[str]:
    parts = []
    for tick in svg.ticks(frame.low, frame.high):
        parts.append(svg.line(LEFT, frame.y(tick), frame.right, frame.y(tick), "f-rule"))
        parts.append(svg.text(LEFT - 8, frame.y(tick) + 4, f"{tick:.3g}", "f-small", "end"))
    every = next(step for step in (1, 2, 4, 5, 10, 20, 50, 100) if step * frame.cell >= 24 or step == 100)
    bottom = frame.top + PLOT
    parts += [
        svg.text(frame.x(at), bottom + 16, place, "f-small", "middle")
        for at, place in enumerate(places)
        if at % every == 0
    ]
    for name, start in edges.items():
        x = LEFT + start * frame.cell
        if start:
            parts.append(svg.line(x, frame.top - 16, x, bottom, "f-edge f-d2"))
        parts.append(svg.text(x + 4, frame.top - 6, name, "f-muted"))
    return parts


def _lines(panel: DepthPanel, frame: _Frame, order: Sequence[str]) -> list[str]:
    parts: list[str] = []
    ends: dict[str, float] = {}
    for name, value in panel.marks.items():
        parts.append(svg.line(LEFT, frame.y(value), frame.right, frame.y(value), "f-leader f-c6 f-d1"))
        ends[name] = frame.y(value)
    for name, line in panel.lines.items():
        index = order.index(name)
        kind = f"f-c{index % COLOURS} f-d{index // COLOURS % 4}"
        at = [(frame.x(place), frame.y(point.value)) for place, point in enumerate(line)]
        parts.append(svg.path(at, f"f-series {kind}", name))
        for (x, y), point in zip(at, line, strict=True):
            words = f"{name} {plain(point.value)}"
            if point.low is not None and point.high is not None:
                words += f" [{plain(point.low)}, {plain(point.high)}]"
                parts.append(svg.line(x, frame.y(point.low), x, frame.y(point.high), f"{kind} f-thin"))
            parts.append(svg.circle(x, y, 2.5, f"f-b{index % COLOURS}", words))
        ends[name] = at[-1][1] if at else frame.top
    for name, y in svg.apart(ends, frame.top, frame.top + PLOT).items():
        kind = "f-muted" if name in panel.marks else "f-text"
        parts.append(svg.line(frame.right, ends[name], frame.right + 12, y, "f-leader f-c6"))
        parts.append(svg.text(frame.right + 16, y + 4, svg.shortened(name, MOST_LABEL), kind))
    return parts


def _told(panel: DepthPanel) -> str:
    lines = (
        f"{name} {', '.join(plain(point.value, 2) for point in line)}" for name, line in panel.lines.items()
    )
    return f"{panel.title}: {'; '.join(lines)}"
