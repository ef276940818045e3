"""docs/with-trl.md, run as it stands on a tiny random model and the shipped transcripts."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

import stratalign as sa
from stratalign import cli
from tiny_models import random_model

PAGE = (Path(__file__).parents[2] / "docs" / "with-trl.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S)


@pytest.fixture
def here(make_model, transcripts, tmp_path, monkeypatch):
    """A folder in which the page's placeholders exist."""
    (tmp_path / "path" / "to").mkdir(parents=True)
    (tmp_path / "path" / "to" / "model").symlink_to(make_model("llama"))
    (tmp_path / "pairs.jsonl").symlink_to(transcripts)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_blocks_and_keys_shown_are_true(here, capsys):
    _, ways, axolotl = blocks("python")
    names = {"sa": sa, "model": random_model("llama", 6, 101)}
    configs = [eval(line.split("#")[0], names) for line in ways.splitlines()]
    layers = [
        config.layers_to_transform or sorted({int(name.split(".")[2]) for name in config.target_modules})
        for config in configs
    ]
    assert layers[:3] == [[2, 3], [1, 2, 4, 5], list(range(11, 22))]
    assert [len(found) for found in layers[3:]] == [2, 6, 2]
    exec(axolotl, names)
    (shown,) = blocks("yaml")
    assert yaml.safe_load(capsys.readouterr().out) == yaml.safe_load(shown)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # TRL, PEFT and transformers warn at each other
def test_the_script_trains_and_its_adapter_is_audited(here, monkeypatch, capsys):
    exec(blocks("python")[0], {})
    assert capsys.readouterr().out.splitlines()[-1] == "True (2, 3) stopped at layer 2"
    assert json.loads((here / "trl-mid" / "targeting.json").read_text())["proven"] is True
    (command,) = blocks("bash")
    monkeypatch.setattr(sys, "argv", [*shlex.split(command), "--json"])
    with pytest.raises(SystemExit) as done:
        cli.main()
    found = json.loads(capsys.readouterr().out)
    assert not done.value.code
    assert (found["layers"], found["problems"]) == ([2, 3], [])
