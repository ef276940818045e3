"""Losses by hand and against TRL's formula."""

import math

import pytest
import torch

from stratalign.losses import LOSSES, preference_loss, swap_labels


def test_dpo_is_minus_log_sigmoid_of_beta_times_the_margin():
    # log-ratios: chosen -3 - (-5) = 2, rejected -7 - (-4) = -3; margin 5; beta 0.1; -log sigmoid(0.5)
    policy, reference = torch.tensor([[-3.0, -7.0]]), torch.tensor([[-5.0, -4.0]])
    found = preference_loss(policy, reference, beta=0.1)
    assert found.loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)), abs=1e-7)
    assert found.reward_chosen.item() == pytest.approx(0.2)
    assert found.reward_rejected.item() == pytest.approx(-0.3)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_starts_at_its_value_for_no_difference_and_prefers_chosen(loss):
    start = preference_loss(torch.zeros(1, 2), torch.zeros(1, 2), 0.1, loss).loss
    better = preference_loss(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2), 0.1, loss).loss
    assert start.shape == (1,)
    assert better.item() < start.item()


def test_the_gradient_raises_chosen_and_lowers_rejected_by_the_same_amount():
    policy = torch.tensor([[-3.0, -7.0]], requires_grad=True)
    preference_loss(policy, torch.tensor([[-3.0, -7.0]]), beta=0.1).loss.sum().backward()
    # d/dm of -log sigmoid(beta m) at m = 0 is -beta / 2
    assert policy.grad.tolist() == [[pytest.approx(-0.05), pytest.approx(0.05)]]


def test_swapped_labels_exchange_only_the_marked_pairs():
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert swap_labels(values, torch.tensor([True, False])).tolist() == [[2.0, 1.0], [3.0, 4.0]]
