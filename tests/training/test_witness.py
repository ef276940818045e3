"""Planted mistakes that the witness must catch while training."""

import pytest
import torch
from joint_setups import SETTINGS, make_runs, make_trees, set_up, train_jointly

from stratalign.errors import StudyFailure
from stratalign.training import plan_steps, train
from stratalign.training.runs import RunTrainer


def go(engine, runs, folder):
    trees = make_trees()
    steps = plan_steps(len(trees), SETTINGS, seed=1)
    return train(engine, runs, trees, steps, log=folder / "log.jsonl", checkpoint=folder / "c")


def test_a_sound_training_sees_a_gradient_on_every_tensor(tmp_path):
    runs = make_runs({"full": None, "mid": None})
    _, trained, _ = train_jointly(runs, tmp_path)
    assert [trained.witness.unseen(run.id) for run in runs] == [[], []]
    assert len(trained.witness.seen["mid"]) == 2 * 4 * 2  # 2 layers, 4 modules, A and B


def test_an_unfrozen_norm_is_caught(tmp_path):
    runs = make_runs({"mid": None})
    model, _, engine = set_up(runs)
    model.model.layers[3].input_layernorm.weight.requires_grad_(True)
    with pytest.raises(
        StudyFailure, match=r"model\.layers\.3\.input_layernorm\.weight, which this run does not train"
    ):
        go(engine, runs, tmp_path)


def test_a_gradient_that_reaches_another_run_is_caught(tmp_path, monkeypatch):
    runs = make_runs({"full": None, "mid": None})
    _, bank, engine = set_up(runs)
    stock = engine.forward

    def leaking(batch, run, passed):
        found = stock(batch, run, passed)
        if run == "mid":
            other = bank.parameters("full")["model.layers.0.self_attn.q_proj.lora_B.weight"]
            other.requires_grad_(True)
            found = found + 0 * other.sum()
        return found

    monkeypatch.setattr(engine, "forward", leaking)
    with pytest.raises(StudyFailure, match=r"Run 'mid': .*lora_B.*received a gradient"):
        go(engine, runs, tmp_path)


def test_a_gradient_taken_after_switching_adapters_is_caught(tmp_path, monkeypatch):
    """With checkpointing, the recomputation must use the run's own adapter (peft#2832)."""
    runs = make_runs({"full": None, "other": {"block": "full"}})
    _, bank, engine = set_up(runs, checkpointing=True)
    stock = torch.autograd.backward

    def switched(loss, *args, **kwargs):
        bank.deactivate()
        with bank.active("other"):
            return stock(loss, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "backward", switched)
    with pytest.raises(StudyFailure, match="backward pass of run 'full' recomputes its layers while 'other'"):
        go(engine, runs, tmp_path)


def test_an_optimizer_that_steps_anothers_tensors_is_caught(tmp_path, monkeypatch):
    runs = make_runs({"full": None, "mid": None})
    _, bank, engine = set_up(runs)
    stock = RunTrainer.step

    def stepping_others(self):
        stock(self)
        if self.run.id == "mid":
            with torch.no_grad():
                bank.parameters("full")["model.layers.0.self_attn.q_proj.lora_B.weight"].add_(1e-3)

    monkeypatch.setattr(RunTrainer, "step", stepping_others)
    with pytest.raises(StudyFailure, match=r"Run 'mid': .*was changed by the optimizer step"):
        go(engine, runs, tmp_path)
