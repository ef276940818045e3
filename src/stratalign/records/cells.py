"""Text that a spreadsheet shows and does not run, and back. Knows nothing of what the cells mean.

Spreadsheets compute a cell that begins like a formula, wherever the file came from. An apostrophe before it makes
it text. A cell that begins with an apostrophe gets one too, so that taking it off gives the text back exactly.
"""

from __future__ import annotations

_RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def guarded_cell(text: str) -> str:
    """`text`, behind an apostrophe where a spreadsheet could take it for a formula.

    >>> guarded_cell("=1+1"), guarded_cell("1+1")
    ("'=1+1", '1+1')
    """
    return f"'{text}" if text.startswith(("'", *_RISKY)) else text


def restored_cell(cell: str) -> str:
    """What `guarded_cell` was given. A cell without an apostrophe, such as one that a spreadsheet took off, stays."""
    return cell.removeprefix("'")
