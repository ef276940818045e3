"""Hostile responses through every file that a report writes: page, CSV, LaTeX, figures, model cards."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from likert_studies import CONDITIONS, DIMENSIONS, likert_study
from test_report_page import Parsed

from hostile import HOSTILE
from stratalign.records import (
    StudyFolder,
    read_json,
    read_jsonl,
    read_scores,
    write_json,
    write_scores,
    write_text,
)
from stratalign.reporting import report
from stratalign.reporting.page.cards import inert
from stratalign.reporting.tables.latex import SPECIAL, escaped
from stratalign.reporting.tables.sheets import csv_text


def hostile_study(path: Path) -> Path:
    """A finished study whose answers, prompts and names are hostile: of dimensions, model, source and states."""
    study = StudyFolder(likert_study(path, prompts=len(HOSTILE), words=3))
    attacks = list(HOSTILE.values())
    rows = list(read_jsonl(study.responses))
    for row in rows:
        attack = attacks[int(row["prompt_id"][1:])]
        row |= {"response": attack, "prompt": f"Prompt. {attack}"}
    write_text(study.responses, "".join(json.dumps(row) + "\n" for row in rows))
    names = dict(zip(DIMENSIONS, [HOSTILE[name] for name in NAMING], strict=True))
    write_scores(
        study.scores, [replace(one, dimension=names[one.dimension]) for one in read_scores(study.scores)]
    )
    judges = read_json(study.judges)
    for one in judges["judges"][0]["dimensions"]:
        one |= {"name": names[one["name"]], "unit": HOSTILE["latex_input"], "category": HOSTILE["script"]}
    write_json(study.judges, judges)
    manifest = read_json(study.manifest)
    manifest["model"]["name"] = HOSTILE["attribute_quotes"]
    for run in manifest["runs"].values():
        run["proof"]["checks"]["reload"]["detail"] = HOSTILE["script"]
        run["targets"] = [HOSTILE["markdown"], HOSTILE["latex_specials"]]
    write_json(study.manifest, manifest)
    recipe = {"preferences": {"source": HOSTILE["img_onerror"], "objective": [names["Overall"]]}}
    write_text(study.recipe, yaml.safe_dump({**recipe, "conditions": list(CONDITIONS)}))
    for run in CONDITIONS[1:]:
        write_json(study.adapters / run / "adapter_config.json", {})
    return path


NAMING = (
    "script", "img_onerror", "attribute_quotes", "markdown", "latex_input", "latex_specials", "formula_hyperlink",
    "formula_dde", "formula_sum", "formula_minus", "formula_after_tab", "bidi", "own_placeholders", "csv_breakout",
    "closing_tags", "invisible",
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = hostile_study(tmp_path_factory.mktemp("hostile"))
    report([folder])
    return folder


def test_there_are_thirty_and_more() -> None:
    assert len(HOSTILE) >= 30


def test_the_page_has_no_element_and_no_attribute_that_is_not_ours(written: Path) -> None:
    page = Parsed((written / "report.html").read_text(encoding="utf-8"))
    names = [tag for tag, _ in page.elements]
    assert names.count("script") == 2
    assert not {"img", "iframe", "object", "embed", "link", "base", "form", "b", "foreignobject"} & set(names)
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style")], tag
        assert (attributes.get("href") or "#").startswith("#")


def test_the_data_for_the_script_cannot_end_its_element(written: Path) -> None:
    page = (written / "report.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert "<" not in data
    assert HOSTILE["script"] in json.loads(data)[0]["dimensions"]


def test_no_cell_of_text_begins_a_formula(written: Path) -> None:
    for path in (written / "tables").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)
                    assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), (path.name, cell)


def test_negative_numbers_stay_numbers() -> None:
    assert csv_text(["a"], [[-0.5, -2, "-2"]]) == "a\n-0.5,-2,'-2\n"


def test_no_command_survives_in_latex(written: Path) -> None:
    safe = sorted(
        (value for value in SPECIAL.values() if "\\" in value or "{" in value), key=len, reverse=True
    )
    ours = ("\\begin{", "\\end{", "\\toprule", "\\midrule", "\\bottomrule", "\\centering", "% needs")
    tables = list((written / "tables").glob("*.tex"))
    assert len(tables) == 9
    for path in tables:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(ours):
                continue
            rest = line.removeprefix("\\caption{").removesuffix("}") if line.startswith("\\caption") else line
            rest = rest.removesuffix(r" \\")
            for piece in safe:
                rest = rest.replace(piece, "")
            rest = rest.replace(" & ", "")
            assert not re.search(r"[\\{}$&#%_^~]", rest), (path.name, rest)


@pytest.mark.parametrize("name", HOSTILE)
def test_latex_text_is_one_line_of_printable_characters(name: str) -> None:
    text = escaped(HOSTILE[name])
    assert text.isprintable()
    assert "\\input" not in text
    assert "\\write" not in text


def test_figures_hold_only_shapes_and_text(written: Path) -> None:
    for figure in (written / "figures").glob("*.svg"):
        names = {element.tag.rpartition("}")[2] for element in ElementTree.parse(figure).iter()}
        assert names <= {"svg", "style", "title", "text", "line", "rect", "circle", "polyline"}


def test_cards_are_inert_and_their_front_matter_is_ours(written: Path) -> None:
    for run in CONDITIONS[1:]:
        text = (written / "adapters" / run / "README.md").read_text(encoding="utf-8")
        _, front, body = text.split("---\n", 2)
        # Neither the hostile model's name nor the hostile source is a Hub id, so both are left out.
        assert set(yaml.safe_load(front)) == {"library_name", "pipeline_tag", "tags"}
        assert "<" not in body
        assert "](" not in body.replace(r"\]\(", "")
        assert "\u202e" not in body


def test_text_in_a_card_is_shown_as_it_is() -> None:
    assert inert("[a](b) <c> | *d*\n# e") == r"\[a\]\(b\) &lt;c&gt; \| \*d\* \# e"
