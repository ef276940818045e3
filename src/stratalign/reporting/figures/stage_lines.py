"""Draws shares over the stages of a training: a panel for each loss, a line with whiskers for each block.

Stages stand at equal distances, in their order. Knows nothing of records or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stratalign.reporting.figures import svg

WIDTH, LEFT, TOP, PLOT, TITLE, FOOT, MOST_LABEL, COLOURS = 760.0, 58.0, 14.0, 190.0, 22.0, 30.0, 150.0, 7
ASIDE = 5.0
"""Pixels between the whiskers of neighbouring lines at one stage."""


class Point(NamedTuple):
    """A share in [0, 1] and the ends of its interval, which may lie outside."""

    value: float
    low: float | None
    high: float | None


class StagePanel(NamedTuple):
    """The lines of one loss: by name, a point for each stage, None where there is none."""

    title: str
    lines: Mapping[str, Sequence[Point | None]]


def stage_lines(stages: Sequence[str], panels: Sequence[StagePanel], told: str) -> svg.Drawing | None:
    """The panels one below the other, or None where there is no point.

    Args:
        stages: what stands below each stage.
        told: what the figure shows, for whoever cannot see it.
    """
    panels = [panel for panel in panels if any(point for line in panel.lines.values() for point in line)]
    if not panels or not stages:
        return None
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    right = WIDTH - min(max(map(svg.width_of, names)) + 48, MOST_LABEL + 48)
    parts: list[str] = []
    y = TOP
    for panel in panels:
        parts.append(svg.text(LEFT, y + 10, panel.title, "f-strong"))
        top = y + TITLE
        parts += _axes(stages, right, top)
        parts += _lines(panel, names, len(stages), right, top)
        y = top + PLOT + FOOT
    return svg.Drawing(WIDTH, y, f"{told} {'; '.join(map(_told, panels))}.", "\n".join(parts))


def _axes(stages: Sequence[str], right: float, top: float) -> list[str]:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(tick, top)
        parts.append(svg.line(LEFT, y, right, y, "f-edge" if tick == 0 else "f-rule"))
        parts.append(svg.text(LEFT - 8, y + 4, f"{tick:g}", "f-small", "end"))
    for at, stage in enumerate(stages):
        parts.append(svg.text(_x(at, len(stages), right), top + PLOT + 18, stage, "f-small", "middle"))
    return parts


def _lines(panel: StagePanel, names: Sequence[str], count: int, right: float, top: float) -> list[str]:
    parts: list[str] = []
    ends: dict[str, float] = {}
    for name, line in panel.lines.items():
        index = names.index(name)
        kind = f"f-c{index % COLOURS} f-d{index // COLOURS % 4}"
        aside = (index - (len(names) - 1) / 2) * ASIDE
        known = [(_x(at, count, right) + aside, point) for at, point in enumerate(line) if point is not None]
        if not known:
            continue
        parts.append(svg.path([(x, _y(point.value, top)) for x, point in known], f"f-series {kind}", name))
        for x, point in known:
            words = f"{name} {point.value:.2f}"
            if point.low is not None and point.high is not None:
                low, high = _y(point.low, top), _y(point.high, top)
                parts.append(svg.path([(x, low), (x, high)], f"f-series {kind}", words))
            parts.append(svg.circle(x, _y(point.value, top), 2.5, f"f-b{index % COLOURS}", words))
        ends[name] = _y(known[-1][1].value, top)
    for name, y in svg.apart(ends, top, top + PLOT).items():
        kind = f"f-c{names.index(name) % COLOURS} f-d{names.index(name) // COLOURS % 4}"
        course = [(right - 18, ends[name]), (right, ends[name]), (right + 12, y), (right + 18, y)]
        parts.append(svg.path(course, f"f-leader {kind}", name))
        parts.append(svg.text(right + 23, y + 4, svg.shortened(name, MOST_LABEL)))
    return parts


def _x(at: int, count: int, right: float) -> float:
    first, last = LEFT + 30, right - 30
    return (first + last) / 2 if count == 1 else first + at / (count - 1) * (last - first)


def _y(share: float, top: float) -> float:
    return top + PLOT * (1 - min(max(share, 0.0), 1.0))


def _told(panel: StagePanel) -> str:
    lines = (
        f"{name} {', '.join('none' if point is None else f'{point.value:.2f}' for point in line)}"
        for name, line in panel.lines.items()
    )
    return f"{panel.title}: {'; '.join(lines)}"
