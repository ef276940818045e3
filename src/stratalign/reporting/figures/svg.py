"""The few SVG elements that the figures are made of. Text is escaped, numbers are short, colours are CSS classes.

Knows nothing of what is drawn. Drawn by hand instead of by a plotting library, so that the bytes depend on no
library's version and one figure serves light pages, dark pages and paper (`figures.css` has the colours).
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STYLE = (Path(__file__).parent / "figures.css").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Drawing:
    """A figure of `width` x `height` pixels; `title` says what it shows to whoever cannot see it."""

    width: float
    height: float
    title: str
    body: str

    def inline(self) -> str:
        """The figure for a page that has `STYLE`."""
        return self._svg("", "")

    def standalone(self) -> str:
        """The figure as a file of its own, with its colours and background."""
        background = f'<rect class="f-paper" width="{number(self.width)}" height="{number(self.height)}"/>\n'
        return (
            self._svg(' xmlns="http://www.w3.org/2000/svg"', f"<style>\n{STYLE}</style>\n{background}") + "\n"
        )

    def _svg(self, namespace: str, before: str) -> str:
        width, height = number(self.width), number(self.height)
        return (
            f'<svg{namespace} class="figure" role="img" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}">\n<title>{_escaped(self.title)}</title>\n{before}{self.body}\n</svg>'
        )


def number(value: float) -> str:
    """A coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def text(x: float, y: float, content: str, kind: str = "f-text", anchor: str = "start") -> str:
    """A line of text whose baseline starts, ends or is centred at (x, y)."""
    return (
        f'<text class="{kind}" x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">'
        f"{_escaped(content)}</text>"
    )


def tilted(x: float, y: float, content: str, kind: str = "f-text") -> str:
    """A line of text that starts at (x, y) and rises to the right by 40 degrees."""
    at = f"{number(x)} {number(y)}"
    turned = f'transform="rotate(-40 {at})"'
    return f'<text class="{kind}" x="{number(x)}" y="{number(y)}" {turned}>{_escaped(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{number(x1)}" y1="{number(y1)}" x2="{number(x2)}" y2="{number(y2)}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    shape = (
        f'class="{kind}" x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"'
    )
    return f"<rect {shape}><title>{_escaped(title)}</title></rect>" if title else f"<rect {shape}/>"


def circle(x: float, y: float, radius: float, kind: str, title: str) -> str:
    return (
        f'<circle class="{kind}" cx="{number(x)}" cy="{number(y)}" r="{number(radius)}">'
        f"<title>{_escaped(title)}</title></circle>"
    )


def path(points: Iterable[tuple[float, float]], kind: str, title: str) -> str:
    """A line through `points`."""
    course = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return f'<polyline class="{kind}" points="{course}"><title>{_escaped(title)}</title></polyline>'


def _escaped(content: str) -> str:
    """Text that is inert, and that XML allows: control characters are left out."""
    return html.escape("".join(character for character in content if character.isprintable()))


def width_of(label: str) -> float:
    """How wide a label of the figures' 12 px text is at most, in pixels, in the common system fonts."""
    return 7.2 * len(label)


def shortened(label: str, width: float) -> str:
    """The label, with its middle left out where it would be wider than `width` pixels."""
    room = max(int(width / 7.2), 3)
    if len(label) <= room:
        return label
    return f"{label[: room // 2]}…{label[len(label) - (room - 1 - room // 2) :]}"


def ticks(low: float, high: float, about: int = 5) -> Sequence[float]:
    """Round numbers between `low` and `high`, about as many as asked for."""
    raw = (high - low) / max(about, 1)
    if not raw > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    return [index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def apart(ends: Mapping[str, float], top: float, bottom: float, gap: float = 15.0) -> dict[str, float]:
    """Where labels go: as near to `ends` (y by name) as keeps them `gap` apart, and inside the frame where they fit."""
    placed: dict[str, float] = {}
    y = top - gap
    for name in sorted(ends, key=lambda name: (ends[name], name)):
        y = placed[name] = max(ends[name], y + gap)
    limit = bottom
    for name in reversed(placed):
        limit = placed[name] = min(placed[name], limit)
        limit -= gap
    return placed
