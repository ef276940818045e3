"""Conditions tuned on validation: candidates of the same pass, one chosen, and nothing else sees the others."""

import json

import numpy as np
import pytest
import yaml

import stratalign as sa
from stratalign.blocks import expand_conditions
from stratalign.errors import UserError
from stratalign.pipeline.stages import loading, training
from stratalign.records import LogProbRecord, read_jsonl
from stratalign.training import OVERRIDE_KEYS

RATES = [5e-4, 2e-3]
TUNED = {"base": None, "mid": {"block": "mid", "tune": {"learning_rate": RATES}}}


def write(folder, recipe, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(**changes)))
    return file


def read(folder, name):
    return json.loads((folder / name).read_text())


def made(out):
    """What has to be the same bytes whenever the same is asked for."""
    files = [
        *out.glob("adapters/*/*.safetensors"),
        *out.glob("adapters/*/*.json"),
        *out.glob("figures/*.svg"),
    ]
    files += [out / name for name in ("tuning.json", "results.json", "recommendation.json", "scores.csv")]
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(files)}


@pytest.fixture(scope="module")
def opposed(tmp_path_factory):
    """Pairs whose held-out rows prefer the opposite of what training and validation rows prefer."""
    source = tmp_path_factory.mktemp("opposed") / "pairs.jsonl"
    rows = []
    for i in range(36):
        part = "train" if i < 18 else "validation" if i < 28 else "held_out"
        good, bad = (
            (" yes, of course", " no, never") if part != "held_out" else (" no, never", " yes, of course")
        )
        rows.append({"prompt": f"Question {i}?", "chosen": good, "rejected": bad, "part": part})
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"source": str(source), "train": 18, "validation": 10, "held_out": 8}


@pytest.fixture(scope="module")
def finished(make_model, opposed, tmp_path_factory):
    from tiny_models import small_recipe

    folder = tmp_path_factory.mktemp("tuned")
    whole = {**small_recipe(make_model("llama"), "unused"), "preferences": opposed, "conditions": TUNED}
    file = write(folder, lambda: whole)
    return file, sa.study(file, out=folder / "out").path


def mean_loss(out, file, run, beta=0.1):
    """DPO's loss by its definition, in numpy: log(1 + exp(-beta x margin))."""
    rows = [row for row in read_jsonl(out / file) if row["run"] == run]
    margins = [row["chosen"] - row["base_chosen"] - row["rejected"] + row["base_rejected"] for row in rows]
    return float(np.mean(np.log1p(np.exp(-beta * np.array(margins)))))


def test_validation_alone_chooses_although_held_out_rows_prefer_the_other(finished, tmp_path):
    file, out = finished
    chosen = read(out, "tuning.json")["conditions"]["mid"]
    assert chosen["chosen"] == chosen["best"] == "mid-0.002"
    slow, fast = chosen["candidates"]
    for one in (slow, fast):
        assert one["mean"] == pytest.approx(mean_loss(out, "validation.jsonl", one["candidate"]), abs=1e-12)
    assert fast["mean"] < slow["mean"]
    plain = {"base": None, "slow": {"block": "mid", "learning_rate": RATES[0]}}
    other = yaml.safe_load(file.read_text()) | {"conditions": plain}
    held_out = sa.train(write(tmp_path, lambda: other), out=tmp_path / "out").path
    assert mean_loss(held_out, "logprobs.jsonl", "slow") < mean_loss(out, "logprobs.jsonl", "mid")


def test_only_the_chosen_one_is_proven_answered_for_and_reported_under_the_conditions_name(finished):
    _, out = finished
    assert {row["run"] for row in read_jsonl(out / "responses.jsonl")} == {"base", "mid"}
    assert {row["run"] for row in read_jsonl(out / "logprobs.jsonl")} == {"base", "mid"}
    runs = read(out, "manifest.json")["runs"]
    assert runs["mid"]["proof"]["proven"]
    assert runs["mid"]["tuned"] == {
        "candidate": "mid-0.002",
        "by": "loss",
        "values": {"learning_rate": 0.002},
    }
    assert runs["mid"]["training"]["learning_rate"] == 0.002
    for name in ("mid-0.0005", "mid-0.002"):
        assert runs[name]["candidate_of"] == "mid"
        assert "proof" not in runs[name]
        assert (out / "adapters" / name / "adapter_model.safetensors").is_file()
    results = read(out, "results.json")
    assert [run["run"] for run in results["runs"]] == ["base", "mid"]
    assert results["tuning"]["conditions"]["mid"]["chosen"] == "mid-0.002"
    assert results["missing"] == []


def test_one_value_to_try_is_the_plain_condition_bit_for_bit(recipe, tmp_path):
    plain = {"base": None, "mid": {"block": "mid", "learning_rate": 2e-3, "rank": 2}}
    grid = {"base": None, "mid": {"block": "mid", "tune": {"learning_rate": [2e-3], "rank": [2]}}}
    one = sa.study(write(tmp_path / "plain", recipe, conditions=plain), out=tmp_path / "one").path
    two = sa.study(write(tmp_path / "grid", recipe, conditions=grid), out=tmp_path / "two").path
    for name in ("scores.csv", "responses.jsonl", "logprobs.jsonl", "tables/comparisons.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (one / "adapters/mid" / name).read_bytes() == (two / "adapters/mid" / name).read_bytes(), name
    steps = [[row for row in read_jsonl(out / "training.jsonl") if row["run"] == "mid"] for out in (one, two)]
    assert steps[0] == steps[1]
    without = read(two, "results.json")
    del without["tuning"]
    assert without == read(one, "results.json")


@pytest.mark.parametrize("place", ["measured", "chosen", "copied", "adopted"])
def test_a_study_that_stops_anywhere_around_the_choice_ends_in_the_same_bytes(
    finished, tmp_path, monkeypatch, place
):
    from stratalign.pipeline import adopting
    from stratalign.pipeline.manifest import Manifest

    file, whole = finished
    out = tmp_path / "out"

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if place == "measured":  # all trained and measured, nothing chosen
            patched.setattr(training, "choose", stop)
        elif place == "chosen":  # tuning.json is there, nothing copied
            patched.setattr(training, "adopt", stop)
        elif place == "copied":  # steps are copied, the adapter is not
            patched.setattr(adopting, "_copy_adapter", stop)
        else:  # all copied, nothing proven
            patched.setattr(Manifest, "enter_proof", stop)
        with pytest.raises(KeyboardInterrupt):
            sa.study(file, out=out)
    sa.study(file, out=out)
    assert made(out) == made(whole)
    log = [(row["run"], row["step"]) for row in read_jsonl(out / "training.jsonl")]
    assert len(set(log)) == len(log)


def test_a_finished_study_loads_no_model_again(finished, monkeypatch):
    file, out = finished
    before = made(out)
    monkeypatch.setattr(loading, "load_model", lambda *_args, **_options: pytest.fail("a model was loaded"))
    sa.study(file, out=out)
    assert made(out) == before


def test_a_value_and_a_seed_added_later_train_only_those_and_choose_anew(finished, tmp_path, monkeypatch):
    import shutil

    file, whole = finished
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    trained = []
    train = training.train

    def watched(engine, runs, *args, **options):
        trained.append([run.id for run in runs])
        return train(engine, runs, *args, **options)

    monkeypatch.setattr(training, "train", watched)
    sa.study(file, ["conditions.mid.tune.learning_rate=[0.0005, 0.002, 0.008]"], out)
    assert trained == [["mid-0.008"]]
    assert read(out, "tuning.json")["conditions"]["mid"]["chosen"] == "mid-0.008"
    saved = [
        (out / "adapters" / name / "adapter_model.safetensors").read_bytes() for name in ("mid", "mid-0.008")
    ]
    assert saved[0] == saved[1]
    answers = {row["prompt_id"]: row for row in read_jsonl(out / "responses.jsonl") if row["run"] == "mid"}
    assert len(answers) == 8
    grown = ["conditions.mid.tune.learning_rate=[0.0005, 0.002, 0.008]"]
    fresh = sa.study(file, grown, tmp_path / "fresh").path
    assert made(fresh) == made(out)
    sa.study(file, [*grown, "seeds=[0, 1]"], out)
    assert trained[2:] == [["mid-0.0005@1", "mid-0.002@1", "mid-0.008@1"]]
    assert sorted(run["run"] for run in read(out, "results.json")["runs"]) == [
        "base@0",
        "base@1",
        "mid@0",
        "mid@1",
    ]
    with pytest.raises(UserError, match="would make stale"):
        sa.plan(file, ["conditions.mid.tune.by=margin"], whole)


def test_the_plan_shows_candidates_apart_and_the_choice_once_it_is_made(finished, tmp_path):
    file, out = finished
    before = sa.plan(file, out=tmp_path / "nothing").describe()
    assert list(before["runs"]) == ["base", "mid"]
    assert before["runs"]["mid"]["tuned"] == {"by": "loss", "candidates": 2, "chosen": None, "values": None}
    assert [one["learning_rate"] for one in before["candidates"].values()] == RATES
    after = sa.plan(file, out=out).describe()
    assert after["runs"]["mid"]["tuned"]["values"] == {"learning_rate": 0.002}


def test_the_page_names_the_choice_the_edge_and_every_candidate(finished):
    _, out = finished
    page = (out / "report.html").read_text()
    assert "Tuned on validation" in page
    assert "mid: the best learning rate, 0.002, is the highest tried" in page
    assert "mid: learning rate 0.002, rank 4, loss" in page
    assert "<svg" in (out / "figures/tuning.svg").read_text()
    table = (out / "tables/tuning.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in table[1:]] == [["mid", "0.0005", "4"], ["mid", "0.002", "4"]]


def pair(run, cluster, margin):
    return LogProbRecord(run, f"row {cluster}", cluster, margin, 0.0, 0.0, 0.0, 1, 1)


def tuned(recipe, tmp_path, conditions):
    file = write(tmp_path, recipe, conditions=conditions)
    return sa.plan(file, out=tmp_path / "out").tuned


def records(margins):
    """Run -> one row in each of as many clusters as there are margins."""
    return {run: [pair(run, str(i), value) for i, value in enumerate(row)] for run, row in margins.items()}


def test_candidates_that_cannot_be_told_from_the_best_give_way_to_the_smallest(recipe, tmp_path):
    from stratalign.pipeline.tuning import tune

    conditions = {
        "base": None,
        "mid": {"block": "mid", "tune": {"learning_rate": [1e-3, 2e-3, 4e-3], "by": "margin"}},
    }
    (one,) = tuned(recipe, tmp_path, conditions)
    # 0.004 is best by a hair, now above and now below 0.002; 0.001 is behind by 1 in every row
    ripple = [0.5, -0.5] * 10
    margins = {
        "mid-0.001": [4.0] * 20,
        "mid-0.002": [5.0] * 20,
        "mid-0.004": [5.01 + value for value in ripple],
    }
    found = tune([one], records(margins))["conditions"]["mid"]
    assert found["best"] == "mid-0.004"
    assert found["second"]["candidate"] == "mid-0.002"
    assert found["second"]["difference"] == pytest.approx(-0.01)
    assert found["second"]["verdict"] == "cannot tell"
    assert (found["tied"], found["chosen"]) == (["mid-0.002"], "mid-0.002")
    assert found["edges"] == [{"key": "learning_rate", "block": None, "value": 0.004, "end": "highest"}]
    margins["mid-0.002"] = [6.0] * 20
    found = tune([one], records(margins))["conditions"]["mid"]
    assert (found["best"], found["chosen"], found["edges"]) == ("mid-0.002", "mid-0.002", [])
    assert found["second"]["verdict"] == "behind"


def test_the_order_at_one_rate_and_after_tuning_stand_beside_each_other(recipe, tmp_path):
    from stratalign.pipeline.tuning import tune

    section = {"conditions": ["local", "mid"], "learning_rate": [1e-3, 2e-3], "by": "margin"}
    file = write(tmp_path, recipe, conditions=["base", "local", "mid"], tune=section)
    margins = {
        "local-0.001": [3.0, 3.2, 3.1],
        "local-0.002": [1.0, 1.2, 1.1],
        "mid-0.001": [2.0, 2.2, 2.1],
        "mid-0.002": [4.0, 4.2, 4.1],
    }
    (found,) = tune(sa.plan(file, out=tmp_path / "out").tuned, records(margins))["orders"]
    orders = [[one["condition"] for one in row["order"]] for row in (*found["at_one"], found["tuned"])]
    assert orders == [["local", "mid"], ["mid", "local"], ["mid", "local"]]
    assert found["tuned"]["pairs"][0]["difference"] == pytest.approx(
        -1.0
    )  # local's best is 1 nat behind mid's


def test_every_block_of_a_joint_condition_can_have_rates_of_its_own():
    grid = {"learning_rate": {"local": [1e-3, 2e-3], "global": [5e-4]}, "rank": [2, 4]}
    (spec,) = expand_conditions({"joint": {"blocks": ["local", "global"], "tune": grid}}, OVERRIDE_KEYS)
    found = {one.name: one.overrides for one in spec.candidates()}
    assert list(found) == [
        "joint-0.001+0.0005-2",
        "joint-0.001+0.0005-4",
        "joint-0.002+0.0005-2",
        "joint-0.002+0.0005-4",
    ]
    assert found["joint-0.002+0.0005-4"] == {"learning_rate": {"local": 2e-3, "global": 5e-4}, "rank": 4}


@pytest.mark.parametrize(
    ("tune", "more", "said"),
    [
        ({"lerning_rate": [1e-3]}, {}, "Did you mean 'learning_rate'"),
        ({"beta": [0.1]}, {}, "Known: learning_rate, rank, by"),
        ({"learning_rate": []}, {}, "empty list"),
        ({"learning_rate": 1e-3}, {}, "must be a list"),
        ({"learning_rate": [0.0]}, {}, "above 0"),
        ({"learning_rate": [1e-3, 1e-3]}, {}, "twice"),
        ({"rank": [2.5]}, {}, "whole numbers from 1"),
        ({}, {}, "nothing to try"),
        ({"learning_rate": [1e-3], "by": "grammar"}, {}, "Known: loss, margin, accuracy"),
        ({"learning_rate": [1e-3]}, {"learning_rate": 1e-3}, "both learning_rate and values"),
        ({"rank": [2]}, {"parameters_like": "local"}, "`parameters_like`"),
        ({"learning_rate": [1e-3]}, {"labels": "shuffled"}, "nothing to be tuned to"),
        ({"learning_rate": [1e-3]}, {"block": "none"}, "trains nothing"),
        ({"learning_rate": {"local": [1e-3]}}, {}, "one rate for each block"),
    ],
)
def test_a_grid_that_cannot_be_tried_is_refused_with_the_reason(recipe, tmp_path, tune, more, said):
    file = write(tmp_path, recipe, conditions={"base": None, "mid": {"block": "mid", "tune": tune} | more})
    with pytest.raises(UserError, match=said):
        sa.plan(file, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"learning_rate": [1e-3]}, "must name conditions"),
        ({"conditions": ["mdi"], "learning_rate": [1e-3]}, "Did you mean 'mid'"),
        ({"conditions": ["mid"], "learning_rate": [1e-3]}, "Keep one of them"),
        ({"conditions": ["base"], "learning_rate": [1e-3]}, "trains nothing"),
    ],
)
def test_a_section_that_cannot_be_followed_is_refused(recipe, tmp_path, section, said):
    file = write(tmp_path, recipe, conditions=TUNED, tune=section)
    with pytest.raises(UserError, match=said):
        sa.plan(file, out=tmp_path / "out")


def test_without_validation_rows_nothing_can_be_tuned(recipe, tmp_path):
    file = write(tmp_path, recipe, conditions=TUNED)
    with pytest.raises(UserError, match=r"preferences\.validation is 0"):
        sa.plan(file, ["preferences.validation=0"], tmp_path / "out")
