"""Reports: from a study's records to its results, tables, figures and one self-contained page.

Runs on a laptop without a model, on a finished study or a half-finished one; whatever is not there yet is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stratalign.errors import UserError
from stratalign.records import StudyFolder
from stratalign.reporting.answer.recommendation import Recommendation
from stratalign.reporting.answer.recommending import recommend
from stratalign.reporting.diagnosed.calibrated import calibration_beside
from stratalign.reporting.inputs import StudyRecords, read_study, study_folder
from stratalign.reporting.page.across import across, left_alone
from stratalign.reporting.page.answer_box import answer_box
from stratalign.reporting.page.layout import render
from stratalign.reporting.page.sections import StudyView, view
from stratalign.reporting.page.writing import write_across, write_page, write_study
from stratalign.reporting.results import Results, as_json, summarise
from stratalign.reporting.signatures import Signature, find_signatures
from stratalign.reporting.sizing import PowerTable, power

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
    """Write the results, tables, figures and model cards of every study, and one page over all of them.

    Studies are read one after the other, and only what tables over all of them need is kept of each.

    Args:
        folders: finished or half-finished study folders; each gets its own results.json,
            recommendation.json, tables/ and figures/.
        out: the page's file, or a folder for it. By default the study's own report.html; for several studies,
            report.html beside the first one's folder. What several studies share lies in report_files/ beside it;
            what the demo's calibration left beside it is shown too.

    Returns:
        The page's path.

    Raises:
        UserError: a folder is not a study's or is given twice, a record is damaged, or something cannot be written.
    """
    if not folders:
        raise UserError("There is nothing to report on. Give one or more study folders.")
    studies = [study_folder(Path(folder)) for folder in folders]
    _refuse_twice(studies)
    page = _page_path(studies, out)
    views = [_one(study, f"study-{index}") for index, study in enumerate(studies, 1)]
    members = [one.member for one in views]
    groups = across(members) if len(views) > 1 else []
    write_across(page, groups)
    known = calibration_beside(page) if len(views) > 1 else None
    write_page(page, render(views, groups, left_alone(members) if groups else [], known))
    return page


def _refuse_twice(studies: Sequence[StudyFolder]) -> None:
    """Refuse a study that is given twice, by whatever paths: tables over all studies would count it twice."""
    known: dict[Path, StudyFolder] = {}
    for study in studies:
        before = known.setdefault(study.path.resolve(), study)
        if before is not study:
            names = f"{before.path} and {study.path}" if before.path != study.path else str(study.path)
            raise UserError(
                f"One study is given twice ({names}), and tables over all studies would count it twice. Give each once."
            )


def _one(study: StudyFolder, anchor: str) -> StudyView:
    """Write one study's files, and give what the page shows of it."""
    records = read_study(study.path)
    results = summarise(records)
    answer, signatures = recommend(records, results), find_signatures(records, results)
    box = answer_box(answer, signatures, records.timings, _shown_path(study))
    shown = view(records, results, box, anchor, study.path.resolve().name)
    write_study(study, records, shown, answer, signatures)
    return shown


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
