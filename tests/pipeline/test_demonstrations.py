"""Supervised fine-tuning: on demonstrations, and on the chosen responses of pairs."""

import json

import pytest
import yaml

import stratalign as sa
from stratalign.errors import UserError
from stratalign.pipeline.stages import train_stage
from stratalign.preferences import PreferenceSettings, load
from stratalign.records import append_jsonl, read_jsonl, read_scores

SFT = {
    "learning_rate": 1e-3,
    "batch_size": 3,
    "gradient_accumulation": 2,
    "rank": 4,
    "alpha": 8,
    "loss": "sft",
}
EACH_ONCE = {"train": 18, "validation": 0, "held_out": 8}


@pytest.fixture
def demonstrations(transcripts, tmp_path):
    """The prompts and chosen responses of the shipped pairs."""
    source = tmp_path / "demonstrations.jsonl"
    pairs = load(PreferenceSettings(source=str(transcripts))).rows
    append_jsonl(source, ({"prompt": pair.prompt, "response": pair.chosen} for pair in pairs))
    return source


def written(tmp_path, recipe, source, **changes):
    file = tmp_path / "recipe.yaml"
    preferences = {"source": str(source), **EACH_ONCE}
    file.write_text(yaml.safe_dump(recipe(preferences=preferences, **{"training": SFT, **changes})))
    return file


def rows(path, run):
    return [row for row in read_jsonl(path) if row["run"] == run]


def test_a_study_of_demonstrations_trains_proves_scores_and_reports(recipe, demonstrations, tmp_path):
    file = written(tmp_path, recipe, demonstrations, conditions=["base", "full", "mid"])
    planned = sa.plan(file, out=tmp_path / "out")
    assert planned.preferences["demonstrations"] == 35
    assert {len(tree.branches) for tree in (*planned.train_trees, *planned.held_out_trees)} == {1}
    out = sa.study(file, out=tmp_path / "out").path

    manifest = json.loads((out / "manifest.json").read_text())
    assert all(run["proof"]["proven"] for run in manifest["runs"].values())
    steps = rows(out / "training.jsonl", "mid")
    assert [row["margin"] for row in steps] == [None] * len(planned.steps)
    base, mid = rows(out / "logprobs.jsonl", "base"), rows(out / "logprobs.jsonl", "mid")
    assert all(row["rejected"] is row["base_rejected"] is row["tokens_rejected"] is None for row in mid)
    # learnt: the held-out demonstrations are likelier than under the base
    assert sum(row["chosen"] for row in mid) > sum(row["chosen"] for row in base)

    scores = [score for score in read_scores(out / "scores.csv") if score.run == "mid"]
    assert {"preference_accuracy", "reward_accuracy", "margin"}.isdisjoint(s.dimension for s in scores)
    found = {s.prompt_id: s.value for s in scores if s.dimension == "log_probability"}
    assert found == {row["prompt_id"]: pytest.approx(row["chosen"] / row["tokens_chosen"]) for row in mid}
    results = json.loads((out / "results.json").read_text())
    (run,) = [run for run in results["runs"] if run["run"] == "mid"]
    assert (run["final_margin"], run["final_accuracy"], run["held_out_accuracy"]) == (None, None, None)
    assert run["final_loss"] > 0
    assert any(one["dimension"] == "log_probability" for one in results["comparisons"])
    assert (out / "report.html").is_file()


def test_on_pairs_sft_learns_what_it_would_from_the_chosen_responses_alone(
    recipe, transcripts, demonstrations, tmp_path
):
    """Alone it computes one branch, beside DPO two; either way the steps are those of the demonstrations."""
    losses = {}
    for name, source, conditions in (
        ("demonstrations", demonstrations, ["mid"]),
        ("pairs", transcripts, ["mid"]),
        ("beside DPO", transcripts, {"mid": None, "dpo": {"block": "mid", "loss": "sigmoid"}}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        file = written(folder, recipe, source, conditions=conditions)
        planned = sa.plan(file, out=folder / "out")
        trained, held_out = (
            {len(t.branches) for t in part} for part in (planned.train_trees, planned.held_out_trees)
        )
        assert trained == {2 if name == "beside DPO" else 1}
        assert held_out == {1 if name == "demonstrations" else 2}
        sa.train(file, out=folder / "out")
        steps = rows(folder / "out" / "training.jsonl", "mid")
        losses[name] = [row[key] for row in steps for key in ("loss", "grad_norm")]
        assert (steps[0]["margin"] is None) == (name != "beside DPO")
    assert losses["pairs"] == pytest.approx(losses["beside DPO"], rel=1e-5)
    assert losses["pairs"] == pytest.approx(losses["demonstrations"], rel=1e-5)


def test_shuffled_labels_of_pairs_exchange_what_sft_imitates(recipe, transcripts, tmp_path):
    conditions = {"mid": None, "shuffled": {"block": "mid", "labels": "shuffled"}}
    planned = sa.plan(written(tmp_path, recipe, transcripts, conditions=conditions), out=tmp_path / "out")
    assert {len(tree.branches) for tree in planned.train_trees} == {2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": SFT | {"loss": "sigmoid"}},
            "None of the 35 rows .* 35 demonstration: it has no chosen and rejected",
        ),
        (
            {"conditions": {"mid": None, "dpo": {"block": "mid", "loss": "ipo"}}},
            "which every loss but training.loss: sft needs",
        ),
        (
            {"conditions": {"mid": {"block": "mid", "labels": "shuffled"}}},
            "'mid' shuffles labels, but .* demonstrations",
        ),
    ],
)
def test_what_needs_pairs_is_refused_on_demonstrations(changes, message, recipe, demonstrations, tmp_path):
    file = written(tmp_path, recipe, demonstrations, **{"conditions": ["mid"], **changes})
    with pytest.raises(UserError, match=message):
        sa.plan(file, out=tmp_path / "out")


def test_a_study_of_the_base_alone_takes_demonstrations_whatever_the_loss(recipe, demonstrations, tmp_path):
    file = written(tmp_path, recipe, demonstrations, conditions=["base"], training={"loss": "sigmoid"})
    train_stage(sa.plan(file, out=tmp_path / "out"), lambda *_: None)
    assert len(rows(tmp_path / "out" / "logprobs.jsonl", "base")) == 8


def test_too_few_steps_are_explained_by_the_rows_that_are_left_out(recipe, tmp_path):
    source = tmp_path / "kto.jsonl"
    append_jsonl(
        source,
        (
            {"prompt": f"What is tea {n}?", "completion": f"A drink, {n}.", "label": n % 2 == 0}
            for n in range(12)
        ),
    )
    file = written(tmp_path, recipe, source, conditions=["base", "full"])
    text = yaml.safe_load(file.read_text())
    text["preferences"] |= {"train": "all", "held_out": 2}
    file.write_text(yaml.safe_dump(text))
    with pytest.raises(UserError, match=r"1 step.*Of 12 rows, 6 are left out: 6 marked as undesirable"):
        sa.plan(file, out=tmp_path / "out")
