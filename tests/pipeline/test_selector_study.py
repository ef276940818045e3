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
    with pytest.raises(UserError, match="names a block of a partition by the record") as caught:
        sa.train(recipe, out=out)
    assert f"stratalign diagnose gradients RECIPE.yaml --out {out}" in str(caught.value)


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


def test_a_plan_names_kinds_of_modules_in_the_models_order(recipe, diagnosed):
    change = (
        "conditions={one: {by: diagnostics/gradients.json, keep: 0.5, targets: [linear]}, all: {block: full}}"
    )
    changes = [change, "selectors={}", "training.targets=[linear]"]
    runs = json.loads(call("plan", recipe, "--out", diagnosed[0], *_set(changes), "--json").out)["runs"]
    kinds = runs["all"]["targets"]
    assert runs["one"]["targets"] == [kind for kind in kinds if kind in runs["one"]["targets"]]
    told = " ".join(call("plan", recipe, "--out", diagnosed[0], *_set(changes)).out.split())
    assert f"Adapters: on {', '.join(runs['one']['targets'])}" in told
    assert f"Adapters: on {', '.join(kinds)}" in told


def _set(changes):
    return [part for change in changes for part in ("--set", change)]


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


@pytest.fixture
def beside(recipe, diagnosed, tmp_path):
    """The recipe in a folder of its own, which has the record, as that of an earlier study has."""
    folder = tmp_path / "earlier"
    (folder / "diagnostics").mkdir(parents=True)
    (folder / "recipe.yaml").write_bytes(recipe.read_bytes())
    (folder / RECORD).write_bytes(diagnosed[1].path.read_bytes())
    return folder


CHOSEN = [
    "conditions={base: {block: none}, best: {by: diagnostics/gradients.json, keep: 0.25}}",
    "selectors={}",
]


def test_a_record_beside_the_recipe_is_found_and_goes_with_the_study(beside, tmp_path, monkeypatch):
    out = tmp_path / "later"
    planned = sa.plan(beside / "recipe.yaml", CHOSEN, out)
    assert planned.unresolved == ()
    assert not out.exists()  # a plan writes nothing
    sa.train(beside / "recipe.yaml", CHOSEN, out)
    assert (out / RECORD).read_bytes() == (beside / RECORD).read_bytes()
    made = read_json(out / "manifest.json")
    (beside / RECORD).unlink()
    monkeypatch.chdir(tmp_path)
    sa.train(out / "recipe.yaml", out=out)
    assert read_json(out / "manifest.json") == made
    assert sa.plan(load_recipe(out / "recipe.yaml"), out=tmp_path / "third").unresolved != ()


def test_a_stale_record_beside_the_recipe_is_refused_and_one_from_elsewhere_is_not(
    beside, tmp_path, monkeypatch
):
    out = tmp_path / "later"
    other = [*CHOSEN, "preferences.train=10"]
    again = f"stratalign diagnose gradients RECIPE.yaml --out {out}"
    with pytest.raises(UserError, match="made from other training rows") as caught:
        sa.plan(beside / "recipe.yaml", other, out)
    assert f"the record {beside / RECORD}, which" in str(caught.value)
    assert again in str(caught.value)
    monkeypatch.chdir(beside)
    with pytest.raises(UserError, match="made from other training rows"):
        sa.plan("recipe.yaml", other, out)
    for elsewhere in (beside / RECORD, "records/gradients.json"):
        (beside / "records").mkdir(exist_ok=True)
        (beside / "records" / "gradients.json").write_bytes((beside / RECORD).read_bytes())
        chosen = f"conditions={{base: {{block: none}}, best: {{by: {elsewhere}, keep: 0.25}}}}"
        planned = sa.plan("recipe.yaml", [chosen, "partition={}", *other[1:]], out)
        assert (planned.unresolved, planned.brought) == ((), {})


def test_a_record_that_chose_what_is_trained_is_not_replaced(recipe, tmp_path):
    out = tmp_path / "out"
    kept = [*CHOSEN, "partition={}"]
    before = sa.diagnose("gradients", recipe, kept, out).path.read_bytes()
    sa.train(recipe, kept, out)
    with pytest.raises(UserError, match=r"chose conditions that are trained there \(best\).*another folder"):
        sa.diagnose("gradients", recipe, kept, out, pairs=8)
    assert (out / RECORD).read_bytes() == before
    sa.diagnose("gradients", recipe, kept, out)  # the same again stands
    sa.diagnose("gradients", recipe, kept, tmp_path / "other", pairs=8)
    assert (out / RECORD).read_bytes() == before


def test_a_record_that_made_the_partition_of_trained_runs_is_not_replaced(beside):
    changes = ["conditions=[base, early]", "selectors={}"]
    sa.train(beside / "recipe.yaml", changes, beside)
    with pytest.raises(UserError, match=r"are trained there \(early\)"):
        sa.diagnose("gradients", beside / "recipe.yaml", changes, beside, pairs=8)
    manifest = read_json(beside / "manifest.json")
    for run in manifest["runs"].values():
        run.pop("trained", None)
    (beside / "manifest.json").write_text(json.dumps(manifest))
    sa.diagnose("gradients", beside / "recipe.yaml", changes, beside, pairs=8)


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
