"""Writes a report's files: results, tables (CSV, LaTeX), figures (SVG, PNG), model cards, the page.

Everything but `timings/` and the page is the same for the same recipe: no times, hosts, paths or dates. PNG files are
written where the optional drawing library is installed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from stratalign.records import SAFE_NAME, StudyFolder, refuse_links, write_bytes, write_json, write_text
from stratalign.reporting.answer.recommendation import Recommendation
from stratalign.reporting.answer.recommendation import as_json as recommendation_json
from stratalign.reporting.diagnosed.diagnoses import diagnosis_figures
from stratalign.reporting.figures.pictures import png
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.page.across import Across
from stratalign.reporting.page.cards import model_card
from stratalign.reporting.page.sections import StudyView
from stratalign.reporting.page.tuned import CandidateRow
from stratalign.reporting.results import as_json
from stratalign.reporting.signatures import Signature
from stratalign.reporting.tables.latex import tabular
from stratalign.reporting.tables.of_results import csv_tables, state_table, time_table, tradeoff_table
from stratalign.reporting.tables.paper import paper_csv, paper_latex, study_latex
from stratalign.reporting.tables.sheets import csv_text


def write_study(
    study: StudyFolder,
    records: StudyRecords,
    shown: StudyView,
    answer: Recommendation,
    signatures: Iterable[Signature],
) -> None:
    """results.json, recommendation.json, tables/, figures/, timings/ and a card beside every adapter."""
    results = shown.results
    write_json(study.results, as_json(results) | {"signatures": [asdict(one) for one in signatures]})
    write_json(study.recommendation, recommendation_json(answer))
    tables = {
        **csv_tables(results),
        "states.csv": state_table(shown.states),
        "tradeoff.csv": tradeoff_table(shown.tradeoffs),
    }
    tables |= {
        **paper_csv([shown.member.judging]),
        **paper_latex([shown.member.judging]),
        **study_latex(results),
        **{f"{part.name}.tex": tabular(part.table) for part in shown.sure if part.table is not None},
    }
    tuned = {} if shown.tuned is None else dict(shown.tuned.figures)
    if shown.tuned is not None:
        tables["tuning.csv"] = csv_text(CandidateRow._fields, shown.tuned.candidates)
    _write_tables(study.tables, tables)
    figures = shown.figures.known() | _contest_figures(shown) | diagnosis_figures(shown.diagnoses)
    _write_figures(study.figures, figures | tuned)
    if shown.times_figure is not None:
        # Times differ between machines and resumed runs, so they lie apart from what must not.
        _write_tables(study.times, {"times.csv": time_table(shown.costs)})
        _write_figures(study.times, {"times": shown.times_figure})
    for run in results.runs:
        folder = study.adapters / run.run
        if SAFE_NAME.fullmatch(run.run) and (folder / "adapter_config.json").is_file():
            write_text(folder / "README.md", written(model_card(records, results, run)))


def write_across(page: Path, groups: Iterable[Across]) -> None:
    """Tables and figures over several studies, in `<page>_files/` beside the page."""
    folder = page.with_name(f"{page.stem}_files")
    refuse_links(folder)
    for index, group in enumerate(groups, 1):
        place = folder if index == 1 else folder / f"protocol-{index}"
        _write_tables(place / "tables", group.tables)
        _write_figures(place / "figures", group.figures)
        if group.times is not None:
            _write_figures(place / "timings", {"times": group.times})


def write_page(page: Path, text: str) -> None:
    """The page."""
    write_text(page, written(text))


def written(text: str) -> str:
    """The text as UTF-8 can carry it: a lone surrogate in a model's answer has no such form."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _contest_figures(shown: StudyView) -> dict[str, Drawing]:
    """selectors, selectors-2, ...: one for each dimension of the objective."""
    drawn = [drawing for _, drawing in shown.contests if drawing is not None]
    return {"selectors" if at == 1 else f"selectors-{at}": one for at, one in enumerate(drawn, 1)}


def _write_tables(folder: Path, tables: Mapping[str, str]) -> None:
    for name, content in tables.items():
        write_text(folder / name, written(content))


def _write_figures(folder: Path, figures: Mapping[str, Drawing]) -> None:
    """SVG and PNG; where the SVG is there already, unchanged, its PNG is not drawn again."""
    for name, drawing in figures.items():
        vector, picture = folder / f"{name}.svg", folder / f"{name}.png"
        text = written(drawing.standalone())
        if picture.is_file() and vector.is_file() and vector.read_text(encoding="utf-8") == text:
            continue
        drawn = png(drawing)
        if drawn is not None:
            write_bytes(picture, drawn)
        else:
            picture.unlink(missing_ok=True)
        write_text(vector, text)
