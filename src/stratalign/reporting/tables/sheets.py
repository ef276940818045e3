"""Tables of text, and CSV. Knows nothing of what the cells say.

Text that a spreadsheet would read as a formula is defused with a leading apostrophe; numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class TextTable(NamedTuple):
    """Cells as people read them, for a page or LaTeX; the columns from `numbers_from` on are aligned to the right."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers_from: int


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """A table: floats in full, nothing for None, text that a spreadsheet would read as a formula defused."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(name) for name in header])
    writer.writerows([_cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def _cell(value: object) -> str:
    """A cell: floats in full, None as nothing, truth as true or false, text defused."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
