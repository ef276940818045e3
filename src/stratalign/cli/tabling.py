"""Tables on the terminal: columns, numbers and intervals. Knows nothing of what stands in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from stratalign.errors import visible

WORDS = frozenset(
    [
        "and",
        "assumed",
        "beside the draws",
        "block",
        "condition",
        "contrast",
        "dimension",
        "effect",
        "elsewhere",
        "gradient",
        "kind",
        "labels",
        "layers",
        "loss",
        "measure",
        "module",
        "run",
        "stage",
        "trains",
        "verdict",
        "window",
        "worst loss elsewhere",
    ]
)
"""Columns of words, aligned to the left; all others are numbers."""


class _PlainTable(Table):
    """A table whose cells are shown as they are: no markup, no control characters."""

    def add_row(self, *cells: Any, **settings: Any) -> None:
        super().add_row(
            *(Text(visible(cell)) if isinstance(cell, str) else cell for cell in cells), **settings
        )


def table(*names: str) -> Table:
    """An empty table with these columns."""
    found = _PlainTable(box=None, pad_edge=False)
    for name in names:
        found.add_column(name, justify="left" if name in WORDS else "right", overflow="fold")
    return found


def interval(row: Mapping[str, Any], form: str) -> str:
    """'[0.2, 0.3]', from `low` and `high`."""
    return f"[{number(row['low'], form)}, {number(row['high'], form)}]"


def number(value: float | None, form: str) -> str:
    """The number in this form, or a dash."""
    return "-" if value is None else form.format(value)
