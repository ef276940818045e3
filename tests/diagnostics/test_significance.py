"""Scores of modules: their gradient, what they leave alone, and what a hard mask of them does."""

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from models.whole_models import KINDS, set_up
from stratalign.diagnostics.gates import gate_slopes, gated_losses
from stratalign.diagnostics.significance import (
    Scores,
    SignificanceSettings,
    compare_important,
    learn_scores,
    measure_significance,
    minibatches,
)
from stratalign.errors import UserError
from stratalign.losses import Objective, preference_loss
from stratalign.models import tapped, weights_digest
from training.joint_setups import make_trees

DPO = Objective(beta=0.5)
SETTINGS = SignificanceSettings(steps=4, batch=3)


def adapted(kind="llama"):
    """A float64 model with a trained-looking adapter on every linear module, its engine, sites and module names."""
    model, sites, engine = set_up(kind, lambda name: True)
    return model, sites, engine, [site.name for site in sites]


def updates(model, names):
    return {name: model.get_submodule(name).get_delta_weight("run:r") for name in names}


@pytest.mark.parametrize("kind", KINDS)
def test_a_gates_slope_is_the_product_of_gradient_and_update(kind):
    """By taps: dL/dW of the effective weight at these gates, times the update, against autograd through the gate."""
    model, _, engine, names = adapted(kind)
    trees = make_trees(4)
    gates = torch.linspace(0.1, 0.9, len(names), dtype=torch.float64)
    found = gate_slopes(engine, "r", names, gates, trees, DPO)
    gradients = {}

    def receive(name, inputs, slopes):
        gradients[name] = slopes.t() @ inputs

    batch = engine.collate(trees)
    passed = engine.base(batch)
    passed.captured.hidden[0].requires_grad_()
    own = dict(zip(names, gates.tolist(), strict=True))
    with tapped(model, names, receive), engine.active("r", frozenset()), engine.bank.gated("r", own):
        policy = engine.forward(batch, "r", passed)
        preference_loss(policy, passed.reference, batch.lengths(), DPO).loss.mean().backward()
    with torch.no_grad():
        deltas = updates(model, names)
        for i, name in enumerate(names):
            delta = deltas[name].t() if kind == "gpt2" else deltas[name]
            expected = (gradients[name] * delta).sum().item()
            assert found[i].item() == pytest.approx(expected, rel=1e-6, abs=1e-9), name


def test_the_first_score_gradient_is_the_derivative_of_the_sigmoid_times_that_slope():
    _, _, engine, names = adapted()
    trees = make_trees(6)
    learned = learn_scores(engine, "r", names, trees, DPO, SETTINGS)
    gate = 1 / (1 + np.exp(-4.0))
    (first, *_) = minibatches(trees, 3, 4, SETTINGS.seed)
    gates = torch.full((len(names),), gate, dtype=torch.float64)
    slopes = gate_slopes(engine, "r", names, gates, first, DPO).numpy()
    assert np.allclose(learned.gradients[0], gate * (1 - gate) * slopes, rtol=1e-10)


def test_scores_are_gradient_descent_and_nothing_else_moves():
    model, _, engine, names = adapted()
    before, scaling = (
        weights_digest(model),
        {name: dict(model.get_submodule(name).scaling) for name in names},
    )
    learned = learn_scores(engine, "r", names, make_trees(6), DPO, SETTINGS)
    assert np.allclose(learned.values, 4.0 - learned.rate * learned.gradients.sum(axis=0), rtol=1e-12)
    # the automatic rate: 4 steps like the steepest of the first would end at a half open gate
    assert learned.rate * 4 * np.abs(learned.gradients[0]).max() == pytest.approx(4.0)
    assert weights_digest(model) == before
    assert {name: dict(model.get_submodule(name).scaling) for name in names} == scaling
    assert all(p.grad is None for p in model.parameters())


def test_the_digest_sees_a_single_bit():
    model, _, _, names = adapted()
    before = weights_digest(model)
    weight = model.get_submodule(names[0]).get_base_layer().weight
    weight.data[0, 0] = torch.nextafter(weight.data[0, 0], torch.tensor(9.0, dtype=torch.float64))
    assert weights_digest(model) != before


@pytest.mark.parametrize("kind", KINDS)
def test_masked_merging_equals_the_gated_forward(kind):
    _model, _, engine, names = adapted(kind)
    trees = make_trees(4)
    gates = {name: float(i % 3 == 0) for i, name in enumerate(names)}
    gates[names[1]] = 0.25
    masks = {"gated": gates, "whole": {}, "off": dict.fromkeys(names, 0.0)}
    found = gated_losses(engine, "r", masks, trees, DPO)
    assert np.allclose(found["off"], np.log(2), atol=1e-6)  # the base against itself
    assert not np.allclose(found["gated"], found["whole"], atol=1e-3)
    merged, _, plain = set_up(kind)
    with torch.no_grad():
        for name in names:
            module = engine.model.get_submodule(name)
            assert isinstance(module, LoraLayer)
            merged.get_submodule(name).weight += gates[name] * module.get_delta_weight("run:r")
        batch = engine.collate(trees)
        reference = engine.base(batch).reference
        policy = plain.base(plain.collate(trees)).reference
        expected = preference_loss(policy, reference, batch.lengths(), DPO).loss
    assert np.allclose(found["gated"], expected, atol=1e-6)


def test_an_adapter_that_does_nothing_is_refused():
    _, _, engine, names = adapted()
    for tensor, p in engine.bank.parameters("r").items():
        if "lora_B" in tensor:
            p.data.zero_()
    with pytest.raises(UserError, match="was the adapter trained"):
        learn_scores(engine, "r", names, make_trees(6), DPO, SETTINGS)


def test_a_module_that_is_planted_as_important_has_the_highest_score():
    """All updates but one are noise of a thousandth; that one is trained-like by a step against its own gradient."""
    model, _, engine, names = adapted()
    trees = make_trees(12)
    for p in engine.bank.parameters("r").values():
        p.data.mul_(0.03)
    planted = names[len(names) // 2]
    gradient = {}

    def receive(name, inputs, slopes):
        gradient[name] = slopes.t() @ inputs

    batch = engine.collate(trees)
    passed = engine.base(batch)
    passed.captured.hidden[0].requires_grad_()
    with tapped(model, [planted], receive), engine.active("r", frozenset()):
        policy = engine.forward(batch, "r", passed)
        preference_loss(policy, passed.reference, batch.lengths(), DPO).loss.mean().backward()
    left, values, right = torch.linalg.svd(-gradient[planted])
    own = engine.bank.parameters("r")
    own[f"{planted}.lora_B.weight"].data.copy_(0.05 * left[:, :3] * values[:3] / values[0])
    own[f"{planted}.lora_A.weight"].data.copy_(right[:3])
    learned = learn_scores(engine, "r", names, trees, DPO, SignificanceSettings(steps=8, batch=6))
    assert names[int(np.argmax(learned.values))] == planted


def test_the_record_has_every_number_and_no_one_elses_name():
    _, sites, engine, names = adapted()
    trees = make_trees(8)
    blocks = {"low": range(2), "high": range(2, 4)}
    record = measure_significance(engine, "r", sites, blocks, trees, trees[:4], DPO, SETTINGS)
    assert len(record["important"]) == 21  # 75 % of 28
    assert sorted(record["important"] + record["insignificant"]) == sorted(names)
    rows = {row["module"]: row for row in record["modules"]}
    assert sorted(row["rank"] for row in rows.values()) == list(range(1, 29))
    assert all(row["standard_error"] > 0 for row in rows.values())
    heat = record["heatmap"]
    assert (len(heat["values"]), len(heat["kinds"])) == (4, 7)
    assert heat["values"][2][0] == rows[names[14]]["score"]
    mean = record["losses"]["mean"]
    assert mean["base"] == pytest.approx(np.log(2), abs=1e-6)
    assert set(record["losses"]["without_block"]) == {"low", "high"}
    assert record["stability"]["chance"] == pytest.approx(0.6)  # p / (2 - p) at 75 %


def test_standard_errors_and_halves_by_hand():
    """Two modules, four steps of rate 2 from 1: gradients (1, 0), (3, 0), (1, 1), (3, 1)."""
    gradients = np.array([[1.0, 0.0], [3.0, 0.0], [1.0, 1.0], [3.0, 1.0]])
    learned = Scores(np.array([-15.0, -3.0]), gradients, 1.0, 2.0)
    # standard deviations over n - 1: sqrt(4 / 3) and sqrt(1 / 3); times 2 x sqrt(4)
    assert np.allclose(learned.standard_errors(), [4 * np.sqrt(4 / 3), 4 * np.sqrt(1 / 3)])
    first, second = learned.halves()
    assert np.allclose(first, [1 - 8 * 1, 1 - 8 * 0.5])
    assert np.allclose(second, [1 - 8 * 3, 1 - 8 * 0.5])


def test_rankings_of_different_modules_are_not_compared():
    with pytest.raises(UserError, match="not about the same modules"):
        compare_important({"a": 1.0}, {"b": 1.0}, 0.75)
    same = compare_important(
        {"a": 1.0, "b": 2.0, "c": 0.0, "d": 5.0}, {"a": 1.0, "b": 2.0, "c": 0.0, "d": 5.0}, 0.5
    )
    assert (same["jaccard"], same["kappa"], same["rank_correlation"]) == (1.0, 1.0, pytest.approx(1.0))
    assert same["chance"] == pytest.approx(1 / 3)  # 0.5 / 1.5


def test_every_row_comes_once_before_any_comes_again():
    trees = make_trees(6)
    seen = [tree.row_id for batch in minibatches(trees, 3, 4, seed=0) for tree in batch]
    assert sorted(seen[:6]) == sorted(seen[6:]) == sorted(tree.row_id for tree in trees)
    assert seen[:6] != seen[6:]
