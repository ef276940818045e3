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
