"""Similarity, probes and patching through the pipeline, on a tiny random model."""

import json

import pytest

import stratalign as sa
from cli.command_line import call, refusal, write_recipe

QUICK = {
    "similarity": {"halves": 20},
    "probes": {"folds": 3, "controls": 1, "resamples": 200},
    "patching": {"resamples": 200},
}


@pytest.fixture(scope="module")
def studied(make_model, transcripts, tmp_path_factory):
    """A recipe, and the folder of a study of it with one trained run, which the tests only look at."""
    folder = tmp_path_factory.mktemp("states")
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
    return file, out


def told(*arguments):
    done = call("diagnose", *arguments)
    assert done.code == 0, done
    return " ".join(done.out.split())


def test_similarity_of_the_base_and_beside_a_run(studied):
    file, out = studied
    assert "Blocks by similarity: " in told("similarity", file, "--out", out)
    base = json.loads((out / "diagnostics" / "similarity.json").read_text())
    assert [len(row) for row in base["layer_similarity"]] == [4] * 4
    assert len(base["boundaries"]["rows"]) == 2
    assert "drift" not in base
    assert "to base" in told("similarity", file, "--out", out, "--run", "mid")
    tuned = json.loads((out / "diagnostics" / "similarity@mid.json").read_text())
    drift = [row["relative_change"]["value"] for row in tuned["drift"]]
    assert drift[:3] == [0, 0, 0]  # mid is layer 2: states 0 to 2 enter the layers up to it
    assert min(drift[3:]) > 0
    assert set(tuned["scores"]["drift"]) == set(base["scores"]["change"])


def test_patching_finds_the_only_layer_that_was_trained(studied):
    file, out = studied
    assert "Patching mid and base" in told("patching", file, "--out", out, "--run", "mid")
    record = json.loads((out / "diagnostics" / "patching@mid.json").read_text())
    assert [row["made"]["value"] for row in record["layers"]] == [0, 0, 1, 0]
    assert {float(v) for name, v in record["scores"]["effect"].items() if ".layers.2." in name} == {1.0}


def test_probes_read_the_users_labels_and_their_change_makes_the_record_anew(studied, tmp_path):
    file, out = studied
    rows = [*sa.plan(file, out=out).parts.train]
    labels = tmp_path / "labels.jsonl"

    def write(flip):
        lines = [
            {"prompt_id": row.row_id, "label": (i + flip) % 2}
            if i % 4
            else {"text": row.prompt, "label": "0"}
            for i, row in enumerate(rows)
        ]
        labels.write_text("\n".join(map(json.dumps, lines)))

    write(0)
    first = sa.diagnose("probes", file, out=out, labels=str(labels)).record
    assert list(first["tasks"]) == ["preference", "labels"]
    assert first["tasks"]["labels"]["classes"] == ["0", "1"]
    assert len(first["tasks"]["preference"]["curve"]) == 5
    again = sa.diagnose("probes", file, out=out, labels=str(labels)).record
    assert again == first
    write(1)
    assert (
        sa.diagnose("probes", file, out=out, labels=str(labels)).record["fingerprint"] != first["fingerprint"]
    )
    assert "preference" in told("probes", file, "--out", out, "--labels", labels)


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (["patching"], None, "name a run of the study with --run"),
        (["probes", "--labels", "nowhere.jsonl"], None, "There is no file nowhere.jsonl of labels"),
        (["probes", "--labels", "FILE"], "{}", "Line 1 of"),
        (["probes", "--labels", "FILE"], '{"text": "hi", "prompt_id": "x", "label": 1}', "is no label"),
        (["probes", "--labels", "FILE"], '{"text": "hi", "label": 1}', "is of a training prompt"),
        (["similarity", "--labels", "FILE"], "{}", "Unknown option of diagnose similarity 'labels'"),
    ],
)
def test_mistakes_are_told(studied, tmp_path, arguments, content, said):
    file, out = studied
    labels = tmp_path / "labels.jsonl"
    if content is not None:
        labels.write_text(content)
    given = [str(labels) if word == "FILE" else word for word in arguments[1:]]
    assert said in refusal("diagnose", arguments[0], file, "--out", out, *given)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "phi3", "gpt_neox", "gpt2", "mixtral", "bloom"])
def test_states_are_read_in_other_families(make_model, transcripts, tmp_path, family):
    file = write_recipe(
        tmp_path / "recipe.yaml",
        make_model(family, layers=3),
        transcripts,
        preferences={"train": 12, "validation": 4, "held_out": 4},
        diagnostics=QUICK,
        training={"batch_size": 6},
    )
    out = tmp_path / "out"
    sa.train(file, out=out)
    for kind in QUICK:
        record = sa.diagnose(kind, file, out=out, run="mid").record
        assert all(record["scores"].values())
    drift = sa.diagnose("similarity", file, out=out, run="mid").record["drift"]
    assert [row["relative_change"]["value"] > 1e-6 for row in drift] == [False, False, True, True]
