"""Tables as LaTeX (booktabs). Every cell is text: nothing that a cell holds can become a command.

Knows nothing of what the tables say. The files need `\\usepackage{booktabs}` and an engine that reads UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.reporting.tables.sheets import TextTable

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "−": r"\textminus{}",
    "–": "--",
    "±": r"\textpm{}",
}
"""Brackets too: one that begins a row would be read as the argument of the line break before it."""
LONGEST = 200


def escaped(text: str) -> str:
    """Text for LaTeX: special characters as commands that print them, no control characters, on one line."""
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    return "".join(SPECIAL.get(one, one if one.isprintable() else "") for one in line)


def tabular(table: TextTable) -> str:
    """A complete table environment."""
    columns = "".join("l" if at < table.numbers_from else "r" for at in range(len(table.header)))
    lines = [_row(row) for row in table.rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs} and, before LaTeX of 2020, \usepackage{textcomp}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(table.caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _row(table.header),
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _row(cells: Sequence[str]) -> str:
    return " & ".join(escaped(cell) for cell in cells) + r" \\"
