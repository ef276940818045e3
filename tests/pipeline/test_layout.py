"""Which layout a study trains in, and where it says so."""

import json

import pytest
import torch
import yaml

import stratalign as sa
from stratalign.engine import JointEngine
from stratalign.generation import local
from stratalign.models import ModelSettings, load_model
from stratalign.pipeline.stages import loading
from stratalign.pipeline.stages.training import begin
from stratalign.records import read_json, read_jsonl
from stratalign.training import references


@pytest.mark.parametrize("stored", [None, "padded"])
def test_a_study_packs_where_the_model_allows_and_one_begun_with_padded_rows_goes_on_so(
    recipe, tmp_path, stored, monkeypatch
):
    file, out = tmp_path / "recipe.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid"])))
    planned = sa.plan(file, out=out)
    if stored is not None:
        begin(planned)
        execution = json.loads((out / "execution.json").read_text())
        (out / "execution.json").write_text(json.dumps(execution | {"batches": stored}))
    layouts = set()
    stock = loading.JointEngine.collate

    def watched(engine, trees):
        batch = stock(engine, trees)
        layouts.add("padded" if batch.spans is None else "packed")
        return batch

    monkeypatch.setattr(loading.JointEngine, "collate", watched)
    sa.train(file, out=out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert layouts == {manifest["model"]["batches"]} == {stored or "packed"}
    assert all(run["proof"]["proven"] for run in manifest["runs"].values())
    assert len(list(read_jsonl(out / "logprobs.jsonl"))) == 2 * 8


def test_a_loaded_model_says_whether_it_packs(make_model):
    settings = ModelSettings(base=str(make_model("qwen3")))
    loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
    assert loaded.packs
    assert not loaded.padded().packs


def test_memory_is_planned_once_said_and_kept(recipe, tmp_path, monkeypatch):
    file, out = tmp_path / "recipe.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid"])))
    assert sa.plan(file, out=out).describe()["execution"]["pack_tokens"] is None
    sa.train(file, out=out)
    execution = json.loads((out / "execution.json").read_text())
    assert (execution["pack_tokens"], execution["checkpointing"]) == (2048, False)
    assert execution["bytes_per_token"] > 1000
    (out / "execution.json").write_text(json.dumps(execution | {"pack_tokens": 70, "checkpointing": True}))
    used = []
    monkeypatch.setattr(
        loading,
        "JointEngine",
        lambda *a, **k: used.append((k["pack_tokens"], k["checkpointing"])) or JointEngine(*a, **k),
    )
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid", "global"])))
    sa.train(file, out=out)
    assert set(used) == {(70, True)}
    assert sa.plan(file, out=out).describe()["execution"]["pack_tokens"] == 70


def test_references_are_stored_when_asked_and_shared_by_studies_with_other_settings(
    recipe, tmp_path, monkeypatch
):
    monkeypatch.setenv("STRATALIGN_CACHE", str(tmp_path / "cache"))
    computed = []
    stock = references.compute_references
    monkeypatch.setattr(references, "compute_references", lambda *a: computed.append(1) or stock(*a))
    outcomes = {}
    for name, own in {
        "pass": {},
        "one": {"reference": "stored"},
        "two": {"reference": "stored", "beta": 0.2},
    }.items():
        changed = recipe(conditions=["base", "full"])
        changed["training"] |= own
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(changed))
        sa.train(file, out=tmp_path / name)
        outcomes[name] = [row["loss"] for row in read_jsonl(tmp_path / name / "training.jsonl")]
    assert len(computed) == len(list((tmp_path / "cache" / "references").iterdir())) == 1
    assert outcomes["one"] == pytest.approx(outcomes["pass"], rel=1e-5)
    assert outcomes["two"] != outcomes["one"]


@pytest.mark.parametrize(
    ("epochs", "asked", "found"), [(2, "auto", "pass"), (3, "auto", "stored"), (3, "pass", "pass")]
)
def test_where_the_reference_comes_from_depends_on_epochs_alone(recipe, tmp_path, epochs, asked, found):
    changed = recipe(conditions=["base", "full"])
    changed["training"] |= {"epochs": epochs, "reference": asked}
    file = tmp_path / "recipe.yaml"
    for conditions in (["base", "full"], ["base", "global"]):
        file.write_text(yaml.safe_dump({**changed, "conditions": conditions}))
        assert sa.plan(file, out=tmp_path / "out").execution.reference == found


def test_memory_that_runs_out_is_said_once_recorded_and_remembered(recipe, tmp_path, monkeypatch):
    """Training and generation's prefill each meet a batch that is too large."""
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid"])))
    plain = sa.generate(file, out=tmp_path / "plain")
    trained = read_json(plain.execution)
    assert (trained["answers"], trained["out_of_memory"]) == (None, [])
    stock, tried = JointEngine.base, []

    def base(engine, batch, *known):
        tried.append(batch.ids.numel())
        if batch.ids.numel() > 500:
            raise torch.OutOfMemoryError
        return stock(engine, batch, *known)

    prefill, rows = local.prefill_shared, []

    def prefilled(bank, mixture, runs, prompts):
        rows.append(len(runs) * len(prompts.ids))
        if rows[-1] > 2:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"
            )
        return prefill(bank, mixture, runs, prompts)

    monkeypatch.setattr(JointEngine, "base", base)
    monkeypatch.setattr(local, "prefill_shared", prefilled)
    said = []
    out = sa.generate(
        file, out=tmp_path / "short", progress=lambda what, _done, total: total or said.append(what)
    )
    short = read_json(out.execution)
    assert short["pack_tokens"] <= 500
    assert short["answers"] == 2
    events = short["out_of_memory"]
    assert {event["during"] for event in events[:-2]} == {"training"}
    assert events[-2:] == [
        {"during": "generation", "failed": 8, "answers": 4},  # 4 prompts under 2 runs
        {"during": "generation", "failed": 4, "answers": 2},
    ]
    assert len(said) == len(events)
    assert said[0] == (
        f"Memory ran out during training with {events[0]['failed']:,} tokens in a pack. From here on there are at most "
        f"{events[0]['pack_tokens']:,}."
    )
    # the same log-probabilities and answers, and a study that goes on tries nothing larger
    ours, wanted = (list(read_jsonl(folder.logprobs)) for folder in (out, plain))
    assert [row["chosen"] for row in ours] == pytest.approx([row["chosen"] for row in wanted], abs=1e-3)
    ours, wanted = (list(read_jsonl(folder.responses)) for folder in (out, plain))
    assert [row["response"] for row in ours] == [row["response"] for row in wanted]
    tried.clear(), rows.clear()
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid", "global"])))
    sa.generate(file, out=tmp_path / "short")
    assert max(tried) <= 500
    assert max(rows) <= 2


def test_recomputation_can_be_asked_for_when_a_study_has_begun(recipe, tmp_path):
    file, out = tmp_path / "recipe.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid"])))
    sa.train(file, out=out)
    assert not sa.plan(file, out=out).execution.checkpointing
    changed = sa.plan(file, ["training.checkpointing=true"], out).execution
    assert (changed.checkpointing, changed.pack_tokens) == (True, None)  # memory is planned anew
