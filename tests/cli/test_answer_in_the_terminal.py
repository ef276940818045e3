"""What the terminal says first: the recommendation; then what went wrong; and where the files are."""

import json
import shutil

import pytest
from command_line import call, write_recipe

import stratalign as sa
from stratalign.cli import study_tables


@pytest.fixture(scope="module")
def finished(make_model, transcripts, tmp_path_factory):
    """A recipe, the folder of its study under two seeds, and what `stratalign study` printed."""
    folder = tmp_path_factory.mktemp("answer")
    changes = {"conditions": ["base", "mid", "full"], "seeds": [0, 1]}
    file = write_recipe(folder / "tiny.yaml", make_model("llama"), transcripts, **changes)
    return file, folder / "out", call("study", file, "--out", folder / "out")


def test_the_version_is_printed_alone():
    assert call("--version") == (0, f"stratalign {sa.__version__}\n", "")


def test_a_study_says_its_answer_first_and_where_the_files_are_last(finished):
    _, folder, done = finished
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    answer = json.loads((folder / "recommendation.json").read_text())
    at = next(n for n, line in enumerate(lines) if line.startswith(answer["line"].replace("−", "-")[:40]))
    # Before it stand only the stages, which are told while they run.
    assert all(": " in line and " of " in line for line in lines[:at])
    assert lines[-2:] == [
        f"Recommendation: {folder / 'recommendation.json'}",
        f"Report: {folder / 'report.html'}",
    ]


def test_report_says_the_answer_of_each_study(finished, tmp_path):
    _, folder, _ = finished
    twin = shutil.copytree(folder, tmp_path / "twin")
    line = json.loads((folder / "recommendation.json").read_text())["line"].replace("−", "-")
    assert call("report", folder).out.startswith(line[:60])
    both = call("report", folder, twin, "--out", tmp_path).out
    assert both.startswith(f"out: {line[:40]}")
    assert f"\ntwin: {line[:40]}" in both
    assert both.splitlines()[-1] == f"Report: {tmp_path / 'report.html'}"


def test_a_study_made_smaller_is_that_of_a_smaller_recipe(finished, make_model, transcripts, tmp_path):
    _, folder, _ = finished
    grown, new = shutil.copytree(folder, tmp_path / "grown"), tmp_path / "new"
    smaller = write_recipe(tmp_path / "tiny.yaml", make_model("llama"), transcripts)  # base and mid, one seed
    for out in (grown, new):
        assert call("study", smaller, "--out", out).code == 0
    results = json.loads((grown / "results.json").read_text())
    assert [run["run"] for run in results["runs"]] == ["base", "mid"]
    assert results["missing"] == []
    for name in ("results.json", "recommendation.json"):
        assert (grown / name).read_bytes() == (new / name).read_bytes(), name
    # What was there stays, and comes back with the recipe that names it.
    assert call("study", finished[0], "--out", grown).code == 0
    assert len(json.loads((grown / "results.json").read_text())["runs"]) == 6
    assert sorted(path.name for path in (grown / "adapters").iterdir()) == [
        "full@0",
        "full@1",
        "mid@0",
        "mid@1",
    ]


def test_signatures_are_printed_with_the_command_for_this_study(tmp_path, capsys):
    seen = {
        "title": "Answers are cut", "seen": "mid 12 %.", "cause": "A limit.", "check": "Look at {study}/a.",
        "next": "stratalign study {study}/recipe.yaml --out {study}-longer",
    }  # fmt: skip
    study_tables.signatures([seen], tmp_path / "my study")
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"  Next: stratalign study '{tmp_path}/my study/recipe.yaml' --out '{tmp_path}/my study-longer'"
    )
