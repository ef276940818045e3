"""A profile in a study: its windows train exactly what the same layers, written out, would."""

import pytest

import stratalign as sa
from cli.command_line import call, write_recipe
from stratalign.errors import UserError
from stratalign.records import read_json


def test_windows_equal_conditions_with_the_same_layers(make_model, transcripts, tmp_path):
    given = {"preferences": {"train": 8, "held_out": 4}, "training": {"batch_size": 4}}
    model = make_model("llama", layers=4)
    short = write_recipe(
        tmp_path / "short.yaml", model, transcripts, conditions=["base"], profile={"random": 1}, **given
    )
    plan = sa.plan(short, out=tmp_path / "short").describe()
    assert list(plan["runs"]) == ["full", "base", "window-0-2", "window-1-3", "random-layers-1"]
    drawn = plan["runs"]["random-layers-1"]["layers"]
    written = {"base": None, "a": {"layers": "0-2"}, "b": {"layers": "1-3"}, "c": {"layers": drawn}}
    long = write_recipe(tmp_path / "long.yaml", model, transcripts, conditions=written, **given)
    sa.train(short, out=tmp_path / "short")
    sa.train(long, out=tmp_path / "long")
    for one, other in (("window-0-2", "a"), ("window-1-3", "b"), ("random-layers-1", "c")):
        saved = [
            (tmp_path / out / "adapters" / run / "adapter_model.safetensors").read_bytes()
            for out, run in (("short", one), ("long", other))
        ]
        assert saved[0] == saved[1]
    runs = read_json(tmp_path / "short" / "manifest.json")["runs"]
    assert all(entry["proof"]["proven"] for entry in runs.values())
    sa.report([tmp_path / "short"])
    assert read_json(tmp_path / "short" / "results.json")["profile"]["window"] == 3


def test_a_plan_says_what_would_be_trained_twice(make_model, transcripts, tmp_path):
    written = {
        "base": None,
        "again": {"block": "none", "sampling_seed": 1},  # trains nothing, as base does
        "a": {"layers": "0-2"},
        "faster": {"layers": "0-2", "learning_rate": 7e-3},
        "b": {"layers": [0, 1, 2]},
    }
    file = write_recipe(
        tmp_path / "recipe.yaml", make_model("llama", layers=4), transcripts, conditions=written, seeds=[0, 1],
        profile={"random": 0},
    )  # fmt: skip
    assert sa.plan(file, out=tmp_path / "out").describe()["alike"] == [["a", "b", "window-0-2"]]
    said = call("plan", file, "--out", tmp_path / "out").out
    assert "Trained 3 times, with the same modules and settings: a, b, window-0-2." in said


def test_a_plan_refuses_windows_that_the_model_is_too_shallow_for(make_model, transcripts, tmp_path):
    file = write_recipe(
        tmp_path / "recipe.yaml", make_model("llama", layers=4), transcripts, profile={"window": 5}
    )
    with pytest.raises(UserError, match=r"profile\.window is 5, but the model has 4 layers\. Give at most 4"):
        sa.plan(file, out=tmp_path / "out")
