"""Numbers as people read them: a true minus sign, few digits, a dash for what is not known. For pages and figures
only; results and tables keep every digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NOTHING = "–"
NAMED = 5
"""More names than this would fill a line."""
ROUNDING = 1e-12
"""What floating point makes of a 0 is smaller than this."""


def plain(value: float | None, digits: int = 3) -> str:
    """1234 -> '1,234', 0.25 -> '0.250'; a small number keeps significant digits instead of becoming 0."""
    if value is None:
        return NOTHING
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if 0 < abs(value) < 0.5 * 10**-digits:
        return f"{value:.2g}".replace("-", "−")
    return f"{value:,.{digits}f}".replace("-", "−")


def detectable(rate: float | None) -> str:
    """A smallest detectable net win rate: '0.14'; 'none' where it would have to be above 1, which no rate is."""
    return "none" if rate is not None and rate >= 1 else plain(rate, 2)


def signed(value: float | None, digits: int = 3) -> str:
    """0.25 -> '+0.250', -0.25 -> '−0.250', 0 -> '0'; what rounds to 0 has no sign."""
    if value is None:
        return NOTHING
    if abs(value) < ROUNDING:
        return "0"
    if abs(value) < 0.5 * 10**-digits:
        return f"{0:.{digits}f}"
    return f"{value:+.{digits}f}".replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """'[−0.010, +0.320]', or a dash where it is undefined."""
    if low is None or high is None:
        return NOTHING
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def p_value(value: float | None) -> str:
    """'0.003', '<0.001'."""
    if value is None:
        return NOTHING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f} %"


def seconds(value: float | None) -> str:
    """'4.20 s', '3 min 05 s', '2 h 07 min'."""
    if value is None:
        return NOTHING
    if value < 59.95:
        return f"{value:.2f} s" if value < 9.995 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: int | None) -> str:
    """Bytes: '512 B', '98.2 kB', '1.3 MB'."""
    if value is None:
        return NOTHING
    if value < 1000:
        return f"{value} B"
    return f"{value / 1000:,.1f} kB" if value < 1_000_000 else f"{value / 1_000_000:,.1f} MB"


def listed(names: Sequence[str], last: str = "and") -> str:
    """'a', 'a and b', 'a, b and c'."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def several(names: Sequence[str], last: str = "and") -> str:
    """The names, or how many there are where they would fill a line."""
    return listed(names, last) if len(names) <= NAMED else f"{len(names)} conditions"


def spans(layers: Sequence[int]) -> str:
    """Layer numbers: '0–3, 7'; 'none' without layers."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "none"


def by_kind(modules: Mapping[str, Sequence[int]]) -> str:
    """Modules, kind -> layers: 'v_proj of layers 0 and 9–11; o_proj of layer 3'."""
    return "; ".join(
        f"{kind} of layer{'s' if len(layers) > 1 else ''} {listed(spans(layers).split(', '))}"
        for kind, layers in modules.items()
    )
