"""The long table of scores as CSV: one row for each run, prompt, dimension and repeat."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from stratalign.errors import UserError
from stratalign.records.files import write_text
from stratalign.records.kinds import STATES, Score
from stratalign.records.shapes import REMADE, Kind

NAMES = tuple(field.name for field in fields(Score))
TABLE = Kind(None, REMADE)

_key = attrgetter("prompt_id", "run", "judge", "protocol", "dimension", "repeat")


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Replace the long table of scores; a null value is an empty cell."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(NAMES)
    cells = attrgetter(*NAMES)
    writer.writerows(["" if cell is None else cell for cell in cells(score)] for score in scores)
    write_text(path, buffer.getvalue())


def read_scores(path: Path) -> list[Score]:
    """The long table of scores; an absent file has no scores, and a row that stands there twice counts once.

    Raises:
        UserError: the file is no such table, or two rows give one score differently.
    """
    if not path.exists():
        return []
    scores: list[Score] = []
    seen: dict[int, int] = {}
    same: dict[str, str] = {}  # of cells that are equal one is kept: a table has few different ones
    line = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if sorted(header) != sorted(NAMES):
                raise TABLE.damaged(str(path), f"its first line must name the columns {', '.join(NAMES)}")
            at = [header.index(name) for name in NAMES]
            for row in reader:
                line = reader.line_num
                if len(row) != len(NAMES):
                    raise ValueError(f"it has {len(row)} cells, and there are {len(NAMES)} columns")
                score = _score([same.setdefault(row[index], row[index]) for index in at])
                first = seen.setdefault(hash(_key(score)), len(scores))
                if first == len(scores):
                    scores.append(score)
                elif scores[first] != score:
                    raise ValueError("an earlier line gives the same score otherwise")
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from None
    except (ValueError, csv.Error) as error:
        raise TABLE.damaged(f"Line {line} of {path}" if line else str(path), str(error)) from None
    return scores


def _score(cells: Sequence[str]) -> Score:
    prompt_id, cluster, run, seed, judge, protocol, dimension, repeat, value, state = cells
    number = float(value) if value else None
    if number is not None and not math.isfinite(number):
        raise ValueError(f"a score must be a finite number, got {value!r}")
    if state not in STATES:
        raise ValueError(f"no state is named {state!r}; known are {', '.join(STATES)}")
    if (state == "ok") != (number is not None):
        raise ValueError(f"a score in the state {state!r} must have {'a' if state == 'ok' else 'no'} value")
    return Score(prompt_id, cluster, run, int(seed), judge, protocol, dimension, int(repeat), number, state)
