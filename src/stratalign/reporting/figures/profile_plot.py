"""Draws the layer profile: above, the share of full's gain that each window recovers, with the random draws as a band;
below, its worst loss elsewhere. Depth runs from the first layer on the left to the last one. Knows a profile only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stratalign.reporting.comparisons.shares import Share, Shares
from stratalign.reporting.figures import svg
from stratalign.reporting.findings.profile import Place, Profile
from stratalign.reporting.numbers import interval, plain, signed, spans

WIDTH, LEFT, RIGHT = 900.0, 56.0, 168.0
HEAD, HIGH, BETWEEN, LOW, FOOT = 74.0, 250.0, 62.0, 120.0, 46.0
MOST, LEAST = 2.0, -1.0
"""An interval that reaches beyond these shares is cut off at the frame: it would flatten all others."""
_At = Callable[[float], float]
KINDS = {"above": "f-better", "below": "f-worse"}


@dataclass(frozen=True)
class _Axis:
    """From a value to a height."""

    low: float
    high: float
    top: float
    bottom: float

    def __call__(self, value: float) -> float:
        kept = min(max(value, self.low), self.high)
        return self.bottom - (kept - self.low) / (self.high - self.low) * (self.bottom - self.top)


def profile_plot(profile: Profile | None, partition: Mapping[str, Sequence[int]]) -> svg.Drawing | None:
    """The figure of the first dimension of the objective; None without windows, and where there are no shares."""
    if profile is None or not profile.shares:
        return None
    shares = profile.shares[0]
    rows = [one for one in shares.conditions if one.share is not None]
    if not rows:
        return None
    places = {one.condition: one for one in profile.places}
    costs = [places[one.condition] for one in rows if places[one.condition].worst is not None]
    top, bottom = HEAD, HEAD + HIGH
    floor = bottom + BETWEEN + LOW if costs else bottom
    cell = (WIDTH - LEFT - RIGHT) / profile.layers

    def x(layer: float) -> float:
        return LEFT + (layer + 0.5) * cell

    parts = _thirds(partition, profile.layers, cell, top, floor)
    parts += _shares(shares, rows, places, profile, x, _Axis(*_reach(shares, rows), top, bottom))
    if costs:
        draws = [one for one in profile.places if one.kind == "draw" and one.worst is not None]
        parts += _costs(costs, draws, x, cell, bottom + BETWEEN, floor)
    parts += _depth(profile.layers, x, cell, floor)
    return svg.Drawing(WIDTH, floor + FOOT, _title(shares, rows, costs), "\n".join(parts))


def _thirds(
    partition: Mapping[str, Sequence[int]], layers: int, cell: float, top: float, floor: float
) -> list[str]:
    """A line wherever the block changes, and the blocks' names over their layers."""
    block_of = {layer: name for name, own in partition.items() for layer in own}
    edges = [at for at in range(1, layers) if block_of.get(at) != block_of.get(at - 1)]
    parts = [svg.line(LEFT + cell * at, top - 22, LEFT + cell * at, floor, "f-edge f-d2") for at in edges]
    for start, stop in zip([0, *edges], [*edges, layers], strict=True):
        name = svg.shortened(block_of.get(start, ""), cell * (stop - start) - 4)
        parts.append(svg.text(LEFT + cell * (start + stop) / 2, top - 12, name, "f-muted", "middle"))
    return parts


def _shares(
    shares: Shares,
    rows: Sequence[Share],
    places: Mapping[str, Place],
    profile: Profile,
    x: _At,
    y: _Axis,
) -> list[str]:
    right = WIDTH - RIGHT
    parts = [
        svg.text(
            LEFT,
            18,
            f"Share of full's gain on {shares.dimension} that training these layers alone suffices for",
            "f-strong",
        )
    ]
    labels: dict[str, float] = {}
    band = shares.band
    if band is not None and band.lowest is not None and band.highest is not None and band.mean is not None:
        reach = f"{plain(band.lowest, 2)} to {plain(band.highest, 2)}, mean {plain(band.mean, 2)}"
        told = f"{len(band.draws)} random draws: {reach}"
        height = max(y(band.lowest) - y(band.highest), 1.0)
        parts.append(svg.rect(LEFT, y(band.highest), right - LEFT, height, "f-band", told))
        parts.append(svg.line(LEFT, y(band.mean), right, y(band.mean), "f-leader f-c6 f-d1"))
        labels[f"{len(band.draws)} random draws"] = y(band.mean)
        parts += [
            svg.line(right, y(one.share), right + 6, y(one.share), "f-leader f-c6")
            for one in band.draws
            if one.share is not None
        ]
    for tick in svg.ticks(y.low, y.high, 5):
        parts.append(svg.line(LEFT, y(tick), right, y(tick), "f-rule" if tick else "f-zero"))
        parts.append(
            svg.text(LEFT - 8, y(tick) + 4, plain(tick, 2).rstrip("0").rstrip(".") or "0", "f-small", "end")
        )
    parts.append(svg.line(LEFT, y(1), right, y(1), "f-leader f-c1"))
    labels |= {"full": y(1), "base": y(0)}
    for name, at in svg.apart(labels, y.top, y.bottom).items():
        parts.append(svg.text(right + 10, at + 4, name, "f-text" if name != "base" else "f-muted"))
    middles = [(x(places[one.condition].middle), y(one.share or 0.0)) for one in rows]
    if len(middles) > 1:
        parts.append(svg.path(middles, "f-series f-c0 f-faint", f"{shares.dimension} by depth"))
    for one, (at, height) in zip(rows, middles, strict=True):
        place, kind = places[one.condition], _kind(one)
        if one.low is not None and one.high is not None:
            parts.append(svg.line(at, y(one.low), at, y(one.high), f"{kind} f-thin"))
        half = len(place.layers) / 2
        if len(place.layers) > 1:
            parts.append(
                svg.line(
                    x(place.middle - half + 0.06), height, x(place.middle + half - 0.06), height, "f-span"
                )
            )
    for one, (at, height) in zip(rows, middles, strict=True):
        parts.append(svg.circle(at, height, 5, _kind(one), _words(one, places[one.condition])))
    return parts


def _costs(
    rows: Sequence[Place], draws: Sequence[Place], x: _At, cell: float, top: float, floor: float
) -> list[str]:
    values = [0.0] + [v for one in rows for v in (one.worst, one.worst_low, one.worst_high) if v is not None]
    values += [one.worst for one in draws if one.worst is not None]
    room = 0.08 * (max(values) - min(values)) or 0.05
    y = _Axis(min(values) - room, max(values) + room, top, floor)
    right = WIDTH - RIGHT
    parts = [
        svg.text(
            LEFT,
            top - 14,
            "Worst loss elsewhere: the lowest net win rate against base on any other dimension",
            "f-strong",
        )
    ]
    worst = [one.worst for one in draws if one.worst is not None]
    labels = {"no loss": y(0)}
    if worst:
        told = f"the draws' worst: {signed(min(worst), 2)} to {signed(max(worst), 2)}"
        height = max(y(min(worst)) - y(max(worst)), 1.0)
        parts.append(svg.rect(LEFT, y(max(worst)), right - LEFT, height, "f-band", told))
        labels[f"{len(worst)} random draws"] = y(sum(worst) / len(worst))
    for tick in svg.ticks(y.low, y.high, 3):
        parts.append(svg.line(LEFT, y(tick), right, y(tick), "f-rule" if tick else "f-zero"))
        parts.append(svg.text(LEFT - 8, y(tick) + 4, signed(tick, 2), "f-small", "end"))
    for name, at in svg.apart(labels, top, floor).items():
        parts.append(svg.text(right + 10, at + 4, name, "f-muted"))
    for one in rows:
        at, kind = x(one.middle), _cost_kind(one)
        if one.worst_low is not None and one.worst_high is not None:
            parts.append(svg.line(at, y(one.worst_low), at, y(one.worst_high), f"{kind} f-thin"))
        bounds = interval(one.worst_low, one.worst_high, 2)
        told = f"{one.condition}: {one.worst_dimension} {signed(one.worst, 2)} {bounds}"
        parts.append(svg.circle(at, y(one.worst or 0.0), 4.5, kind, told))
    return parts


def _depth(layers: int, x: _At, cell: float, floor: float) -> list[str]:
    every = next(step for step in (1, 2, 4, 5, 10, 20, 50, 100) if step * cell >= 24 or step == 100)
    parts = [
        svg.text(x(layer), floor + 18, str(layer), "f-small", "middle") for layer in range(0, layers, every)
    ]
    return [*parts, svg.text(LEFT + cell * layers / 2, floor + 36, "layer", "f-small", "middle")]


def _reach(shares: Shares, rows: Sequence[Share]) -> tuple[float, float]:
    """The ends of the axis: base and full, every window's interval, and the band, as far as the frame goes."""
    values = [0.0, 1.0] + [v for one in rows for v in (one.share, one.low, one.high) if v is not None]
    if shares.band is not None:
        values += [v for v in (shares.band.lowest, shares.band.highest) if v is not None]
    kept = [min(max(value, LEAST), MOST) for value in values]
    room = 0.05 * (max(kept) - min(kept))
    return min(kept) - room, max(kept) + room


def _kind(one: Share) -> str:
    """Filled where it can be told: from every draw, or without draws from nothing."""
    if one.standing is not None:
        return KINDS.get(one.standing, "f-unsure")
    return "f-better" if one.low is not None and one.low > 0 else "f-unsure"


def _cost_kind(one: Place) -> str:
    if one.worst_high is not None and one.worst_high < 0:
        return "f-worse"
    return "f-better" if one.worst_low is not None and one.worst_low > 0 else "f-unsure"


def _words(one: Share, place: Place) -> str:
    standing = {
        "above": ", above every draw",
        "below": ", below every draw",
        "cannot tell": ", cannot tell from the draws",
    }
    bounds = f" [{plain(one.low, 2)}, {plain(one.high, 2)}]" if one.low is not None else ""
    told = f"{one.condition} (layers {spans(place.layers)}): {plain(one.share, 2)}{bounds}"
    return told + standing.get(one.standing or "", "")


def _title(shares: Shares, rows: Sequence[Share], costs: Sequence[Place]) -> str:
    told = "; ".join(
        f"{one.condition} {plain(one.share, 2)} [{plain(one.low, 2)}, {plain(one.high, 2)}]" for one in rows
    )
    lost = "; ".join(f"{one.condition} {one.worst_dimension} {signed(one.worst, 2)}" for one in costs)
    return f"Share of full's gain on {shares.dimension} by depth. {told}. Worst elsewhere: {lost or 'not known'}."
