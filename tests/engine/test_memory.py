"""The plan of passes: from measured bytes and free memory to tokens and recomputation."""

import pytest
import torch

from stratalign.engine import memory, plan_memory
from stratalign.engine.memory import activation_bytes, decide
from stratalign.models import find_anatomy
from tiny_models import random_model

ROOM = 1 / memory.USED


def plan(free, kept=1000, recomputed=100, longest=500, device="cpu", checkpointing=None):
    return decide(kept, recomputed, int(free * ROOM) + 1, longest, device, checkpointing)


def test_with_memory_to_spare_whole_passes_and_no_recomputation():
    assert plan(10**9)[:2] == (2048, False)
    assert plan(10**9, device="cuda")[:2] == (16384, False)


def test_with_less_memory_first_smaller_passes_then_recomputation():
    assert plan(1_500_000)[:2] == (1500, False)
    assert plan(900_000)[:2] == (2048, True)  # 900 tokens are too few to be worth it
    assert plan(150_000)[:2] == (1500, True)


def test_the_longest_tree_always_fits_and_what_the_user_asks_for_stays():
    assert plan(10**9, longest=5000)[:2] == (5000, False)
    assert plan(10, longest=700)[:2] == (700, True)
    assert plan(10, checkpointing=False)[:2] == (500, False)
    assert plan(10**9, checkpointing=True)[:2] == (2048, True)


def test_bytes_are_those_that_a_backward_pass_needs():
    """Twice the layers keep twice the bytes; parameters, which are there anyway, do not count."""
    kept = []
    for layers in (2, 4):
        torch.manual_seed(0)
        model = random_model("llama", layers, 101).eval().requires_grad_(False)
        own, entry = activation_bytes(find_anatomy(model))
        kept.append(own)
        width = model.config.hidden_size
        assert entry == 4 * width
        # a layer keeps several tensors of its width and of its MLP's, and not dozens of them
        assert 5 * 4 * width * layers < own < 60 * 4 * width * layers
    assert kept[1] == pytest.approx(2 * kept[0], rel=0.02)


def test_a_plan_of_a_loaded_model_knows_its_memory():
    model = random_model("gemma2", 2, 101).eval().requires_grad_(False)
    found = plan_memory(find_anatomy(model), [30, 70], None)
    assert (found.pack_tokens, found.checkpointing) == (2048, False)
    assert found.free_bytes > 10**8
