"""Draws the net win rate of every condition against base, with its interval: one panel per measure with a direction.

Nothing is turned round: right is higher, an arrow says which side is better, and colour and filling say which
conditions' intervals exclude 0. Knows results only; nothing of files or pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.figures import svg
from stratalign.reporting.findings.evidence import objective_measures
from stratalign.reporting.numbers import interval, signed
from stratalign.reporting.results import Results

WIDTH, ROW, GAP, HEAD, FOOT, VALUES = 1040.0, 23.0, 40.0, 26.0, 56.0, 158.0
MOST_LABEL = 150.0
KINDS = {"better": "f-better", "worse": "f-worse"}


def forest_plot(results: Results, protocol: tuple[str, str] | None) -> svg.Drawing | None:
    """The plot of one (judge, protocol), or None where no measure of it with a direction has been compared."""
    groups = _groups(results, protocol)
    if not groups:
        return None
    rows = [row for _, group in groups for row in group]
    columns = min(2, len(groups))
    width = (WIDTH - GAP) / 2 if columns == 2 else 780.0
    label = min(max(svg.width_of(row.condition) for row in rows) + 12, MOST_LABEL)
    parts: list[str] = []
    y = 0.0
    for start in range(0, len(groups), columns):
        beside = groups[start : start + columns]
        for column, (title, group) in enumerate(beside):
            x = column * (width + GAP)
            parts += _Panel(title, group, x + label, x + width - VALUES, y + HEAD, _reach(rows)).parts()
        y += HEAD + ROW * max(len(group) for _, group in beside) + FOOT
    return svg.Drawing(columns * width + GAP * (columns - 1), y - 12, _told(rows), "\n".join(parts))


def _groups(results: Results, protocol: tuple[str, str] | None) -> list[tuple[str, list[Contrast]]]:
    """The comparisons over all seeds of each measure that has a direction, under its name; the objective first."""
    measures = [one for one in results.measures if one.key[:2] == protocol and one.better]
    meant = objective_measures(measures, results.objective)
    groups = []
    for measure in sorted(measures, key=lambda one: one not in meant):
        rows = [
            one
            for one in results.comparisons
            if one.seed is None and one.net_win_rate is not None and one.key == measure.key
        ]
        if rows:
            groups.append((measure.dimension, rows))
    return groups


def _reach(rows: Sequence[Contrast]) -> float:
    """How far the axis goes to both sides of 0: the same in every panel, and never less than 0.1."""
    far = max(
        abs(value) for row in rows for value in (row.net_win_rate, row.low, row.high) if value is not None
    )
    return next((reach for reach in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8) if far <= reach), 1.0)


def _told(rows: Sequence[Contrast]) -> str:
    told = "; ".join(
        f"{row.dimension}, {row.condition}: {signed(row.net_win_rate)} {interval(row.low, row.high)}, {row.verdict}"
        for row in rows
    )
    return f"Net win rate of each condition against base. {told}."


@dataclass(frozen=True)
class _Panel:
    """One measure's rows between `left` and `right`, where the axis runs from -reach to +reach, below `top`."""

    title: str
    rows: Sequence[Contrast]
    left: float
    right: float
    top: float
    reach: float

    def parts(self) -> list[str]:
        return [*self._axis(), *(part for index in range(len(self.rows)) for part in self._row(index))]

    def _at(self, value: float) -> float:
        return self.left + (value + self.reach) / (2 * self.reach) * (self.right - self.left)

    def _axis(self) -> list[str]:
        bottom = self.top + ROW * len(self.rows)
        ticks = [self.reach * share for share in (-1, -0.5, 0, 0.5, 1)]
        parts = [svg.text(self.left, self.top - 12, self.title, "f-strong")]
        for tick in ticks:
            x = self._at(tick)
            parts.append(svg.line(x, self.top - 2, x, bottom + 3, "f-rule" if tick else "f-zero"))
            parts.append(svg.text(x, bottom + 16, signed(tick, 2), "f-small", "middle"))
        if self.rows[0].better == "higher":
            parts.append(svg.text(self.right, bottom + 31, "better →", "f-small", "end"))
        else:
            parts.append(svg.text(self.left, bottom + 31, "← better", "f-small"))
        return parts

    def _row(self, index: int) -> list[str]:
        row, y = self.rows[index], self.top + ROW * (index + 0.5)
        kind = KINDS.get(row.verdict, "f-unsure")
        rate = row.net_win_rate or 0.0
        values = f"{signed(rate, 2)} {interval(row.low, row.high, 2)}"
        parts = [svg.text(self.left - 12, y + 4, svg.shortened(row.condition, MOST_LABEL - 12), anchor="end")]
        if row.low is not None and row.high is not None:
            parts.append(svg.line(self._at(row.low), y, self._at(row.high), y, kind))
        parts.append(svg.circle(self._at(rate), y, 4.5, kind, f"{row.condition}: {values}, {row.verdict}"))
        parts.append(
            svg.text(self.right + 16, y + 4, values, "f-text" if row.verdict in KINDS else "f-muted")
        )
        return parts
