"""Stored reference log-probabilities: the same training, less work, and never a stale one."""

from dataclasses import replace

import pytest
import torch
from joint_setups import SETTINGS, make_runs, make_trees, set_up

from stratalign.preferences import Branch, Tree
from stratalign.training import compute_references, plan_steps, reference_key, stored_references, train

BASE = {"base": {"model.safetensors": "00"}}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATALIGN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


def count_layers(model):
    calls = []
    for number, layer in enumerate(model.model.layers):
        layer.self_attn.register_forward_pre_hook(lambda *_, n=number: calls.append(n))
    return calls


def test_values_are_those_of_the_base_pass_in_the_order_of_the_trees():
    _, _, engine = set_up(make_runs({"mid": None}))
    trees = make_trees(13)
    engine.pack_tokens = 30
    found = compute_references(engine, trees)
    assert found.dtype == torch.float64
    for tree, own in zip(trees, found, strict=True):
        alone = engine.base(engine.collate([tree])).reference[0]
        assert torch.allclose(own, alone, rtol=1e-6)


def test_what_is_stored_is_read_and_not_computed_again(own_cache):
    model, _, engine = set_up(make_runs({"mid": None}))
    trees = make_trees(5)
    first = stored_references(engine, trees, BASE)
    calls = count_layers(model)
    assert torch.equal(stored_references(engine, trees, BASE), first)
    assert calls == []
    (file,) = own_cache.iterdir()
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(stored_references(engine, trees, BASE), first)  # a damaged file is made anew
    assert calls


def test_the_key_changes_with_everything_that_the_values_depend_on_and_with_nothing_else():
    tree = Tree("r", "c", (1, 2), (Branch((3, 4, 5), 0), Branch((6, 5), 0)))
    key = reference_key([tree], BASE)
    assert key == reference_key([replace(tree, row_id="other", cluster="other")], BASE)
    changed = [
        reference_key([replace(tree, prefix=(1, 9))], BASE),
        reference_key([replace(tree, branches=tree.branches[::-1])], BASE),
        reference_key([replace(tree, branches=(Branch((3, 4, 5), 1), tree.branches[1]))], BASE),
        reference_key([tree, tree], BASE),
        reference_key([tree], {"base": {"model.safetensors": "01"}}),
    ]
    assert len({key, *changed}) == 6


def trained(tmp_path, name, stored):
    runs = make_runs({"full": None, "mid": None})
    model, bank, engine = set_up(runs)
    trees = make_trees()
    reference = compute_references(engine, trees) if stored else None
    calls = count_layers(model)
    options = {"log": tmp_path / f"{name}.jsonl", "checkpoint": tmp_path / f"{name}.checkpoint"}
    train(engine, runs, trees, plan_steps(len(trees), SETTINGS, 0), reference=reference, **options)
    return {run.id: bank.tensors(run.id) for run in runs}, calls


def test_training_with_stored_references_is_the_same_and_skips_the_layers_above_the_highest_run(tmp_path):
    passed, all_calls = trained(tmp_path, "pass", stored=False)
    stored, fewer_calls = trained(tmp_path, "stored", stored=True)
    for run, tensors in passed.items():
        for name, tensor in tensors.items():
            assert torch.allclose(stored[run][name], tensor, rtol=0, atol=1e-5)
    # 4 steps; the base pass ends where mid begins (layer 2 of 6): four layers fewer in each
    assert len(all_calls) == 4 * (6 + 6 + 4)
    assert len(fewer_calls) == 4 * (2 + 6 + 4)
