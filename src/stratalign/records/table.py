"""The long table of scores as CSV: one row for each run, prompt, dimension and repeat."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from stratalign.records.files import write_text
from stratalign.records.kinds import Score


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Replace the long table of scores; a null value is an empty cell."""
    buffer = io.StringIO()
    names = [field.name for field in fields(Score)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for score in scores:
        row = asdict(score)
        writer.writerow(["" if row[name] is None else row[name] for name in names])
    write_text(path, buffer.getvalue())


def read_scores(path: Path) -> list[Score]:
    """The long table of scores; an absent file has no scores."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Score(
                prompt_id=row["prompt_id"],
                cluster=row["cluster"],
                run=row["run"],
                seed=int(row["seed"]),
                judge=row["judge"],
                protocol=row["protocol"],
                dimension=row["dimension"],
                repeat=int(row["repeat"]),
                value=float(row["value"]) if row["value"] != "" else None,
                state=row["state"],
            )
            for row in csv.DictReader(file)
        ]
