"""The long table of scores as CSV: one row for each run, prompt, dimension and repeat."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from stratalign.records.files import write_text
from stratalign.records.kinds import Score


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Replace the long table of scores; a null value is an empty cell."""
    buffer = io.StringIO()
    names = [field.name for field in fields(Score)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    cells = attrgetter(*names)
    writer.writerows(["" if cell is None else cell for cell in cells(score)] for score in scores)
    write_text(path, buffer.getvalue())


def read_scores(path: Path) -> list[Score]:
    """The long table of scores; an absent file has no scores."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        at = [header.index(field.name) for field in fields(Score)] if header else []
        same: dict[str, str] = {}  # of cells that are equal one is kept: a table has few different ones
        return [_score(*(same.setdefault(row[index], row[index]) for index in at)) for row in reader if row]


def _score(
    prompt_id: str, cluster: str, run: str, seed: str, judge: str, protocol: str, dimension: str, *rest: str
) -> Score:
    repeat, value, state = rest
    number = float(value) if value != "" else None
    return Score(prompt_id, cluster, run, int(seed), judge, protocol, dimension, int(repeat), number, state)
