"""Weights, updates and stages through the pipeline, on a tiny random model: records, refusals, tables."""

import json

import pytest
import yaml

import stratalign as sa
from cli.command_line import call, refusal, write_recipe
from stratalign.errors import UserError
from stratalign.pipeline import diagnosing

SETTINGS = {"gradients": {"pairs": 8, "chunks": 4}, "significance": {"steps": 2, "batch": 4}}


def recipe_of(folder, model, transcripts):
    return write_recipe(
        folder / "recipe.yaml",
        model,
        transcripts,
        preferences={"train": 12, "validation": 2, "held_out": 4},
        conditions=["base", "mid", "full"],
        diagnostics=SETTINGS,
        training={"batch_size": 6},
    )


@pytest.fixture(scope="module")
def studied(make_model, transcripts, tmp_path_factory):
    """A recipe, a study of it with two trained runs, and the significance with its adapters."""
    folder = tmp_path_factory.mktemp("weighed")
    file = recipe_of(folder, make_model("llama", layers=3), transcripts)
    sa.train(file, out=folder / "out")
    sa.diagnose("significance", file, out=folder / "out")
    return file, folder / "out"


def test_a_record_of_weights_stands_when_preferences_and_training_change(studied, monkeypatch, tmp_path):
    file, out = studied
    found = sa.diagnose("weights", file, out=out)
    assert len(found.record["modules"]) == 21
    assert not {"preferences", "training"} & set(found.record["fingerprint"])
    assert not {"source", "loss"} & set(found.record)
    monkeypatch.setattr(
        diagnosing, "load_model", lambda *_args, **_options: pytest.fail("a model was loaded")
    )
    other = tmp_path / "out"
    (other / "diagnostics").mkdir(parents=True)
    (other / "diagnostics" / "weights.json").write_bytes(found.path.read_bytes())
    changes = ["preferences.seed=7", "training.learning_rate=1e-4"]
    assert sa.diagnose("weights", file, changes, other).record == found.record
    # and selectors may use it there: a third of every kind by place, here one module of each of the seven
    condition = "conditions={best: {by: diagnostics/weights.json, signal: snr_in_kind, keep: 0.33}}"
    (run,) = sa.plan(file, [*changes, condition], other).runs
    assert len({name.rsplit(".", 1)[-1] for name in run.condition.modules}) == len(run.condition.modules) == 7


def test_updates_of_all_runs_stand_beside_each_other_and_of_one_run_can_be_selected_by(studied):
    file, out = studied
    found = sa.diagnose("deltas", file, out=out)
    assert found.path.name == "deltas.json"
    assert list(found.record["runs"]) == ["mid", "full"]
    assert found.record["runs"]["mid"]["blocks"]["mid"]["share"] == pytest.approx(1)
    assert set(found.record["scores"]) == {"mid", "full"}
    assert found.record["fingerprint"]["subject"].keys() == {"mid", "full"}
    one = sa.diagnose("deltas", file, out=out, run="full")
    assert one.path.name == "deltas@full.json"
    assert one.record["runs"]["full"] == found.record["runs"]["full"]
    assert one.record["scores"] == {"relative": found.record["scores"]["full"]}
    same = sa.diagnose("deltas", file, out=out, adapter=str(out / "adapters" / "full"))
    assert same.record["scores"] == one.record["scores"]


def test_a_checkpoints_update_is_that_of_the_adapter_merged_into_it(studied, tmp_path):
    file, out = studied
    sa.merge(out / "adapters" / "mid", tmp_path / "merged")
    found = sa.diagnose("deltas", file, out=out, tuned=str(tmp_path / "merged")).record
    expected = sa.diagnose("deltas", file, out=out, run="mid").record
    assert found["runs"]["merged"]["not_in_linear_modules"] == {}
    assert found["scores"]["relative"] == pytest.approx(expected["scores"]["relative"], rel=1e-3)


def test_stages_begin_with_the_base_and_end_with_the_trained_adapter(studied):
    file, out = studied
    found = sa.diagnose("gradients", file, out=out, stages=True)
    assert found.path.name == "gradients@stages.json"
    record = found.record
    assert [stage["share"] for stage in record["stages"]] == [0.0, 0.01, 0.25, 0.5, 0.75, 1.0]
    (base,) = sa.diagnose("gradients", file, out=out).record["sources"].values()
    for loss, described in record["losses"].items():
        for block, row in described[0]["blocks"]["by_name"].items():
            expected = base["losses"][loss]["blocks"]["by_name"][block]
            assert row["naive_norm"] == pytest.approx(expected["naive_norm"], rel=1e-4)
    assert sa.diagnose("gradients", file, out=out, stages=True).record == record  # the record stands


def test_stages_that_are_not_there_or_of_another_recipe_are_refused_with_the_command(studied, tmp_path):
    file, out = studied
    said = refusal("diagnose", "gradients", file, "--out", tmp_path / "new", "--stages")
    assert f"stratalign diagnose significance RECIPE.yaml --out {tmp_path / 'new'}" in said
    with pytest.raises(UserError, match="those of this recipe are not in"):
        sa.diagnose(
            "gradients", _with_rate(file, tmp_path, 5e-4), out=_copied(out, tmp_path / "out"), stages=True
        )


def _with_rate(file, folder, rate):
    changed = yaml.safe_load(file.read_text())
    changed["training"]["learning_rate"] = rate
    (folder / "recipe.yaml").write_text(yaml.safe_dump(changed))
    return folder / "recipe.yaml"


def _copied(out, other):
    """A folder with the diagnoses of another one, and none of its runs."""
    import shutil

    shutil.copytree(out / "diagnostics", other / "diagnostics")
    return other


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["deltas", "--run", "base"], "The base has no update."),
        (["deltas", "--run", "md"], "Did you mean 'mid'?"),
        (["deltas", "--run", "mid", "--tuned", "x"], "not both"),
        (["weights", "--run", "mid"], "Unknown option of diagnose weights 'run'"),
        (["gradients", "--stages", "--run", "mid"], "Leave --run, --adapter and --against out"),
        (["gradients", "--stages", "--against", "x.jsonl"], "Leave --run, --adapter and --against out"),
        (["significance", "--stages"], "Unknown option of diagnose significance 'stages'"),
    ],
)
def test_mistakes_are_told_in_one_line(studied, arguments, said):
    file, out = studied
    assert said in refusal("diagnose", arguments[0], file, "--out", out, *arguments[1:])


def test_updates_need_a_trained_run(studied, tmp_path):
    file, _ = studied
    said = refusal("diagnose", "deltas", file, "--out", tmp_path / "new")
    assert "is trained yet" in said
    assert "stratalign train" in said


def test_tables_on_the_terminal(studied):
    file, out = studied
    weights = call("diagnose", "weights", file, "--out", out)
    assert "Signal-to-noise ratios of 21 weights" in weights.out
    assert "Means by block" in weights.out
    deltas = call("diagnose", "deltas", file, "--out", out)
    assert "size is not effect" in deltas.out
    one = call("diagnose", "deltas", file, "--out", out, "--run", "mid")
    assert "model.layers.1" in one.out
    stages = call("diagnose", "gradients", file, "--out", out, "--stages")
    assert "100-percent" in stages.out
    assert "sft, share after over share before: local" in " ".join(stages.out.split())
    done = call("diagnose", "deltas", file, "--out", out, "--json")
    assert json.loads(done.out)["kind"] == "deltas"


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "phi3", "gpt_neox", "gpt2"])
def test_weights_updates_and_stages_work_on_other_families(make_model, transcripts, tmp_path, family):
    file = recipe_of(tmp_path, make_model(family, layers=3), transcripts)
    out = tmp_path / "out"
    sa.diagnose("significance", file, out=out)
    weights = sa.diagnose("weights", file, out=out).record
    adapter = str(out / "diagnostics" / "significance" / "adapters" / "100-percent")
    deltas = sa.diagnose("deltas", file, out=out, adapter=adapter).record
    stages = sa.diagnose("gradients", file, out=out, stages=True).record
    names = {row["module"] for row in weights["modules"]}
    assert names == set(deltas["scores"]["relative"]) == set(stages["scores"]["100-percent"])
    assert all(size > 0 for size in deltas["scores"]["relative"].values())
