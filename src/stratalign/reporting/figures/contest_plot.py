"""Draws selectors at equal budget: a dot and an interval for each, the random draws as a band. Knows contests only."""

from __future__ import annotations

from stratalign.reporting.figures import svg
from stratalign.reporting.findings.contests import Contest
from stratalign.reporting.numbers import interval, signed

WIDTH, ROW, LEFT, VALUES, TOP, FOOT = 780.0, 24.0, 150.0, 158.0, 30.0, 72.0
KINDS = {"beats random draws": "f-better", "no better than random": "f-worse"}


def contest_plot(contest: Contest) -> svg.Drawing | None:
    """The plot of one contest, full's gain below the selectors; None where nothing has a number."""
    rows: list[tuple[str, float | None, float | None, float | None, str, str]] = [
        (
            one.condition,
            one.gain,
            one.gain_low,
            one.gain_high,
            KINDS.get(one.verdict, "f-unsure"),
            one.verdict,
        )
        for one in contest.rows
    ]
    if contest.full is not None:
        full = contest.full
        rows.append((full.condition, full.gain, full.low, full.high, "f-c6 f-b6", "all layers"))
    band = contest.band
    values = [value for row in rows for value in row[1:4] if value is not None]
    if not values or band is None:
        return None
    low, high = min(0.0, *values, band[0]), max(0.0, *values, band[1])
    room = 0.04 * (high - low) or 0.05
    low, high = low - room, high + room
    right, bottom = WIDTH - VALUES, TOP + ROW * len(rows)

    def at(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (right - LEFT)

    told_band = f"{len(contest.draws)} random draws: {signed(band[0], 2)} to {signed(band[1], 2)}"
    parts = [
        svg.text(LEFT, TOP - 14, contest.dimension, "f-strong"),
        svg.rect(at(band[0]), TOP, max(at(band[1]) - at(band[0]), 1.0), bottom - TOP, "f-cell", told_band),
    ]
    for tick in svg.ticks(low, high, 7):
        parts.append(
            svg.line(at(tick), TOP, at(tick), bottom + 3, "f-zero" if abs(tick) < 1e-9 else "f-rule")
        )
        parts.append(svg.text(at(tick), bottom + 16, signed(tick, 2), "f-small", "middle"))
    for draw in contest.draws:
        if draw.gain is not None:
            parts.append(svg.line(at(draw.gain), bottom - 5, at(draw.gain), bottom + 3, "f-edge"))
    if contest.mean_of_draws is not None:
        parts.append(
            svg.line(at(contest.mean_of_draws), TOP, at(contest.mean_of_draws), bottom, "f-edge f-d1")
        )
    parts.append(svg.text(LEFT, bottom + 50, f"band: {told_band}; dashes: their mean", "f-small"))
    parts.append(svg.text(right, bottom + 34, "net win rate against base →", "f-small", "end"))
    told = []
    for index, (name, gain, least, most, kind, verdict) in enumerate(rows):
        y = TOP + ROW * (index + 0.5)
        parts.append(svg.text(LEFT - 12, y + 4, svg.shortened(name, LEFT - 16), anchor="end"))
        if gain is None:
            continue
        words = f"{signed(gain, 2)} {interval(least, most, 2)}"
        if least is not None and most is not None:
            parts.append(svg.line(at(least), y, at(most), y, kind))
        parts.append(svg.circle(at(gain), y, 4.5, kind, f"{name}: {words}, {verdict}"))
        parts.append(svg.text(right + 16, y + 4, words))
        told.append(f"{name} {words}, {verdict}")
    title = (
        f"Gain of each selector on {contest.dimension}, beside random draws. {'; '.join(told)}; {told_band}."
    )
    return svg.Drawing(WIDTH, bottom + FOOT - 14, title, "\n".join(parts))
