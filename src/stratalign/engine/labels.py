"""Log-probabilities of labels without ever holding all their logits.

Only the hidden state at a label decides its log-probability, so the derivative by that state can be taken at once,
chunk by chunk, and the logits of a chunk are gone before the next one comes: a batch of 2,700 labels over 128,000
words would otherwise keep 1.4 GB of logits and as much again for their gradients. No recomputation is needed either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

CHUNK = 2**24
"""Logits held at a time (64 MiB in float32)."""

ToLogits = Callable[[Tensor], Tensor]


def label_log_probabilities(to_logits: ToLogits, hidden: Tensor, labels: Tensor, vocabulary: int) -> Tensor:
    """Log-probabilities of labels, [labels] in nats, float32 or the logits' wider type; differentiable by `hidden`.

    Args:
        to_logits: [n, width] to [n, vocabulary], each row by itself; its own parameters are frozen.
        hidden: last hidden states at the positions that predict the labels, [labels, width].
        labels: [labels] int64.
    """
    size = max(1, CHUNK // vocabulary)
    apply: Any = _LabelLogProbabilities.apply  # untyped in torch
    out: Tensor = apply(hidden, labels, to_logits, size)
    return out


class _LabelLogProbabilities(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, hidden: Tensor, labels: Tensor, to_logits: ToLogits, size: int) -> Tensor:
        wanted = hidden.requires_grad
        found: list[Tensor] = []
        slopes: list[Tensor] = []
        for states, targets in zip(
            torch.split(hidden.detach(), size), torch.split(labels, size), strict=True
        ):
            with torch.set_grad_enabled(wanted):
                states = states.requires_grad_(wanted)
                logits = to_logits(states.view_as(states))  # counters of operations cannot watch a leaf
                wide = torch.promote_types(logits.dtype, torch.float32)
                chosen = logits.to(wide).log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
                if wanted:
                    slopes += torch.autograd.grad(chosen.sum(), states)
            found.append(chosen.detach())
        ctx.save_for_backward(*slopes)
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        slopes = torch.cat(ctx.saved_tensors)
        return grad[:, None].to(slopes.dtype) * slopes, None, None, None
