"""Results -> CSV tables. Pure; knows nothing of files or pages.

Text that a spreadsheet would read as a formula is defused with a leading apostrophe; numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields

from stratalign.reporting.contrasts import Contrast
from stratalign.reporting.results import Results
from stratalign.reporting.runs import MeanScore

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_tables(results: Results) -> dict[str, str]:
    """File name -> content."""
    return {
        "means.csv": _means(results),
        "comparisons.csv": _contrasts(results.comparisons),
        "pairs.csv": _contrasts(results.pairs),
        "runs.csv": _runs(results),
    }


def _means(results: Results) -> str:
    names = [field.name for field in fields(MeanScore)]
    return _csv(
        ["run", "condition", "seed", *names],
        (
            [run.run, run.condition, run.seed, *asdict(mean).values()]
            for run in results.runs
            for mean in run.means
        ),
    )


def _contrasts(contrasts: Sequence[Contrast]) -> str:
    return _csv([field.name for field in fields(Contrast)], (asdict(one).values() for one in contrasts))


def _runs(results: Results) -> str:
    names = ["run", "condition", "seed", "labels", "rank", "alpha", "parameters", "steps"]
    names += ["final_loss", "final_margin", "final_accuracy", "proven"]
    estimates = ["held_out_accuracy", "kl_to_base"]
    header = [*names, "layers", "targets"]
    header += [f"{name}{part}" for name in estimates for part in ("", "_standard_error", "_n")]
    rows: list[list[object]] = []
    for run in results.runs:
        row = [getattr(run, name) for name in names]
        row += [" ".join(map(str, run.layers)), " ".join(run.targets)]
        for name in estimates:
            estimate = getattr(run, name)
            row += [None] * 3 if estimate is None else [estimate.mean, estimate.standard_error, estimate.n]
        rows.append(row)
    return _csv(header, rows)


def _csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
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
