"""Which layout a study trains in, and where it says so."""

import json

import pytest
import yaml

import stratalign as sa
from stratalign.models import ModelSettings, load_model
from stratalign.pipeline import stages
from stratalign.records import read_jsonl


@pytest.mark.parametrize("stored", [None, "padded"])
def test_a_study_packs_where_the_model_allows_and_one_begun_with_padded_rows_goes_on_so(
    recipe, tmp_path, stored, monkeypatch
):
    file, out = tmp_path / "recipe.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(recipe(conditions=["base", "mid"])))
    planned = sa.plan(file, out=out)
    if stored is not None:
        stages.begin(planned)
        execution = json.loads((out / "execution.json").read_text())
        (out / "execution.json").write_text(json.dumps(execution | {"batches": stored}))
    layouts = set()
    stock = stages.JointEngine.collate

    def watched(engine, trees):
        batch = stock(engine, trees)
        layouts.add("padded" if batch.spans is None else "packed")
        return batch

    monkeypatch.setattr(stages.JointEngine, "collate", watched)
    sa.train(file, out=out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert layouts == {manifest["model"]["batches"]} == {stored or "packed"}
    assert all(run["proof"]["proven"] for run in manifest["runs"].values())
    assert len(list(read_jsonl(out / "logprobs.jsonl"))) == 2 * 8


def test_a_loaded_model_says_whether_it_packs(make_model):
    import torch

    settings = ModelSettings(base=str(make_model("qwen3")))
    loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
    assert loaded.packs
    assert not loaded.padded().packs
