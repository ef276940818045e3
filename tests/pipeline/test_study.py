"""Whole studies on tiny random models: killed anywhere they end in the same bytes, and they grow."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

import stratalign as sa
from stratalign.errors import StudyFailure, UserError
from stratalign.models import hushed
from stratalign.records import StudyFolder, read_jsonl
from stratalign.training import read_checkpoint
from tiny_models import small_recipe

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["stratalign.pipeline", "stratalign.reporting"])

CONDITIONS = {
    "base": None,
    "full": None,
    "local": None,
    "mid": None,
    "global": None,
    "shuffled": {"block": "full", "labels": "shuffled"},
    "base_again": {"block": "none", "sampling_seed": 1},
}


def write(folder, recipe, **changes):
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(**changes)))
    return file


def outcome(folder):
    """The files that must be the same bytes, interrupted or not."""
    files = [*folder.rglob("*.safetensors"), folder / "results.json", folder / "scores.csv"]
    files += [*(folder / "adapters").rglob("*.json"), *(folder / "tables").glob("*.csv")]
    files += list((folder / "figures").glob("*.svg"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(set(files))}


@pytest.fixture(scope="module")
def finished(make_model, transcripts, tmp_path_factory):
    """An uninterrupted study, shared by the tests that only look at it."""
    folder = tmp_path_factory.mktemp("finished")
    file = write(
        folder,
        lambda **changes: {**small_recipe(make_model("llama"), transcripts), **changes},
        conditions=CONDITIONS,
    )
    return file, sa.study(file, out=folder / "out").path


def run_study(file, out, die_with=None, die_in_scoring=False, die_in_pass=None):
    """Runs in a process of its own, which kills itself: as soon as a record has so many lines on disk (`die_with`: its
    name and their number), when scores are written, or in the third step of a training pass (`die_in_pass`)."""
    torch.set_num_threads(1)
    if die_with:
        name, count = die_with
        synced = os.fsync

        def dying_sync(file):
            synced(file)
            if lines(out / name) >= count:
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = dying_sync
    if die_in_pass:
        from stratalign.pipeline.stages import training

        stock, begun = training.train, []

        def dying(*args, **options):
            begun.append(1)
            if len(begun) < die_in_pass:
                return stock(*args, **options)
            return stock(*args, **options, after_step=lambda n: n < 3 or os.kill(os.getpid(), signal.SIGKILL))

        training.train = dying
    if die_in_scoring:
        from stratalign.pipeline.stages import judging

        judging.write_scores = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    sa.study(file, ["training.checkpoint_every=2"], out)


def killed(file, out, **options):
    """Run a study in a process that kills itself where `options` of `run_study` say."""
    process = PROCESSES.Process(target=run_study, args=(file, out), kwargs=options)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_study_killed_in_training_generation_and_scoring_ends_in_the_same_bytes(finished, tmp_path):
    file, whole = finished
    out = tmp_path / "out"
    trained = sum(name not in ("base", "base_again") for name in CONDITIONS)  # records of a step
    killed(file, out, die_with=("training.jsonl", 3 * trained))  # of six steps
    assert not (out / "manifest.json").exists() or "proof" not in (out / "manifest.json").read_text()
    killed(file, out, die_with=("responses.jsonl", 9))  # of 56 answers
    assert lines(out / "responses.jsonl") < 56
    killed(file, out, die_in_scoring=True)
    assert not (out / "scores.csv").exists()
    sa.study(file, out=out)
    assert outcome(out) == outcome(whole)
    log = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    assert len({(row["run"], row["step"]) for row in log}) == len(log) == 6 * trained


def test_a_study_killed_in_the_second_of_two_passes_ends_in_the_same_bytes(recipe, tmp_path, monkeypatch):
    """Seeds that vary the order of the pairs train in a pass each; only the second one is begun again."""
    from stratalign.pipeline.stages import training

    conditions = ["base", "mid", "global"]
    varied = {"seeds": [0, 1], "seeds_vary": ["init", "order", "sampling"]}
    sizes = recipe()["preferences"] | {"train": 12}
    file = write(tmp_path, recipe, conditions=conditions, preferences=sizes, **varied)
    whole = sa.study(file, out=tmp_path / "whole").path
    out = tmp_path / "out"
    killed(file, out, die_in_pass=2)
    assert lines(out / "training.jsonl") == (4 + 3) * 2
    runs = json.loads((out / "manifest.json").read_text())["runs"]
    assert [run for run in runs if "trained" in runs[run]] == ["mid@0", "global@0"]
    begun = read_checkpoint(StudyFolder(out).checkpoint)
    assert (list(begun.states), begun.step) == (["mid@1", "global@1"], 2)
    passes = []
    stock = training.train

    def watched(engine, runs, *args, **options):
        passes.append([run.id for run in runs])
        return stock(engine, runs, *args, **options)

    monkeypatch.setattr(training, "train", watched)
    sa.study(file, out=out)
    assert passes == [["mid@1", "global@1"]]
    assert outcome(out) == outcome(whole)
    log = [(row["run"], row["step"]) for row in read_jsonl(out / "training.jsonl")]
    assert len(set(log)) == len(log) == 4 * 4
    assert (out / "training.jsonl").read_bytes() == (whole / "training.jsonl").read_bytes()


def test_running_a_finished_study_again_redoes_nothing(finished, monkeypatch):
    from stratalign.pipeline.stages import loading

    file, out = finished
    before = outcome(out)
    monkeypatch.setattr(loading, "load_model", lambda *_args, **_options: pytest.fail("a model was loaded"))
    sa.study(file, out=out)
    assert outcome(out) == before


def test_a_condition_and_a_seed_added_later_train_only_those(make_model, recipe, tmp_path, monkeypatch):
    from stratalign.pipeline.stages import training

    passes = []
    stock = training.train

    def watched(engine, runs, *args, **options):
        passes.append([run.id for run in runs])
        return stock(engine, runs, *args, **options)

    monkeypatch.setattr(training, "train", watched)
    out = tmp_path / "grown"
    sa.study(write(tmp_path, recipe, conditions=["base", "mid"]), out=out)
    adapter = (out / "adapters" / "mid" / "adapter_model.safetensors").read_bytes()
    answers = [row["response"] for row in read_jsonl(out / "responses.jsonl") if row["run"] == "mid"]
    larger = write(tmp_path, recipe, conditions=["base", "mid", "global"], seeds=[0, 1])
    sa.study(larger, out=out)
    assert passes == [["mid"], ["mid@1", "global@0", "global@1"]]
    assert sorted(path.name for path in (out / "adapters").iterdir()) == [
        "global@0",
        "global@1",
        "mid@0",
        "mid@1",
    ]
    assert (out / "adapters" / "mid@0" / "adapter_model.safetensors").read_bytes() == adapter
    assert [
        row["response"] for row in read_jsonl(out / "responses.jsonl") if row["run"] == "mid@0"
    ] == answers
    assert not any(row["run"] == "mid" for row in read_jsonl(out / "training.jsonl"))
    # grown or made in one go, the results are the same
    at_once = sa.study(larger, out=tmp_path / "at_once").path
    assert outcome(out) == outcome(at_once)


def test_what_was_deleted_is_remade_or_missed(finished, tmp_path):
    file, whole = finished
    out = tmp_path / "copy"
    shutil.copytree(whole, out)
    (out / "logprobs.jsonl").unlink()
    sa.study(file, out=out)
    assert outcome(out) == outcome(whole)
    (out / "fingerprints.json").unlink()
    with pytest.raises(UserError, match=r"fingerprints\.json is missing"):
        sa.study(file, ["training.learning_rate=1e-4"], out)


def test_what_is_on_disk_is_what_the_contract_says(finished):
    _, out = finished
    names = {path.name for path in out.iterdir()}
    assert {
        "recipe.yaml", "environment.json", "execution.json", "manifest.json", "adapters", "training.jsonl",
        "responses.jsonl", "scores.csv", "results.json", "tables", "figures", "timings.json", "report.html",
    } <= names  # fmt: skip
    header = (out / "scores.csv").read_text().splitlines()[0]
    assert header == "prompt_id,cluster,run,seed,judge,protocol,dimension,repeat,value,state"
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["runs"]) == set(CONDITIONS)
    mid = manifest["runs"]["mid"]
    assert mid["layers"] == [2, 3]
    assert len(mid["modules"]) == 8
    assert mid["proof"]["proven"]
    assert all(run["proof"]["proven"] for run in manifest["runs"].values())
    page = (out / "report.html").read_text()
    assert page.count("<script") == 2  # the data of the examples, and what filters them
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://127.0.0.1:8000/v1", "")


def test_adapters_load_in_stock_peft_on_exactly_their_layers(finished, make_model):
    _, out = finished
    with hushed():
        base = AutoModelForCausalLM.from_pretrained(make_model("llama"))
        model = PeftModel.from_pretrained(base, str(out / "adapters" / "mid"))
    layers = {
        name.split(".layers.")[1].split(".")[0] for name, _ in model.named_parameters() if "lora_" in name
    }
    assert layers == {"2", "3"}


def test_base_against_base_with_the_same_noise_is_the_same_and_other_noise_differs(finished):
    _, out = finished
    answers = {}
    for row in read_jsonl(out / "responses.jsonl"):
        answers.setdefault(row["run"], {})[row["prompt_id"]] = row
    assert all(row["kl_to_base"] == 0 for row in answers["base"].values())
    assert answers["base"] != answers["base_again"]
    assert any(row["kl_to_base"] > 0 for row in answers["full"].values())
    responses = {run: [row["response"] for row in rows.values()] for run, rows in answers.items()}
    assert responses["base"] != responses["base_again"]


def test_a_swapped_adapter_is_not_proven(make_model, recipe, tmp_path):
    """Two adapters of the same shape exchange their files after training: keys match, the contents do not."""
    from stratalign.pipeline.stages import training

    file = write(tmp_path, recipe, conditions={"mid": None, "again": {"block": "mid", "beta": 0.5}})
    out = StudyFolder(tmp_path / "out")
    planned = sa.plan(file, out=out.path)
    stock = training._record

    def swapping(plan, *args):
        stock(plan, *args)
        one, two = (out.adapters / name / "adapter_model.safetensors" for name in ("mid", "again"))
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_record", swapping)
        with pytest.raises(StudyFailure, match=r"do not hold(.|\n)*mid: saved_bytes(.|\n)*mid: reproduced"):
            training.train_stage(planned, lambda *_: None)
    assert not json.loads(out.manifest.read_text())["runs"]["mid"]["proof"]["proven"]


def test_a_base_that_changes_during_the_study_is_not_proven(recipe, make_model, tmp_path):
    from stratalign.pipeline.stages import training

    model = tmp_path / "model"
    shutil.copytree(make_model("llama"), model)
    file = write(tmp_path, recipe, model=str(model), conditions=["mid"])
    planned = sa.plan(file, out=tmp_path / "out")
    stock = training._record

    def touching(plan, *args):
        stock(plan, *args)
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"note": 1}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_record", touching)
        with pytest.raises(StudyFailure, match=r"base_unchanged: changed: config\.json"):
            training.train_stage(planned, lambda *_: None)


def test_an_sft_adapter_is_part_of_the_base(finished, make_model, recipe, tmp_path):
    """The base is model + adapter: the reference starts from it, proof and merge include it."""
    _, out = finished
    sft = out / "adapters" / "full"
    file = write(
        tmp_path,
        recipe,
        model={"base": str(make_model("llama")), "adapter": str(sft)},
        conditions=["base", "mid"],
    )
    mine = sa.study(file, out=tmp_path / "out")
    manifest = json.loads(mine.manifest.read_text())
    assert manifest["runs"]["mid"]["proof"]["proven"]
    assert "adapter/adapter_model.safetensors" in manifest["model"]["files"]
    full = {
        row["prompt_id"]: row["chosen"] for row in read_jsonl(out / "logprobs.jsonl") if row["run"] == "full"
    }
    base = {row["prompt_id"]: row["chosen"] for row in read_jsonl(mine.logprobs) if row["run"] == "base"}
    assert base == pytest.approx(full, abs=1e-3)
    merged = sa.merge(mine.adapters / "mid", tmp_path / "merged")
    from stratalign.models import ModelSettings, load_stock

    cpu, ids = torch.device("cpu"), torch.arange(1, 20)[None]
    whole = load_stock(ModelSettings(base=str(merged)), dtype=torch.float32, device=cpu).eval()
    parts = load_stock(
        ModelSettings(base=str(make_model("llama")), adapter=str(sft)), dtype=torch.float32, device=cpu
    )
    with hushed():
        parts = PeftModel.from_pretrained(parts, str(mine.adapters / "mid")).eval()
    assert torch.allclose(whole(input_ids=ids).logits, parts(input_ids=ids).logits, atol=1e-4)


@pytest.mark.slow
def test_two_hundred_real_pairs_killed_and_resumed(hh_rlhf, make_model, recipe, tmp_path):
    sizes = {"source": str(hh_rlhf), "train": 200, "validation": 20, "held_out": 40}
    training = {**recipe()["training"], "batch_size": 6, "gradient_accumulation": 4, "epochs": 1}
    training |= {"max_length": 384, "on_long": "truncate", "checkpoint_every": 2}
    generation = {"max_new_tokens": 24, "batch_size": 8}
    file = write(
        tmp_path, recipe, preferences=sizes | {"max_bad": 0.9}, training=training, generation=generation
    )
    whole = sa.study(file, out=tmp_path / "whole").path
    out = tmp_path / "out"
    killed(file, out, die_with=("training.jsonl", 4 * 4))  # step 4 of 9
    killed(file, out, die_with=("responses.jsonl", 60))  # of 200 answers
    killed(file, out, die_in_scoring=True)
    sa.study(file, out=out)
    assert outcome(out) == outcome(whole)
    assert json.loads((out / "preferences.json").read_text())["parts"]["train"]["rows"] == 200
