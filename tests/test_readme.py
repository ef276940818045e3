"""The README's commands, run as they stand, on a tiny random model and the shipped transcripts."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

import stratalign as sa
from stratalign import cli
from stratalign.recipe import parse_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def run(command, monkeypatch):
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as done:
        cli.main()
    assert not done.value.code, command


def test_the_commands_work_in_the_order_in_which_they_stand(make_model, transcripts, tmp_path, monkeypatch):
    (tmp_path / "path" / "to").mkdir(parents=True)
    (tmp_path / "path" / "to" / "model").symlink_to(make_model("llama"))
    (tmp_path / "pairs.jsonl").symlink_to(transcripts)
    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines()]
    assert {command.split()[1] for command in commands} == {
        "init", "plan", "study", "report", "verify", "audit", "merge",
    }  # fmt: skip
    for command in commands:
        if " verify " in command:
            continue  # a minute of TRL; tests/pipeline/test_parity.py runs it
        if command.split()[1] in ("study", "plan"):
            command += " --set generation.max_new_tokens=4 --set training.max_length=512 --set preferences.max_bad=0.9"
        run(command, monkeypatch)
    results = json.loads(Path("studies/study/results.json").read_text())
    assert [entry["run"] for entry in results["runs"]] == ["base", "full", "local", "mid", "global"]
    assert Path("studies/study/report.html").is_file()
    assert Path("merged/model.safetensors").is_file()


def test_the_recipe_shown_is_a_valid_one(make_model, transcripts):
    (shown,) = (yaml.safe_load(block) for block in blocks("yaml"))
    recipe = parse_recipe(shown)
    names = [spec.name for spec in recipe.specs()]
    assert len(names) == 16  # twelve entries, two of them lists of three values
    twelve = dict(shown, model=str(make_model("llama", layers=24)))
    twelve["preferences"] = {"source": str(transcripts), "train": "all", "validation": 0, "held_out": 8}
    twelve["training"] = {"batch_size": 1, "gradient_accumulation": 1, "epochs": 4}
    planned = sa.plan(parse_recipe(twelve), out="does-not-exist-and-is-not-made")
    assert len(planned.runs) == 32  # sixteen conditions x two seeds


def test_what_python_shows_is_true(monkeypatch):
    (shown,) = blocks("python")
    line = next(line for line in shown.splitlines() if line.startswith("sa.partition"))
    code, comment = line.split("#")
    assert eval(code, {"sa": sa}) == eval(comment)


@pytest.mark.parametrize("name", re.findall(r"\]\(([^)]+\.md)\)", README))
def test_linked_pages_exist(name):
    assert (ROOT / name).is_file()
