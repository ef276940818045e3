"""Preference losses: log-probabilities in, per-pair losses out. Pure tensor maths; knows no model and no batch.

All log-probabilities are natural logarithms summed over a response's tokens (nats), one number per pair.
Policy values carry gradient, reference values do not. To add a loss, write one function of the four
log-probabilities and beta, and add it to `LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class PairLoss(NamedTuple):
    """Per-pair results, each of shape [pairs]; rewards are detached."""

    loss: Tensor
    reward_chosen: Tensor
    reward_rejected: Tensor


def sigmoid(log_ratio_chosen: Tensor, log_ratio_rejected: Tensor, beta: float) -> Tensor:
    """DPO: -log sigmoid(beta (log-ratio of chosen - log-ratio of rejected)), shape [pairs].

    Rafailov et al. 2023 (arXiv 2305.18290v3), equation 7; a log-ratio is log pi(y|x) - log pi_ref(y|x).
    """
    return -F.logsigmoid(beta * (log_ratio_chosen - log_ratio_rejected))


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"sigmoid": sigmoid}


def preference_loss(policy: Tensor, reference: Tensor, beta: float, loss: str = "sigmoid") -> PairLoss:
    """Loss and implicit rewards of pairs.

    Args:
        policy: [pairs, 2] log-probabilities of (chosen, rejected) under the trained model, with gradient.
        reference: [pairs, 2] the same under the reference model, without gradient.
        beta: strength of the implicit KL constraint, 1/nats.
        loss: a name in `LOSSES`.

    Returns:
        loss [pairs]; rewards beta x log-ratio (Rafailov et al. 2023, section 4), [pairs] each, detached.
    """
    log_ratios = policy - reference
    chosen, rejected = log_ratios.unbind(dim=1)
    rewards = beta * log_ratios.detach()
    return PairLoss(LOSSES[loss](chosen, rejected, beta), rewards[:, 0], rewards[:, 1])


def swap_labels(log_probabilities: Tensor, swapped: Tensor) -> Tensor:
    """Exchange chosen and rejected of the pairs where `swapped` [pairs] is true; [pairs, 2] in and out."""
    return torch.where(swapped[:, None], log_probabilities.flip(1), log_probabilities)
