"""A run that is trained anew: nothing of the adapter before it stays."""

import json
import shutil

import pytest
import yaml

import stratalign as sa
from stratalign.pipeline.stages import training
from stratalign.records import read_jsonl


def rows(file, run):
    return [row for row in read_jsonl(file) if row["run"] == run]


def test_a_replaced_adapter_takes_its_proof_records_and_answers_with_it(recipe, tmp_path, monkeypatch):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid", "global"])))
    folder = sa.generate(file, out=tmp_path / "out")
    kept = rows(folder.responses, "global")
    manifest = json.loads(folder.manifest.read_text())
    manifest["runs"]["mid"]["trained"]["adapter_sha256"] = "0" * 64  # as if it had come out otherwise
    folder.manifest.write_text(json.dumps(manifest))
    shutil.rmtree(folder.adapters / "mid")

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "_record", stopped)
        with pytest.raises(KeyboardInterrupt):
            sa.train(file, out=folder.path)
    assert "proof" not in json.loads(folder.manifest.read_text())["runs"]["mid"]
    assert rows(folder.logprobs, "mid") == rows(folder.responses, "mid") == []
    assert rows(folder.responses, "global") == kept
    sa.generate(file, out=folder.path)
    assert json.loads(folder.manifest.read_text())["runs"]["mid"]["proof"]["proven"]
    assert len(rows(folder.logprobs, "mid")) == len(rows(folder.responses, "mid")) == 8
    before = folder.responses.read_bytes()
    shutil.rmtree(folder.adapters / "mid")
    sa.train(file, out=folder.path)  # the same adapter comes out: its answers stay
    assert folder.responses.read_bytes() == before


def test_a_study_that_trains_nothing_yet_keeps_no_memory_plan(recipe, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(conditions=["base"])))
    folder = sa.train(file, out=tmp_path / "out")
    assert json.loads(folder.execution.read_text())["pack_tokens"] is None
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid"])))
    sa.train(file, out=folder.path)
    planned = folder.execution.read_text()
    assert json.loads(planned)["pack_tokens"] is not None
    sa.train(file, ["training.checkpointing=true"], folder.path)  # nothing trains: the plan stays
    assert folder.execution.read_text() == planned


def test_stored_references_go_by_the_packs_that_computed_them(recipe, tmp_path, monkeypatch):
    """Memory runs out in the first pass: the second one's references have the key of the halved packs."""
    monkeypatch.setenv("STRATALIGN_CACHE", str(tmp_path / "cache"))
    keys, stock = [], training.stored_references

    def halving(engine, trees, circumstances, progress):
        keys.append((circumstances["arithmetic"]["pack_tokens"], engine.pack_tokens))
        found = stock(engine, trees, circumstances, progress)
        if len(keys) == 1:
            engine.halve(trees, "training.max_length")
        return found

    monkeypatch.setattr(training, "stored_references", halving)
    file = tmp_path / "recipe.yaml"
    varied = {"conditions": ["base", "mid"], "seeds": [0, 1], "seeds_vary": ["order"]}
    file.write_text(yaml.safe_dump(recipe(**varied)))
    said = []
    sa.train(file, ["training.reference=stored"], tmp_path / "out", lambda what, *_: said.append(what))
    (first, used), (second, then) = keys
    assert first == used
    assert second == then != first
    assert {what.partition(":")[0] for what in said if "pass" in what} == {
        "training, pass 1 of 2",
        "training, pass 2 of 2",
    }
