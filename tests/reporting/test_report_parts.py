"""The parts of a page one by one: states, chosen examples, panels of losses, bars, maps, cards, PNG, what to redo."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from controlled_studies import controlled_study
from fake_studies import full_study, manifest, score
from likert_studies import CATEGORIES, likert_study
from safetensors.numpy import save_file
from test_report_page import Parsed, page_of

from stratalign.models import audit
from stratalign.records import StudyFolder, file_digest, read_json, read_jsonl, write_json, write_text
from stratalign.reporting import read_study, recommend, report, summarise
from stratalign.reporting.comparisons.contrasts import Measure
from stratalign.reporting.comparisons.grids import Grid, score_grid
from stratalign.reporting.figures import pictures
from stratalign.reporting.figures.bars import Bar, Group, grouped_bars
from stratalign.reporting.figures.heatmap import HeatColumn, HeatRow, heatmap
from stratalign.reporting.figures.paper import loss_kinds
from stratalign.reporting.findings.states import run_states, state_rows
from stratalign.reporting.page.answer_box import answer_box
from stratalign.reporting.page.differences import largest_differences
from stratalign.reporting.page.excerpts import CUT, WHOLE, row_kind, side_by_side
from stratalign.reporting.page.reproducing import reproducing, shareable
from stratalign.reporting.page.sections import view
from stratalign.reporting.tables.tradeoff import tradeoffs

FLUENCY = Measure("text", "text", "fluency", "share", "higher", "")
LENGTH = Measure("text", "text", "length", "words", "higher", "")


def test_an_answer_counts_under_the_worst_state_that_its_scores_have() -> None:
    rows = [
        score("mid", 0, 1.0), score("mid", 0, None, "length", state="undefined"),
        score("mid", 1, None, state="blocked"), score("mid", 1, None, "length", state="blocked"),
        score("mid", 2, 1.0), score("base", 0, 1.0),
    ]  # fmt: skip
    found = state_rows(run_states(rows, ["base", "mid"]), ("text", "text"))
    assert found is not None
    assert [name for name, _ in found.names] == ["undefined", "blocked"]
    assert [(row.answers, row.valid, row.others) for row in found.rows] == [(1, 1, (0, 0)), (3, 2, (1, 1))]
    assert state_rows([], ("text", "text")) is None


def grid_of(**runs: list[list[float]]) -> Grid:
    values = {run: np.array(its, float) for run, its in runs.items()}
    rows = tuple((f"p{at}", 0) for at in range(len(next(iter(values.values())))))
    return Grid((FLUENCY, LENGTH), rows, tuple("c" for _ in rows), values)


def test_examples_are_those_furthest_apart_each_dimension_in_turn() -> None:
    nan = math.nan
    grid = grid_of(
        base=[[1, 10], [1, 10], [1, 10], [1, nan], [1, 10]],
        mid=[[2, 10], [5, 90], [1, 40], [1, 99], [1, 10]],
    )
    prompts = {"p0", "p1", "p2", "p3", "p4"}
    found = largest_differences(grid, ["base", "mid"], [FLUENCY, LENGTH], 9, prompts)
    # fluency: p1 (4), p0 (1); length: p1 (80, taken), p2 (30); p3 lacks a score there, and p4 is equal throughout.
    assert [(one.prompt_id, one.measure.dimension, one.apart) for one in found] == [
        ("p1", "fluency", 4.0), ("p2", "length", 30.0), ("p0", "fluency", 1.0),
    ]  # fmt: skip
    assert [
        one.prompt_id for one in largest_differences(grid, ["base", "mid"], [FLUENCY], 1, prompts - {"p1"})
    ] == ["p0"]
    assert largest_differences(grid, ["base"], [FLUENCY], 9, prompts) == []


def test_a_control_chooses_no_example(tmp_path: Path) -> None:
    records = read_study(controlled_study(tmp_path, prompts=12))
    results = summarise(records)
    measure = results.measures[0]
    # base and the candidates never differ; only base sampled anew does.
    runs = [run.run for run in results.runs]
    values = {run: np.full((12, 1), 5.0 if run == "base_again" else 1.0) for run in runs}
    grid = Grid((measure,), tuple((f"p{n}", 0) for n in range(12)), ("c",) * 12, values)
    assert {one.chosen_for for one in side_by_side(records.responses, results, grid, [measure])} == {None}


def test_long_answers_are_cut_and_say_so(tmp_path: Path) -> None:
    study = StudyFolder(full_study(tmp_path, ("base", "mid")))
    rows = [json.loads(line) for line in study.responses.read_text().splitlines()]
    (one,) = (row for row in rows if (row["run"], row["prompt_id"]) == ("mid", "p0"))
    one |= {"prompt": "q", "response": "word " * 40_000}
    write_text(study.responses, "".join(json.dumps(row) + "\n" for row in rows))
    records = read_study(tmp_path)
    results = summarise(records)
    shown = view(records, results, answer_box(recommend(records, results), (), {}, "x"), "study-1", "x")
    wholes = [reply.whole for one in shown.examples for reply in one.replies if reply.whole]
    assert max(len(whole) for whole in wholes) == WHOLE + len(CUT)


def test_losses_of_different_kinds_have_a_panel_each(tmp_path: Path) -> None:
    study = StudyFolder(full_study(tmp_path))
    found = read_json(study.manifest)
    for run, loss, beta in (
        ("full", "sigmoid", 0.1),
        ("mid", "ipo", 0.1),
        ("local", "sigmoid", 0.5),
        ("global", "sigmoid", 0.1),
    ):
        found["runs"][run]["training"] = {"loss": loss, "beta": beta}
    write_json(study.manifest, found)
    records = read_study(tmp_path)
    panels = loss_kinds(records, summarise(records))
    assert [(panel.title, list(panel.curves)) for panel in panels] == [
        ("loss sigmoid, β 0.1", ["full", "global"]), ("loss sigmoid, β 0.5", ["local"]), ("loss ipo", ["mid"]),
    ]  # fmt: skip


def test_bars_stand_on_the_floor_of_the_scale() -> None:
    drawing = grouped_bars(
        [Group("a", (Bar("s", (3.0,), "a 3", 2.0, 4.0), Bar("t", (5.0,), "a 5")))], "Told.", "u", 1.0
    )
    assert drawing is not None
    heights = [float(part.split('height="')[1].split('"')[0]) for part in drawing.body.split("<rect")[3:]]
    # From the floor at 1, 3 is half as high as 5.
    assert heights[0] / heights[1] == pytest.approx(0.5, abs=0.01)


def test_the_map_colours_the_lowest_and_the_highest_mean() -> None:
    columns = [HeatColumn("m", "base"), HeatColumn("m", "mid")]
    drawing = heatmap(
        columns, [HeatRow("a", "x", "points", (1.0, 2.0)), HeatRow("b", "x", "points", (3.0, None))]
    )
    assert drawing is not None
    assert 'class="f-h0"' in drawing.body
    assert 'class="f-h8"' in drawing.body
    assert "base 1.00, mid 2.00" in drawing.title


def test_the_worst_other_dimension_is_turned_where_lower_is_better(tmp_path: Path) -> None:
    records = read_study(full_study(tmp_path))
    results = summarise(records)
    full = next(one for one in tradeoffs(results) if one.condition == "full")
    assert (full.dimension, full.worst_dimension) == ("fluency", "repetition")
    (raw,) = [one for one in results.comparisons if (one.condition, one.dimension) == ("full", "repetition")]
    assert raw.net_win_rate is not None
    assert raw.net_win_rate > 0
    assert full.worst.value == -raw.net_win_rate
    assert (full.worst.low, full.worst.high) == (-(raw.high or 0), -(raw.low or 0))


def test_dimensions_stand_under_their_categories(tmp_path: Path) -> None:
    report([likert_study(tmp_path, prompts=6, words=3)])
    figure = (tmp_path / "figures" / "dimensions.svg").read_text()
    places = [figure.index(f">{category}</text>") for category in CATEGORIES]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("preferences", "expected"),
    [
        ({}, "pairs"),
        ({"demonstrations": 5, "rows": {"kept": 5}}, "demonstrations"),
        ({"demonstrations": 2, "rows": {"kept": 5}}, "rows"),
    ],
)
def test_rows_are_called_what_they_are(preferences: dict[str, object], expected: str) -> None:
    assert row_kind(preferences) == expected


def test_what_is_sent_on_tells_of_no_machine_and_no_secret() -> None:
    recipe = {
        "model": "/home/me/models/m",
        "judge": {"base_url": "https://me:key@host.example:8/v1?token=x"},
        "n": 3,
    }
    assert shareable(recipe) == {"model": "m", "judge": {"base_url": "https://host.example:8/v1"}, "n": 3}


def test_the_recipe_on_the_page_is_yaml_that_can_be_used(tmp_path: Path) -> None:
    records = read_study(full_study(tmp_path))
    assert yaml.safe_load(reproducing(records).recipe) == records.recipe


def test_shuffled_labels_are_explained_and_only_where_there_are_any(tmp_path: Path) -> None:
    said = "Far from 50 % in either direction is no sign of learning"
    assert said in page_of(full_study(tmp_path / "one", ("base", "full", "full_shuffled")))
    assert said not in page_of(full_study(tmp_path / "two", ("base", "full")))


def test_a_card_leaves_the_adapter_as_it_was(tmp_path: Path) -> None:
    study = StudyFolder(full_study(tmp_path))
    found = manifest(["base", "full", "local", "mid", "global"], name="lab/tiny-1B")
    found["model"]["base"] = "lab/tiny-1B"
    write_json(study.manifest, found)
    folder = study.adapters / "mid"
    write_json(
        folder / "adapter_config.json",
        {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]},
    )
    name = "base_model.model.model.layers.4.self_attn.q_proj.lora_"
    save_file(
        {f"{name}{part}.weight": np.ones((2, 2), np.float32) for part in "AB"},
        folder / "adapter_model.safetensors",
    )
    before = audit(folder), file_digest(folder / "adapter_model.safetensors")
    report([tmp_path])
    assert (audit(folder), file_digest(folder / "adapter_model.safetensors")) == before
    _, front, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["base_model"] == "lab/tiny-1B"
    assert front["library_name"] == "peft"
    assert "license" not in front
    assert "- layers: 4–7 of 12" in body
    assert "| fluency | higher | +0." in body
    assert not (study.adapters / "local").exists()


def test_without_the_library_no_png_is_written_and_the_page_says_how(tmp_path: Path) -> None:
    page = page_of(full_study(tmp_path, ("base", "mid")))
    assert pictures.INSTALL in page.replace("&#39;", "'")
    assert not list(tmp_path.rglob("*.png"))


def test_png_files_are_drawn_once(tmp_path: Path, pictures_drawn: None) -> None:
    report([full_study(tmp_path, ("base", "mid"))])
    picture = tmp_path / "figures" / "layers.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    made = picture.stat().st_mtime_ns
    report([tmp_path])
    assert picture.stat().st_mtime_ns == made
    write_text(picture.with_suffix(".svg"), "changed")
    report([tmp_path])
    assert picture.stat().st_mtime_ns > made


def test_the_grid_keeps_only_valid_scores_of_its_protocol(tmp_path: Path) -> None:
    rows = [
        score("base", 0, 1.0),
        score("base", 1, None),
        score("mid", 0, 3.0),
        score("mid", 0, 9.0, "length"),
    ]
    grid = score_grid(rows, [FLUENCY])
    assert [name for name, _ in grid.rows] == ["p0", "p1"]
    assert grid.of(["base", "mid"], FLUENCY).tolist() == [1.0, 3.0]


def test_many_prompts_make_a_page_that_can_be_sent(tmp_path: Path) -> None:
    study = likert_study(tmp_path, prompts=120, words=500)
    assert len(page_of(study).encode()) < 750_000
    assert len(list(read_jsonl(StudyFolder(study).responses))) == 600
    assert "Missing and blocked" in Parsed(page_of(study)).text
