"""Diagnoses through the pipeline, on a tiny random model: records, their freshness, and what is chosen by them."""

import json
from dataclasses import replace

import pytest
import yaml

import stratalign as sa
from cli.command_line import call, refusal, write_recipe
from stratalign.diagnostics import KINDS, DiagnosticsSettings
from stratalign.errors import UserError
from stratalign.pipeline import diagnosing, stage_one
from stratalign.pipeline.fingerprints import diagnosed_from
from stratalign.pipeline.stage_one import stable_from
from stratalign.records import read_json

QUICK = {
    "gradients": {"pairs": 12, "chunks": 4},
    "significance": {"steps": 4, "batch": 4},
    "similarity": {"halves": 20},
    "probes": {"folds": 3, "controls": 1, "resamples": 200},
    "patching": {"resamples": 200},
    "profile": {"window": 2, "random": 2},
}
OF_THE_BASE = [kind for kind in KINDS if kind != "patching"]
"""Patching takes something trained."""


@pytest.fixture(scope="module")
def studied(make_model, transcripts, tmp_path_factory):
    """A recipe, a study of it with one trained run, and every diagnosis, which the tests only look at."""
    folder = tmp_path_factory.mktemp("diagnosed")
    file = write_recipe(
        folder / "recipe.yaml",
        make_model("llama", layers=4),
        transcripts,
        preferences={"train": 12, "validation": 4, "held_out": 4},
        diagnostics=QUICK,
        training={"batch_size": 2},
    )
    out = folder / "out"
    sa.train(file, out=out)
    found = {kind: sa.diagnose(kind, file, out=out) for kind in OF_THE_BASE}
    return file, out, found


def test_every_kind_has_settings_and_something_that_measures_it():
    assert list(KINDS) == list(DiagnosticsSettings.model_fields) == list(diagnosing.MEASURED)


def test_gradients_have_the_plain_likelihood_beside_them(studied):
    record = studied[2]["gradients"].record
    (measured,) = record["sources"].values()
    assert list(measured["losses"]) == ["sigmoid", "sft"]
    for loss in measured["losses"].values():
        assert len(loss["modules"]) == 28
        blocks = loss["blocks"]
        for said in (blocks["mean_gradient"], blocks["single_pairs"]):
            assert said["verdict"] in ("much greater", "not much greater", "cannot tell")
            assert len(said["over"]) == 2
        assert sum(row["share"]["value"] for row in blocks["by_name"].values()) == pytest.approx(1, abs=1e-6)
        for row in loss["layers"]:
            assert row["low"] <= row["norm"] <= row["high"]
    assert {row["share_over_baseline"]["reading"] for row in measured["losses"]["sigmoid"]["layers"]} <= {
        "above",
        "below",
        "cannot tell",
    }
    assert set(record["scores"]) == {"relative", "per_root_parameter", "norm"}


def test_significance_trains_every_linear_module_and_says_whether_it_was_stable(studied):
    _, out, found = studied
    record = found["significance"].record
    assert len(record["modules"]) == 28
    training = record["training"]
    assert training["steps"] == 6
    assert [point["step"] for point in training["validation"]] == [1, 2, 3, 4, 5, 6]
    assert all((out / folder / "adapter_model.safetensors").is_file() for folder in training["adapters"])
    assert record["losses_of"] == "validation"
    steps = training["gate_steps"]  # windows from steps 1 and 3 on, three pairs each
    assert [row["step"] for row in steps] == [1, 2, 3, 3, 4, 5]
    assert all(row["within_bound"] == len(row["differences"]) == 28 for row in steps)
    stable = training["stable_from"]
    assert all(row["after_stability"] == (None if stable is None else row["step"] >= stable) for row in steps)
    moves = [row["update_change"] / row["learning_rate"] for row in steps]
    assert all(move > 0 for move in moves)
    assert not (out / "diagnostics" / "significance" / "checkpoint.safetensors").exists()


def test_a_record_that_was_made_from_the_same_stands(studied, monkeypatch):
    file, out, found = studied
    monkeypatch.setattr(
        diagnosing, "load_model", lambda *_args, **_options: pytest.fail("a model was loaded")
    )
    for kind, one in found.items():
        before = one.path.read_bytes()
        assert sa.diagnose(kind, file, out=out).record == json.loads(before)
        assert one.path.read_bytes() == before


def test_a_record_made_anew_has_the_same_bytes(studied, tmp_path, monkeypatch):
    """The gradients' from the same folder; the significance's in another, its training interrupted once."""
    file, out, found = studied
    before = found["gradients"].path.read_bytes()
    found["gradients"].path.unlink()
    sa.diagnose("gradients", file, out=out)
    assert found["gradients"].path.read_bytes() == before

    stock, calls = stage_one.gated_losses, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return stock(*args)

    monkeypatch.setattr(stage_one, "gated_losses", interrupted)
    change = ["training.checkpoint_every=1"]
    with pytest.raises(KeyboardInterrupt):
        sa.diagnose("significance", file, change, tmp_path / "out")
    again = sa.diagnose("significance", file, change, tmp_path / "out")
    assert len(calls) == 7  # steps 1 to 4, of which the last was lost, then 4 to 6
    assert again.path.read_bytes() == found["significance"].path.read_bytes()


def test_another_setting_makes_another_record(studied, tmp_path):
    file, _, found = studied
    other = sa.diagnose("gradients", file, ["diagnostics.gradients.pairs=8"], tmp_path / "out")
    assert other.record["fingerprint"]["settings"]["pairs"] == 8
    assert other.record["sources"] != found["gradients"].record["sources"]
    (own,) = other.record["sources"].values()
    assert own["pairs"] == 8
    again = sa.diagnose("gradients", file, out=tmp_path / "out")  # stale: made anew
    assert again.record["sources"] == found["gradients"].record["sources"]


def test_a_trained_run_has_a_record_of_its_own_and_another_source_stands_beside(studied, transcripts):
    file, out, found = studied
    one = sa.diagnose("gradients", file, out=out, run="mid", against=[str(transcripts)])
    assert one.path.name == "gradients@mid.json"
    assert one.record["subject"] == "mid"
    assert one.record["sources"] != found["gradients"].record["sources"]


def test_an_adapter_folder_is_looked_at_as_it_is(studied):
    file, out, _ = studied
    one = sa.diagnose("significance", file, out=out, adapter=str(out / "adapters" / "mid"))
    assert one.path.name == "significance@mid.json"
    assert one.record["training"] is None
    assert {row["layer"] for row in one.record["modules"]} == {2}


def test_a_fully_trained_checkpoint_is_looked_at_by_its_difference(studied, tmp_path):
    """The adapter of `mid` merged into the base is a checkpoint: the same modules, and slopes as of the adapter."""
    file, out, _ = studied
    sa.merge(out / "adapters" / "mid", tmp_path / "merged")
    one = sa.diagnose("significance", file, out=out, tuned=str(tmp_path / "merged"))
    assert one.path.name == "significance@merged.json"
    record = one.record
    assert record["training"] is None
    assert record["difference"]["not_gated"] == {}
    adapted = sa.diagnose("significance", file, out=out, adapter=str(out / "adapters" / "mid")).record
    assert [row["module"] for row in record["modules"]] == [row["module"] for row in adapted["modules"]]
    assert record["difference"]["gated"] == len(adapted["modules"])
    assert record["losses"]["mean"]["trained"] == pytest.approx(
        adapted["losses"]["mean"]["trained"], abs=1e-5
    )
    for one_row, other in zip(record["modules"], adapted["modules"], strict=True):
        slope, expected = (row["slopes"]["base"]["value"] for row in (one_row, other))
        assert slope == pytest.approx(expected, rel=0.01, abs=1e-6)
    said = call("diagnose", "significance", file, "--out", out, "--tuned", tmp_path / "merged")
    assert "4 modules gated; 0 other tensors differ" in " ".join(said.out.split())


def test_conditions_are_chosen_by_the_record_and_train(studied, tmp_path):
    file, out, found = studied
    chosen = yaml.safe_load(file.read_text())
    chosen["conditions"] = {
        "base": None,
        "mid": None,
        "significant": {"by": "diagnostics/significance.json", "keep": 0.25},
        "frozen": {"by": "diagnostics/significance.json", "drop": 0.25},
    }
    other = tmp_path / "chosen.yaml"
    other.write_text(yaml.safe_dump(chosen))
    sa.train(other, out=out)
    runs = read_json(out / "manifest.json")["runs"]
    ranks = {row["module"]: row["rank"] for row in found["significance"].record["modules"]}
    assert sorted(ranks[name] for name in runs["significant"]["modules"]) == list(range(1, 8))
    assert sorted(ranks[name] for name in runs["frozen"]["modules"]) == list(range(1, 22))
    assert runs["significant"]["proof"]["proven"]


def test_a_condition_that_waits_for_a_record_is_planned_but_not_trained(studied, tmp_path):
    file, _, _ = studied
    change = "conditions.late={by: diagnostics/significance.json, keep: 0.5}"
    recipe = yaml.safe_load(file.read_text())
    recipe["conditions"] = {"base": None, "mid": None}
    waiting = tmp_path / "waiting.yaml"
    waiting.write_text(yaml.safe_dump(recipe))
    done = call("plan", waiting, "--set", change, "--out", tmp_path / "out")
    assert done.code == 0
    assert "late: by record diagnostics/significance.json" in done.out
    message = refusal("train", waiting, "--set", change, "--out", tmp_path / "out")
    assert f"stratalign diagnose significance RECIPE.yaml --out {tmp_path / 'out'}" in message
    assert not (tmp_path / "out").exists()


def test_a_record_of_other_preferences_in_the_studys_folder_is_refused(studied, tmp_path):
    file, _, found = studied
    folder = tmp_path / "out" / "diagnostics"
    folder.mkdir(parents=True)
    record = dict(found["significance"].record)
    record["fingerprint"] = record["fingerprint"] | {"preferences": {"digest": "of something else"}}
    (folder / "significance.json").write_text(json.dumps(record))
    change = "conditions={late: {by: diagnostics/significance.json, keep: 0.5}}"
    again = "Make it again, with the same --set: stratalign diagnose significance RECIPE.yaml --out "
    with pytest.raises(UserError, match=f"made from other training rows, .*{again}"):
        sa.plan(file, [change], tmp_path / "out")
    (folder / "significance.json").write_text("{}")
    with pytest.raises(UserError, match="is not a record: it has no `scores`"):
        sa.plan(file, [change], tmp_path / "out")


def test_a_record_stands_for_the_rows_that_train_whatever_is_held_out(studied, tmp_path):
    file, _, found = studied
    out = tmp_path / "out"
    (out / "diagnostics").mkdir(parents=True)
    (out / "diagnostics" / "significance.json").write_bytes(found["significance"].path.read_bytes())
    change = "conditions={late: {by: diagnostics/significance.json, keep: 0.5}}"
    planned = sa.plan(file, [change], out)
    with pytest.raises(
        UserError, match="made from other training rows"
    ):  # the split draws others to train on
        sa.plan(file, [change, "preferences.held_out=6"], out)

    preferences, parts = planned.fingerprints["preferences"], planned.parts
    stands = diagnosed_from(preferences, parts)
    fewer = replace(parts, held_out=parts.held_out[1:], unused=parts.held_out[:1])
    assert diagnosed_from(preferences | {"held_out": 3, "digest": "of a longer file"}, fewer) == stands
    (first, *rest) = parts.train
    changed = replace(parts, train=(replace(first, chosen=first.chosen + " !"), *rest))
    assert diagnosed_from(preferences, changed) != stands
    assert diagnosed_from(preferences | {"max_length": 7}, parts) != stands


def test_the_command_line_prints_tables_and_compares_records(studied):
    file, out, found = studied
    done = call("diagnose", "gradients", file, "--out", out)
    assert done.code == 0, done
    assert "Much greater than all others, 2 times:" in " ".join(done.out.split())
    path = found["significance"].path
    done = call("diagnose", "significance", file, "--out", out, "--compare", path)
    assert (
        "28 modules in both records: 21 shared, Jaccard 1.00 where chance gives 0.60, kappa 1.00"
        in " ".join(done.out.split())
    )
    done = call("diagnose", "significance", file, "--out", out, "--json")
    assert json.loads(done.out)["kind"] == "significance"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gradient"], "Did you mean 'gradients'?"),
        (["gradients", "--run", "md"], "Did you mean 'mid'? Known: base, "),
        (["gradients", "--run", "mid", "--adapter", "x"], "not both"),
        (["significance", "--against", "x"], "Unknown option of diagnose significance 'against'"),
        (["gradients", "--compare", "x"], "Only records of significance are compared"),
        (["gradients", "--adapter", "nowhere"], "is no PEFT adapter"),
        (["gradients", "--set", "diagnostics.gradients.pair=3"], "Did you mean 'pairs'?"),
        (["gradients", "--against", "nowhere.jsonl"], "There is no file or folder nowhere.jsonl"),
    ],
)
def test_mistakes_are_told_in_one_line(studied, arguments, said):
    file, out, _ = studied
    assert said in refusal("diagnose", arguments[0], file, "--out", out, *arguments[1:])


def test_a_record_to_compare_with_is_read_before_anything_is_trained(studied, tmp_path):
    file, _, found = studied
    out = tmp_path / "out"
    compare = ["diagnose", "significance", file, "--out", out, "--compare"]
    assert f"{tmp_path / 'absent.json'} does not exist. Give --compare" in refusal(
        *compare, tmp_path / "absent.json"
    )
    assert "is a record of 'gradients'. Give --compare" in refusal(*compare, found["gradients"].path)
    (tmp_path / "odd.json").write_text('{"kind": "significance"}')
    assert "odd.json is not a record: it has no `scores`" in refusal(*compare, tmp_path / "odd.json")
    assert not out.exists()


def test_stability_is_the_step_after_which_nothing_changes_by_more_than_a_share_of_the_whole_change():
    points = [{"step": s, "loss": v} for s, v in ((1, 0.9), (2, 0.5), (3, 0.42), (4, 0.44), (5, 0.43))]
    assert (
        stable_from(points, 0.05) == 3
    )  # 5 % of 0.9 - 0.42 is 0.024: 0.42, 0.44, 0.43 change by 0.02 and 0.01
    assert stable_from([{"step": p["step"], "loss": p["loss"] / 100} for p in points], 0.05) == 3
    assert stable_from(points, 0.001) is None
    assert stable_from(points, 1.0) == 1
    assert stable_from(points[:1], 1.0) is None


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "phi3", "gpt_neox", "gpt2", "mixtral", "bloom"])
def test_both_diagnoses_work_on_other_families(make_model, transcripts, tmp_path, family):
    file = write_recipe(
        tmp_path / "recipe.yaml",
        make_model(family, layers=3),
        transcripts,
        preferences={"train": 12, "validation": 4, "held_out": 4},
        diagnostics=QUICK,
        training={"batch_size": 6},
    )
    out = tmp_path / "out"
    gradients = sa.diagnose("gradients", file, out=out).record
    significance = sa.diagnose("significance", file, out=out).record
    (measured,) = gradients["sources"].values()
    seen = {row["module"] for row in measured["losses"]["sigmoid"]["modules"] if row["naive_norm"] > 0}
    assert seen == {row["module"] for row in significance["modules"]} == set(gradients["scores"]["norm"])
    again = sa.diagnose(
        "significance", file, out=out, adapter=str(out / significance["training"]["adapters"][-1])
    )
    assert again.record["scores"] == significance["scores"]


def test_what_stands_beside_the_scores_is_a_setting(studied, tmp_path):
    file, out, found = studied
    adapter = out / found["significance"].record["training"]["adapters"][-1]
    change = ["diagnostics.significance.beside=[slopes]"]
    one = sa.diagnose("significance", file, change, tmp_path / "out", adapter=str(adapter)).record
    full = found["significance"].record
    assert (one["losses"], one["training"]) == (None, None)
    assert one["scores"] == full["scores"]
    assert len(one["score_gradients"]) == 4  # steps
    said = call(
        *("diagnose", "significance", file, "--set", "diagnostics.significance.beside=[]"),
        *("--adapter", adapter, "--out", tmp_path / "out"),
    )
    assert said.code == 0, said
    assert "only these updates" not in said.out
    assert "slope" not in said.out


def test_records_of_two_models_of_one_shape_are_compared_and_of_others_refused(
    studied, make_model, transcripts, tmp_path
):
    """ILA compares models of equal depth: their modules have the same names."""
    _, _, found = studied
    path = found["significance"].path

    def compared(kind, **shape):
        file = write_recipe(
            tmp_path / f"{kind}.yaml",
            make_model(kind, **shape),
            transcripts,
            preferences={"train": 12, "validation": 4, "held_out": 4},
            diagnostics={"significance": {"steps": 2, "batch": 4, "beside": []}},
        )
        return "diagnose", "significance", file, "--out", tmp_path / kind, "--compare", path

    done = call(*compared("llama", layers=4, seed=1))
    assert "Top 75% of 28 modules in both records" in " ".join(done.out.split()), done
    refused = refusal(*compared("gpt_neox", layers=4))
    assert "are not about the same modules: 44 are in one of them alone" in refused
