"""The divergence from the base in both layouts and in many batches; by hand it is in test_local.py."""

import pytest
import torch

from stratalign.engine import JointEngine
from stratalign.generation import divergence, divergence_from_base
from stratalign.models import AdapterBank, AdapterSpec, find_anatomy
from stratalign.preferences import Branch, Tree
from tiny_models import random_model


def measure(dtype, packed, answers):
    torch.manual_seed(0)
    model = random_model("llama", 4, 101).to(dtype).eval().requires_grad_(False)
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("mid", ("model.layers.2.self_attn.v_proj",), 4, 8))
    for p in bank.parameters("mid").values():
        p.data.copy_(torch.randn(p.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    engine = JointEngine(find_anatomy(model)._replace(packs=packed), bank, {"mid": 2})
    return divergence_from_base(engine, "mid", answers)


def answers(count=20):
    lengths = [(7 * i) % 23 + 1 for i in range(count)]
    return [
        Tree(f"a{i}", "c", tuple(range(1, 3 + i % 5)), (Branch(tuple(range(20, 20 + length)), 0),))
        for i, length in enumerate(lengths)
    ]


def test_it_is_the_same_in_both_layouts_in_float32_and_in_small_batches(monkeypatch):
    asked = answers()
    wanted = [measure(torch.float64, False, [tree])[0] for tree in asked]  # one answer at a time
    assert max(wanted) > 1
    assert measure(torch.float64, True, asked) == pytest.approx(wanted, rel=1e-6)
    assert measure(torch.float64, False, asked) == pytest.approx(wanted, rel=1e-6)
    assert measure(torch.float32, True, asked) == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    monkeypatch.setattr(divergence, "BATCH_TOKENS", 40)
    assert measure(torch.float32, True, asked) == pytest.approx(wanted, rel=1e-5, abs=1e-5)
