"""Reports: from a study's records to its results, tables, figures and one self-contained page.

Runs on a laptop without a model, on a finished study or a half-finished one; whatever is not there yet is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stratalign.errors import UserError
from stratalign.records import StudyFolder, write_json, write_text
from stratalign.reporting.answer_box import answer_box
from stratalign.reporting.figures import draw
from stratalign.reporting.inputs import StudyRecords, read_study
from stratalign.reporting.page import render
from stratalign.reporting.recommendation import Recommendation, recommend
from stratalign.reporting.recommendation import as_json as recommendation_json
from stratalign.reporting.results import Results, as_json, summarise
from stratalign.reporting.sections import view
from stratalign.reporting.signatures import Signature, find_signatures
from stratalign.reporting.sizing import PowerTable, power
from stratalign.reporting.tables import csv_tables

__all__ = [
    "PowerTable",
    "Recommendation",
    "Results",
    "Signature",
    "StudyRecords",
    "as_json",
    "find_signatures",
    "power",
    "read_study",
    "recommend",
    "report",
    "summarise",
]


def report(folders: Sequence[Path], out: Path | None = None) -> Path:
    """Write the results, tables and figures of every study, and one page over all of them.

    Args:
        folders: finished or half-finished study folders; each gets its own results.json,
            recommendation.json, tables/ and figures/.
        out: the page's file, or a folder for it. By default the study's own report.html; for several studies,
            report.html beside the first one's folder.

    Returns:
        The page's path.

    Raises:
        UserError: a folder is not a study's, a record is damaged, or something cannot be written.
    """
    if not folders:
        raise UserError("There is nothing to report on. Give one or more study folders.")
    studies = [StudyFolder(Path(folder)) for folder in folders]
    read = [read_study(study.path) for study in studies]
    summaries = [summarise(records) for records in read]
    answers = [recommend(records, results) for records, results in zip(read, summaries, strict=True)]
    signatures = [find_signatures(records, results) for records, results in zip(read, summaries, strict=True)]
    for written in zip(studies, read, summaries, answers, signatures, strict=True):
        _write(*written)
    views = [
        view(
            records,
            results,
            answer_box(answer, seen, records.timings, _shown_path(study)),
            f"study-{index}",
            study.path.resolve().name,
        )
        for index, (study, records, results, answer, seen) in enumerate(
            zip(studies, read, summaries, answers, signatures, strict=True), 1
        )
    ]
    page = _page_path(studies, out)
    write_text(page, render(views))
    return page


def _write(
    study: StudyFolder,
    records: StudyRecords,
    results: Results,
    answer: Recommendation,
    seen: Sequence[Signature],
) -> None:
    """Write what is the same for the same recipe: no times, hosts, paths or dates."""
    write_json(study.results, as_json(results) | {"signatures": [asdict(one) for one in seen]})
    write_json(study.recommendation, recommendation_json(answer))
    for name, content in csv_tables(results).items():
        write_text(study.tables / name, content)
    for name, content in draw(records, results).files().items():
        write_text(study.figures / name, content)


def _shown_path(study: StudyFolder) -> str:
    """The study's folder as commands on the page name it: as it was given, but nobody's home stands on a page."""
    return study.path.resolve().name if study.path.is_absolute() else str(study.path)


def _page_path(studies: Sequence[StudyFolder], out: Path | None) -> Path:
    if out is not None:
        out = Path(out)
        if out.suffix == ".html":
            return out
        if out.is_file():
            raise UserError(
                f"{out} exists and is no .html file. Nothing was overwritten; name a page or a folder."
            )
        return out / "report.html"
    return studies[0].report if len(studies) == 1 else studies[0].path.resolve().parent / "report.html"
