"""Selectors and a partition by a record, through plan and training on a tiny random model."""

import json
from pathlib import Path

import pytest

import stratalign as sa
from cli.command_line import call, write_recipe
from stratalign.blocks import SELECTORS
from stratalign.errors import UserError
from stratalign.recipe import load_recipe
from stratalign.records import read_json

COMPARISON = Path(__file__).parents[2] / "benchmarks" / "selectors.yaml"
RECORD = "diagnostics/gradients.json"


@pytest.fixture(scope="module")
def recipe(make_model, transcripts, tmp_path_factory):
    """Four layers; blocks and two selectors wait for a record of gradients."""
    return write_recipe(
        tmp_path_factory.mktemp("selecting") / "recipe.yaml",
        make_model("llama", layers=4),
        transcripts,
        preferences={"train": 12, "validation": 4, "held_out": 4},
        diagnostics={"gradients": {"pairs": 12, "chunks": 4}},
        training={"batch_size": 2},
        partition={"method": "record", "by": RECORD, "signal": "norm", "blocks": ["early", "late"]},
        conditions=["base", "early"],
        selectors={"by": ["gradients", "auto_rgn", "even"], "parameters": 0.5},
    )


@pytest.fixture(scope="module")
def diagnosed(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("selected") / "out"
    return out, sa.diagnose("gradients", recipe, out=out)


def test_a_plan_shows_what_waits_for_the_record_and_the_command_that_makes_it(recipe, tmp_path):
    out = tmp_path / "out"
    planned = json.loads(call("plan", recipe, "--out", out, "--json").out)
    assert (planned["partition"], planned["partition_by"]) == ({}, RECORD)
    assert list(planned["unresolved"]) == ["early", "gradients", "auto_rgn"]
    assert list(planned["runs"]) == ["base", "full", "even", *(f"random-{n}" for n in range(1, 6))]
    told = " ".join(call("plan", recipe, "--out", out).out.split())
    assert (
        f"Blocks: by record {RECORD}, which is not there yet: stratalign diagnose gradients RECIPE.yaml"
        in told
    )
    assert f"early: by record {RECORD}" in told
    with pytest.raises(UserError, match="names a block of a partition by the record"):
        sa.train(recipe, out=out)


def test_with_the_record_there_all_is_resolved_at_equal_parameters(recipe, diagnosed):
    planned = sa.plan(recipe, out=diagnosed[0]).describe()
    assert planned["unresolved"] == {}
    assert [len(layers) > 0 for layers in planned["partition"].values()] == [True, True]
    assert [layer for layers in planned["partition"].values() for layer in layers] == [0, 1, 2, 3]
    runs = planned["runs"]
    assert runs["full"]["of_full"] == {"parameters": 1.0, "arithmetic": 1.0}
    assert runs["base"]["of_full"] == {"parameters": 0.0, "arithmetic": 0.0}
    largest = (
        runs["full"]["parameters"] / 4 / 2
    )  # no module of four in a layer has half of the layer's parameters
    for name in ("gradients", "auto_rgn", "even", "random-1", "random-5"):
        assert 0 <= 0.5 * runs["full"]["parameters"] - runs[name]["parameters"] < largest
        assert 0 < runs[name]["of_full"]["arithmetic"] <= 1
    assert (
        len(
            {
                tuple(run.condition.modules)
                for run in sa.plan(recipe, out=diagnosed[0]).runs
                if "random" in run.id
            }
        )
        == 5
    )


def test_a_plan_names_single_modules_but_not_those_that_are_drawn(recipe, diagnosed):
    # A fifth of full's parameters are three modules of sixteen.
    fifth = ("--set", "selectors.parameters=0.2", "--out", diagnosed[0])
    runs = json.loads(call("plan", recipe, *fifth, "--json").out)["runs"]
    assert {run["modules"] for name, run in runs.items() if name.startswith("random")} == {3}
    single = {name: run["by_kind"] for name, run in runs.items() if run["by_kind"]}
    assert {"gradients"} <= set(single) <= {"gradients", "auto_rgn"}
    assert sum(map(len, single["gradients"].values())) == 3
    kind, (layer, *_) = next(iter(single["gradients"].items()))
    shown = call("plan", recipe, *fifth).out.splitlines()
    (told,) = (line for line in shown if line.startswith("gradients: "))
    assert told.startswith(f"gradients: 3 modules: {kind} of layer")
    assert f" {layer}" in told
    assert not any(line.startswith("random-1: ") for line in shown)


def test_a_record_does_not_depend_on_the_partition_that_it_makes(recipe, diagnosed):
    out, made = diagnosed
    before = made.path.stat().st_mtime_ns
    assert list(sa.diagnose("gradients", recipe, out=out).record["partition"]) == ["early", "late"]
    assert made.path.stat().st_mtime_ns == before


def test_a_record_of_other_preferences_makes_no_partition(recipe, diagnosed):
    with pytest.raises(UserError, match="The partition is chosen by the record"):
        sa.plan(recipe, ["preferences.train=10", "conditions=[base]", "selectors={}"], diagnosed[0])


def test_the_manifest_keeps_the_shares_for_the_report(recipe, diagnosed):
    out, _ = diagnosed
    sa.train(recipe, ["conditions=[base, full]", "selectors={}"], out)
    runs = read_json(out / "manifest.json")["runs"]
    assert runs["full"]["of_full"] == {"parameters": 1.0, "arithmetic": 1.0}
    assert runs["base"]["of_full"] == {"parameters": 0.0, "arithmetic": 0.0}


def test_the_recipe_of_the_whole_comparison_reads_every_selector():
    names = [spec.name for spec in load_recipe(COMPARISON).specs()]
    assert names[:4] == ["base", "full", "mid", "base_again"]
    assert names[4:] == [*SELECTORS, *(f"random-{n}" for n in range(1, 6))]
