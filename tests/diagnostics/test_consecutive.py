"""Gate steps at consecutive states of an adapter: their difference, and the norms that bound it."""

import numpy as np
import pytest
import torch

from models.whole_models import set_up
from stratalign.diagnostics import gate_slopes, gate_steps
from stratalign.diagnostics.consecutive import GateStep, describe_gate_step
from stratalign.losses import Objective, preference_loss
from stratalign.models import tapped
from stratalign.pipeline.stage_one import windows
from training.joint_setups import make_trees

DPO = Objective(beta=0.5)
GATE = 0.9


def states_of(engine, moves):
    """The run's tensors, moved at random by each of the lengths in turn."""
    torch.manual_seed(1)
    states = [engine.bank.tensors("r")]
    for length in moves:
        states.append({name: t + length * torch.randn_like(t) for name, t in states[-1].items()})
    return [{name: t.clone() for name, t in state.items()} for state in states]


def test_every_norm_and_slope_is_that_of_whole_matrices():
    model, sites, engine = set_up("llama", lambda name: True)
    names, trees = [site.name for site in sites], make_trees(4)
    states = states_of(engine, [0.01, 0.02])
    found = gate_steps(engine, "r", sites, states, trees, DPO, GATE)
    gates = torch.full((len(names),), GATE, dtype=torch.float64)
    slopes, gradients, updates = [], [], []
    for state in states:
        engine.bank.fill("r", state)
        slopes.append(gate_slopes(engine, "r", names, gates, trees, DPO).numpy())
        updates.append([model.get_submodule(name).get_delta_weight("run:r").detach() for name in names])
        own = {}
        batch = engine.collate(trees)
        passed = engine.base(batch)
        passed.captured.hidden[0].requires_grad_()
        with (
            tapped(model, names, lambda n, x, s, own=own: own.__setitem__(n, s.t() @ x)),
            engine.active("r", frozenset()),
            engine.bank.gated("r", dict.fromkeys(names, GATE)),
        ):
            policy = engine.forward(batch, "r", passed)
            preference_loss(policy, passed.reference, batch.lengths(), DPO).loss.mean().backward()
        gradients.append([own[name] for name in names])

    def norms(one, other=None):
        return [float((a if other is None else a - b).norm()) for a, b in zip(one, other or one, strict=True)]

    for t, pair in enumerate(found):
        assert np.allclose(pair.before, slopes[t], rtol=1e-8)
        assert np.allclose(pair.after, slopes[t + 1], rtol=1e-8)
        assert np.allclose(pair.gradient, norms(gradients[t]), rtol=1e-6)
        assert np.allclose(pair.gradient_change, norms(gradients[t + 1], gradients[t]), rtol=1e-5)
        assert np.allclose(pair.update, norms(updates[t + 1]), rtol=1e-6)
        assert np.allclose(pair.update_change, norms(updates[t + 1], updates[t]), rtol=1e-5)
        assert (pair.differences <= pair.bounds).all()
    assert found[1].update_change.sum() > 1.5 * found[0].update_change.sum()  # moved twice as far


def test_a_state_that_does_not_move_has_no_difference():
    _, sites, engine = set_up("llama", lambda name: True)
    (pair,) = gate_steps(engine, "r", sites, states_of(engine, [0.0]), make_trees(3), DPO, GATE)
    assert pair.differences.max() == 0
    assert pair.bounds.max() < 1e-6 * (pair.gradient * pair.update).max()


def test_a_pair_described_by_hand():
    """Two modules. Differences 1 and 0; bounds 2 x 3 + 1 x 1 = 7 and 0 x 4 + 2 x 0 = 0."""
    one = np.array
    pair = GateStep(
        one([3.0, 4.0]), one([2.0, 4.0]), one([1.0, 2.0]), one([2.0, 0.0]), one([3.0, 4.0]), one([1.0, 0.0])
    )
    said = describe_gate_step(pair, ["a", "b"], 0.5)
    assert (said["slopes"], said["difference"], said["relative"]) == (5.0, 1.0, 0.2)
    assert (said["bounds"], said["within_bound"]) == ({"a": 7.0, "b": 0.0}, 2)
    assert said["update_change"] == 0.2  # 1 of 5
    assert said["smoothness"] == pytest.approx(4.0)  # gradients moved by 2, effective weights by half of 1


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (75, [range(8, 12), range(38, 42), range(68, 72)]),
        (6, [range(1, 5), range(3, 7)]),
        (2, [range(1, 3)]),
        (1, []),
    ],
)
def test_windows_are_consecutive_steps_within_the_training(total, expected):
    assert windows(total) == expected
