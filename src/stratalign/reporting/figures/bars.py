"""Draws grouped vertical bars: one group per condition or model, in each a bar per series, perhaps with whiskers.

Knows nothing of what is counted. Scores have bars with whiskers (Figure 2), times are stacked (Figure 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign.reporting.figures import svg

LEFT, TOP, PLOT, FOOT, KEY, LEAST_GROUP = 58.0, 14.0, 230.0, 30.0, 24.0, 56.0
WIDTH = 1040.0
COLOURS = 7


@dataclass(frozen=True)
class Bar:
    """`parts` are stacked from the axis up; `low` and `high` end the whisker; `words` are what a pointer shows."""

    series: str
    parts: tuple[float, ...]
    words: str
    low: float | None = None
    high: float | None = None

    @property
    def top(self) -> float:
        return sum(self.parts)


@dataclass(frozen=True)
class Group:
    name: str
    bars: tuple[Bar, ...]


def grouped_bars(groups: Sequence[Group], told: str, unit: str, floor: float = 0.0) -> svg.Drawing | None:
    """The bars, or None where there are none.

    Args:
        groups: from left to right; every group has the same series or some of them.
        told: what the figure shows, for whoever cannot see it.
        unit: the label of the axis.
        floor: the value at which bars begin (1 on a scale from 1 to 5).
    """
    groups = [group for group in groups if group.bars]
    if not groups:
        return None
    series = list(dict.fromkeys(bar.series for group in groups for bar in group.bars))
    frame = _frame(groups, len(series), floor)
    key, width = _key(series) if len(series) > 1 else ([], 0.0)
    parts = [*key, *frame.axes(unit)]
    for at, group in enumerate(groups):
        middle = frame.middle(at)
        parts.append(
            svg.text(middle, frame.bottom + 18, svg.shortened(group.name, frame.group - 4), anchor="middle")
        )
        for bar in group.bars:
            parts += _bar(bar, frame, middle, series.index(bar.series), len(series))
    values = "; ".join(f"{group.name}: {bar.words}" for group in groups for bar in group.bars)
    return svg.Drawing(
        max(frame.right + 10, width), frame.bottom + FOOT, f"{told} {values}.", "\n".join(parts)
    )


@dataclass(frozen=True)
class _Frame:
    left: float
    right: float
    top: float
    bottom: float
    group: float
    floor: float
    ceiling: float

    def y(self, value: float) -> float:
        share = (value - self.floor) / (self.ceiling - self.floor)
        return self.bottom - min(max(share, 0.0), 1.0) * (self.bottom - self.top)

    def middle(self, at: int) -> float:
        return self.left + self.group * (at + 0.5)

    def axes(self, unit: str) -> list[str]:
        parts = [svg.text(self.left, self.top - 6, unit, "f-small")]
        for tick in svg.ticks(self.floor, self.ceiling):
            parts.append(
                svg.line(
                    self.left,
                    self.y(tick),
                    self.right,
                    self.y(tick),
                    "f-edge" if tick == self.floor else "f-rule",
                )
            )
            parts.append(svg.text(self.left - 8, self.y(tick) + 4, f"{tick:.6g}", "f-small", "end"))
        return parts


def _frame(groups: Sequence[Group], series: int, floor: float) -> _Frame:
    bars = [bar for group in groups for bar in group.bars]
    highest = max(max(bar.top, bar.high or bar.top) for bar in bars)
    floor = min(floor, *(bar.top for bar in bars), 0.0 if floor == 0 else floor)
    widest = min(max(svg.width_of(group.name) for group in groups) + 10, 130.0)
    size = max(LEAST_GROUP, widest, min(series * 26.0 + 20, (WIDTH - LEFT) / len(groups)))
    top = TOP + 8 + (KEY if series > 1 else 0)
    ceiling = highest + 0.04 * (highest - floor) if highest > floor else floor + 1
    return _Frame(LEFT, LEFT + size * len(groups), top, top + PLOT, size, floor, ceiling)


def _bar(bar: Bar, frame: _Frame, middle: float, index: int, count: int) -> list[str]:
    width = min((frame.group - 12) / count, 34.0)
    x = middle + (index - count / 2) * width
    parts, value = [], 0.0
    for at, part in enumerate(bar.parts):
        start, end = (frame.floor if at == 0 else value), value + part
        kind = f"f-b{index % COLOURS}" + (" f-part" if at else "")
        height = frame.y(start) - frame.y(end)
        parts.append(
            svg.rect(
                x + 1, frame.y(end), max(width - 2, 1.0), max(height, 0.0), kind, f"{bar.series}: {bar.words}"
            )
        )
        value = end
    if bar.low is not None and bar.high is not None:
        at_x = x + width / 2
        parts.append(svg.line(at_x, frame.y(bar.low), at_x, frame.y(bar.high), "f-whisker"))
        for end in (bar.low, bar.high):
            parts.append(svg.line(at_x - 4, frame.y(end), at_x + 4, frame.y(end), "f-whisker"))
    return parts


def _key(series: Sequence[str]) -> tuple[list[str], float]:
    """The squares with their names on one line, and where the line ends."""
    parts: list[str] = []
    x = LEFT
    for index, name in enumerate(series):
        shown = svg.shortened(name, 170.0)
        parts.append(svg.rect(x, 4, 11, 11, f"f-b{index % COLOURS}"))
        parts.append(svg.text(x + 17, 14, shown))
        x += 17 + svg.width_of(shown) + 18
    return parts, x
