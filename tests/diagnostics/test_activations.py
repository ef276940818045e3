"""Pooled states against what the stock model gives out, in every layout."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.whole_models import KINDS, set_up
from stratalign.diagnostics import draw_rows, pooled_states
from stratalign.diagnostics.activations import massive
from stratalign.preferences import Branch
from training.joint_setups import make_trees


def stock(model, sequence):
    """What enters every layer and what leaves the last one, before the final norm: [states, T, width]."""
    seen = []
    layers = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 4)
    handles = [
        layer.register_forward_pre_hook(
            lambda _m, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
            with_kwargs=True,
        )
        for layer in layers
    ]
    handles.append(
        layers[-1].register_forward_hook(
            lambda _m, _a, out: seen.append(out if torch.is_tensor(out) else out[0])
        )
    )
    with torch.no_grad():
        model(input_ids=torch.tensor([sequence]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack([one[0] for one in seen]).float().numpy()


@pytest.mark.parametrize(
    "kind",
    [
        "llama",
        "gpt2",
        *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k not in ("llama", "gpt2")),
    ],
)
def test_states_are_the_stock_ones_pooled(kind):
    model, _, engine = set_up(kind, lambda name: True)
    trees = make_trees(5)
    engine.pack_tokens = 30  # several batches
    for run in (None, "r"):
        found = pooled_states(engine, run, trees)
        assert found.prompt.shape == (5, 5, 32)
        assert found.left_out == 0
        for i, tree in enumerate(trees):
            for at, branch in enumerate(tree.branches):
                sequence = [*tree.prefix, *branch.ids]
                if run is None:
                    engine.bank.deactivate()
                    states = stock(model, sequence)
                else:
                    with engine.bank.active(run, frozenset()):
                        states = stock(model, sequence)
                start = len(tree.prefix)
                assert np.allclose(found.prompt[i], states[:, start - 1], atol=1e-4)
                own = states[:, start:-1]
                assert found.lengths[i, at] == len(branch.ids)
                assert np.allclose(found.responses[i, at], own.mean(axis=1), atol=1e-4)


def test_a_walk_gives_the_log_probabilities_of_the_pass_that_it_watches():
    _, _, engine = set_up("llama", lambda name: True)
    trees = make_trees(3)
    batch = engine.collate(trees)
    passed = engine.base(batch)
    seen = []
    assert torch.allclose(engine.walk(batch, passed, lambda at, _: seen.append(at)), passed.reference)
    assert seen == [0, 1, 2, 3, 4]
    with engine.active("r", frozenset()):
        expected = engine.forward(batch, "r", passed)
        assert torch.allclose(engine.walk(batch, passed, lambda *_: None), expected)
    assert not torch.allclose(expected, passed.reference)


def test_what_has_no_position_left_is_not_a_number():
    """A prompt of one token is the first of its sequence; a response of one token has nothing before its last."""
    _, _, engine = set_up("llama")
    first, second, *rest = make_trees(4)
    trees = [
        replace(first, prefix=(5,)),
        replace(second, branches=(Branch((0,), 0), second.branches[1])),
        *rest,
    ]
    found = pooled_states(engine, None, trees)
    assert np.isnan(found.prompt[0]).all()
    assert np.isnan(found.responses[1, 0]).all()
    assert np.isfinite(found.prompt[1:]).all()
    assert np.isfinite(found.responses[1, 1]).all()


def test_massive_activations_are_large_and_far_beyond_the_median():
    states = torch.ones(4, 8)
    states[1, 3] = 1001.0  # over 100, and over 1000 times the median, which is 1
    states[2, 3] = -1001.0
    states[3, 3] = 999.0
    assert massive(states).tolist() == [False, True, True, False]
    assert not massive(states / 100).any()  # 10 is not large


def test_positions_with_a_massive_activation_are_left_out_at_every_depth(monkeypatch):
    _, _, engine = set_up("llama")
    trees = make_trees(3)
    whole = pooled_states(engine, None, trees)
    calls = []

    def third_label_once(states):
        calls.append(len(states))
        marked = torch.zeros(len(states), dtype=torch.bool)
        marked[2] = len(calls) == 3  # at one depth alone
        return marked

    monkeypatch.setattr("stratalign.diagnostics.activations.massive", third_label_once)
    found = pooled_states(engine, None, trees)
    assert found.left_out == 1
    assert len(calls) == 10  # five states, twice
    moved = [not np.allclose(found.responses[0, 0, s], whole.responses[0, 0, s]) for s in range(5)]
    assert moved == [True] * 5
    assert np.allclose(found.responses[1:], whole.responses[1:])


def test_rows_are_drawn_from_as_many_clusters_as_there_are():
    trees = [replace(tree, cluster=f"c{i // 4}") for i, tree in enumerate(make_trees(16))]
    assert {tree.cluster for tree in draw_rows(trees, 4, seed=0)} == {"c0", "c1", "c2", "c3"}
    assert len(draw_rows(trees, 99, seed=0)) == 16
