"""Log-probabilities of labels in chunks, against all logits at once."""

import pytest
import torch
from torch import nn

from stratalign.engine import labels as module
from stratalign.engine.labels import label_log_probabilities


def whole(to_logits, hidden, labels):
    return to_logits(hidden).log_softmax(-1).gather(1, labels[:, None])[:, 0]


@pytest.mark.parametrize("chunk", [1, 40, 10**9])
def test_values_and_gradients_equal_those_from_all_logits_at_once(chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    torch.manual_seed(0)
    head = nn.Linear(5, 13).double().requires_grad_(False)

    def to_logits(states):
        return torch.tanh(head(nn.functional.rms_norm(states, (5,))) / 3) * 3

    labels = torch.randint(13, (11,))
    weights = torch.randn(11, dtype=torch.float64)
    results = []
    for function in (whole, lambda *args: label_log_probabilities(*args, 13)):
        hidden = torch.randn(11, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        hidden.requires_grad_()
        found = function(to_logits, hidden, labels)
        (found * weights).exp().sum().backward()
        results.append((found.detach(), hidden.grad))
    for ours, stock in zip(results[1], results[0], strict=True):
        assert torch.allclose(ours, stock, rtol=1e-12, atol=1e-12)


def test_no_more_logits_than_a_chunk_are_made_at_a_time(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 40)
    seen = []

    def to_logits(states):
        seen.append(len(states))
        return states @ torch.ones(5, 13)

    found = label_log_probabilities(to_logits, torch.zeros(7, 5), torch.zeros(7, dtype=torch.int64), 13)
    assert seen == [3, 3, 1]
    assert not found.requires_grad


def test_half_precision_logits_are_summed_in_float32():
    hidden = torch.randn(4, 5).bfloat16().requires_grad_()
    found = label_log_probabilities(lambda h: h @ torch.ones(5, 9).bfloat16(), hidden, torch.arange(4), 9)
    found.sum().backward()
    assert (found.dtype, hidden.grad.dtype) == (torch.float32, torch.bfloat16)


def test_no_label_gives_no_number():
    none = label_log_probabilities(lambda h: h, torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), 5)
    assert none.shape == (0,)
