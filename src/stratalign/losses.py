"""Preference losses: log-probabilities in, per-pair losses out. Pure tensor maths; knows no model and no batch.

All log-probabilities are natural logarithms summed over a response's tokens (nats). A log-ratio is
log pi(y|x) - log pi_ref(y|x), and the margin is the log-ratio of chosen minus that of rejected. Policy values carry
gradient, reference values do not. To add a loss, write one function of `Responses` and `Objective`, and enter it in
`LOSSES` with the settings that it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """A loss by its name in `LOSSES`, and the settings of all losses, of which it reads some.

    Args:
        loss: a name in `LOSSES`.
        beta: how strongly a difference in log-probability counts: 1/nats, or tokens/nats where a loss takes means
            over tokens.
        label_smoothing: the share of pairs whose labels are taken to be exchanged, in [0, 0.5).
        simpo_gamma: the margin that SimPO asks for, in units of its reward.
        nll: weight of the chosen response's negative log-likelihood per token, added to a preference loss.
    """

    loss: str = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    simpo_gamma: float = 0.5
    nll: float = 0.0


class Responses(NamedTuple):
    """What a loss sees: each tensor is [pairs, 2], chosen then rejected, or [demonstrations, 1] for `sft`."""

    policy: Tensor
    reference: Tensor
    tokens: Tensor

    def log_ratios(self) -> Tensor:
        return self.policy - self.reference

    def log_probabilities_per_token(self) -> Tensor:
        return self.policy / self.tokens


class PairLoss(NamedTuple):
    """Per-pair results, each of shape [pairs]; rewards are detached. Demonstrations have nothing rejected."""

    loss: Tensor
    reward_chosen: Tensor
    reward_rejected: Tensor | None


def sigmoid(given: Responses, objective: Objective) -> Tensor:
    """DPO: -log sigmoid(beta x margin); conservative DPO where label_smoothing is above 0.

    Rafailov et al. 2023 (arXiv 2305.18290v3), equation 7. With label smoothing e, the cross-entropy with a label that
    is right with probability 1 - e (Mitchell 2023, "A note on DPO with noisy preferences").
    """
    right, exchanged = _both_ways(given, objective)
    return (1 - objective.label_smoothing) * right + objective.label_smoothing * exchanged


def robust(given: Responses, objective: Objective) -> Tensor:
    """Robust DPO: an unbiased estimate of DPO's loss where a share label_smoothing of the labels is exchanged.

    Chowdhury, Kini and Natarajan 2024 (arXiv 2403.00409). It may be negative.
    """
    right, exchanged = _both_ways(given, objective)
    noise = objective.label_smoothing
    return ((1 - noise) * right - noise * exchanged) / (1 - 2 * noise)


def ipo(given: Responses, objective: Objective) -> Tensor:
    """IPO: the squared distance of the margin per token from 1 / (2 beta).

    Azar et al. 2023 (arXiv 2310.12036), equation 17, whose tau is beta. Log-ratios are means over a response's tokens
    (nats per token), as TRL takes them; the equation itself has sums.
    """
    chosen, rejected = (given.log_ratios() / given.tokens).unbind(dim=1)
    return (chosen - rejected - 1 / (2 * objective.beta)).square()


def hinge(given: Responses, objective: Objective) -> Tensor:
    """Hinge: max(0, 1 - beta x margin), without gradient once the margin is wide enough.

    Zhao et al. 2023 (SLiC-HF, arXiv 2305.10425), on log-ratios as in Liu et al. 2023 (RSO, arXiv 2309.06657).
    """
    return torch.relu(1 - objective.beta * _margins(given))


def apo_zero(given: Responses, objective: Objective) -> Tensor:
    """APO-zero: raises chosen and lowers rejected; for chosen responses better than the model's own.

    D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 7.
    """
    chosen, rejected = (objective.beta * given.log_ratios()).unbind(dim=1)
    return torch.sigmoid(-chosen) + torch.sigmoid(rejected)


def apo_down(given: Responses, objective: Objective) -> Tensor:
    """APO-down: lowers chosen, and rejected further; for chosen responses worse than the model's own.

    D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 8.
    """
    chosen, rejected = (objective.beta * given.log_ratios()).unbind(dim=1)
    return torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)


def sigmoid_norm(given: Responses, objective: Objective) -> Tensor:
    """Length-normalised DPO: DPO on log-ratios per token.

    Lambert et al. 2024 (Tulu 3, arXiv 2411.15124). beta is in tokens/nats, so useful values are larger than DPO's.
    """
    chosen, rejected = (given.log_ratios() / given.tokens).unbind(dim=1)
    return -F.logsigmoid(objective.beta * (chosen - rejected))


def simpo(given: Responses, objective: Objective) -> Tensor:
    """SimPO: -log sigmoid(beta x difference in log-probability per token - simpo_gamma); has no reference.

    Meng et al. 2024 (arXiv 2405.14734), equation 6. beta is in tokens/nats; the paper's lie between 2 and 10.
    """
    chosen, rejected = given.log_probabilities_per_token().unbind(dim=1)
    return -F.logsigmoid(objective.beta * (chosen - rejected) - objective.simpo_gamma)


def sft(given: Responses, objective: Objective) -> Tensor:
    """Supervised fine-tuning: negative log-likelihood per token of the chosen response, or of a demonstration.

    In nats per token, a mean over each response's own tokens, so that every response weighs the same whatever batch it
    is in. TRL's `sft` is a mean over all chosen tokens of a micro-batch; the two are equal at a batch size of 1.
    """
    del objective
    return -given.log_probabilities_per_token()[:, 0]


def _margins(given: Responses) -> Tensor:
    chosen, rejected = given.log_ratios().unbind(dim=1)
    return chosen - rejected


def _both_ways(given: Responses, objective: Objective) -> tuple[Tensor, Tensor]:
    """DPO's loss with the labels as they are, and exchanged."""
    scaled = objective.beta * _margins(given)
    return -F.logsigmoid(scaled), -F.logsigmoid(-scaled)


class Loss(NamedTuple):
    """A loss, the settings of `Objective` that it reads, what its reward is over beta, and whether it needs pairs."""

    value: Callable[[Responses, Objective], Tensor]
    reads: frozenset[str]
    reward: Callable[[Responses], Tensor] = Responses.log_ratios
    needs_pairs: bool = True


_PLAIN = frozenset({"beta", "nll"})
_NOISY = _PLAIN | {"label_smoothing"}

LOSSES: dict[str, Loss] = {
    "sigmoid": Loss(sigmoid, _NOISY),
    "robust": Loss(robust, _NOISY),
    "ipo": Loss(ipo, _PLAIN),
    "hinge": Loss(hinge, _PLAIN),
    "apo_zero": Loss(apo_zero, _PLAIN),
    "apo_down": Loss(apo_down, _PLAIN),
    "sigmoid_norm": Loss(sigmoid_norm, _PLAIN),
    "simpo": Loss(simpo, _PLAIN | {"simpo_gamma"}, Responses.log_probabilities_per_token),
    "sft": Loss(sft, frozenset(), needs_pairs=False),
}


def preference_loss(policy: Tensor, reference: Tensor, tokens: Tensor, objective: Objective) -> PairLoss:
    """Loss and rewards of pairs, or of demonstrations.

    Args:
        policy: [pairs, 2] log-probabilities of (chosen, rejected) under the trained model, with gradient; for `sft`
            [demonstrations, 1] will do.
        reference: the same under the reference model, without gradient.
        tokens: the same shape, the number of tokens that each log-probability is a sum over, at least 1.
        objective: the loss and its settings.

    Returns:
        loss [pairs], with nll x negative log-likelihood per token of chosen added (Pang et al. 2024, arXiv 2404.19733,
        there with weight alpha). Rewards [pairs] each, detached: beta x log-ratio (Rafailov et al. 2023, section 4), in
        nats summed over tokens, for every loss but SimPO, also where the loss itself takes means over tokens or, as
        `sft`, no reference. SimPO's is beta x log pi / tokens (Meng et al. 2024, equation 4): it contains no reference,
        so it does not start at 0.
    """
    given = Responses(policy, reference, tokens)
    chosen_loss = LOSSES[objective.loss]
    loss = chosen_loss.value(given, objective)
    if objective.nll:
        loss = loss + objective.nll * sft(given, objective)
    rewards = objective.beta * chosen_loss.reward(given).detach()
    return PairLoss(loss, rewards[:, 0], rewards[:, 1] if rewards.shape[1] > 1 else None)


def swap_labels(values: Tensor, swapped: Tensor) -> Tensor:
    """Exchange chosen and rejected of the pairs where `swapped` [pairs] is true; [pairs, 2] in and out."""
    return torch.where(swapped[:, None], values.flip(1), values)
