"""Draws mean scores as a heatmap: a row per dimension, a column per model and condition, a number in every cell.

Knows nothing of where the means come from. Colours go in nine steps from the lowest mean to the highest: over all
cells where all rows share a unit, and row by row where they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from stratalign.reporting.figures import svg
from stratalign.reporting.numbers import plain

ROW, STEPS, MOST_LABEL, TILT = 22.0, 9, 190.0, 0.64
WIDTH, WIDE, NARROW = 1040.0, 52.0, 38.0


class HeatRow(NamedTuple):
    """One dimension: its means [columns] in its unit, None where a column has none."""

    name: str
    category: str
    unit: str
    means: tuple[float | None, ...]


class HeatColumn(NamedTuple):
    group: str
    name: str


def heatmap(
    columns: Sequence[HeatColumn],
    rows: Sequence[HeatRow],
    scale: tuple[float, float] | None = None,
    about: str = "Mean scores",
) -> svg.Drawing | None:
    """The map, or None without a mean; `scale` is the judge's, where the rows are on it and colours should be.

    `about` begins what is told to whoever cannot see it.
    """
    rows = [row for row in rows if any(mean is not None for mean in row.means)]
    if not rows or not columns:
        return None
    left = min(max(svg.width_of(row.name) for row in rows) + 14, MOST_LABEL)
    tail = 40.0
    cell = min(max((WIDTH - left - tail) / len(columns), NARROW), WIDE)
    head = max(svg.width_of(svg.shortened(column.name, 110.0)) for column in columns) * TILT + 20
    grouped = len({column.group for column in columns}) > 1
    top = head + (22.0 if grouped else 0.0)
    parts = _heads(columns, left, top, cell, grouped)
    together = (
        _range([mean for row in rows for mean in row.means]) if len({row.unit for row in rows}) == 1 else None
    )
    y, before = top, None
    for row in rows:
        if row.category and row.category != before:
            parts.append(svg.text(0, y + 15, row.category, "f-strong"))
            y, before = y + ROW, row.category
        low, high = scale or together or _range(row.means) or (0.0, 1.0)
        parts.append(svg.text(left - 10, y + 15, svg.shortened(row.name, left - 12), anchor="end"))
        for at, (column, mean) in enumerate(zip(columns, row.means, strict=True)):
            parts += _cell(left + cell * at, y, cell, row, column, mean, low, high)
        y += ROW
    for at, (one, other) in enumerate(pairwise(columns), 1):
        if one.group != other.group:
            parts.append(svg.line(left + cell * at, top - 4, left + cell * at, y, "f-edge"))
    names = [column.name for column in columns]
    told = "; ".join(
        f"{row.name}: {', '.join(f'{name} {plain(mean, 2)}' for name, mean in zip(names, row.means, strict=True))}"
        for row in rows
    )
    return svg.Drawing(left + cell * len(columns) + tail, y + 4, f"{about}. {told}.", "\n".join(parts))


def _range(means: Sequence[float | None]) -> tuple[float, float] | None:
    known = [mean for mean in means if mean is not None]
    return (min(known), max(known)) if known else None


def _cell(
    x: float,
    y: float,
    cell: float,
    row: HeatRow,
    column: HeatColumn,
    mean: float | None,
    low: float,
    high: float,
) -> list[str]:
    if mean is None:
        return [svg.text(x + cell / 2, y + 15, "–", "f-small", "middle")]
    share = (mean - low) / (high - low) if high > low else 0.5
    step = min(max(int(share * STEPS), 0), STEPS - 1)
    title = f"{row.name}, {column.group} {column.name}: {plain(mean)} {row.unit}"
    return [
        svg.rect(x + 1, y + 1, cell - 2, ROW - 2, f"f-h{step}", title),
        svg.text(x + cell / 2, y + 15, plain(mean, 2), "f-on-dark" if step > 5 else "f-on-light", "middle"),
    ]


def _heads(columns: Sequence[HeatColumn], left: float, top: float, cell: float, grouped: bool) -> list[str]:
    parts = [
        svg.tilted(left + cell * (at + 0.5) - 3, top - 8, svg.shortened(column.name, 110.0))
        for at, column in enumerate(columns)
    ]
    if grouped:
        edges = [
            0,
            *(at for at in range(1, len(columns)) if columns[at].group != columns[at - 1].group),
            len(columns),
        ]
        for start, stop in pairwise(edges):
            room = cell * (stop - start)
            parts.append(
                svg.text(left + cell * start, 14, svg.shortened(columns[start].group, room - 8), "f-strong")
            )
    return parts
