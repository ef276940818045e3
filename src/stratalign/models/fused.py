"""A decoder layer of the Llama and Qwen kind in fewer passes over memory, for packed rows.

The linear modules, adapters included, and attention are the same as in the stock layer. Norms and rotary embeddings
are one autograd step each, in place of half a dozen operations that each read and write a tensor as wide as the
layer; and the last layer's output projection and MLP run only where a label is predicted, because nothing else is
read. `fuses` compares a layer with the stock one when a model is loaded; what it does not find equal stays stock.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from stratalign.models.tree_attention import TreeMask, tree_attention

TYPES = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose layer is written here: norm, attention, residual, norm, MLP, residual; rotation by halves."""


def may_fuse(layer: nn.Module, model_type: str) -> bool:
    """Whether a layer has the parts that `run_fused` takes, in a precision in which its norms do not cast."""
    parts: Any = layer
    try:
        norms = [parts.input_layernorm, parts.post_attention_layernorm]
        norms += [norm for norm in (_head_norm(parts, "q_norm"), _head_norm(parts, "k_norm")) if norm]
        exact = all(norm.weight.dtype in (torch.float32, torch.float64) for norm in norms)
        plain = all(type(norm).__name__.endswith("RMSNorm") and norm.variance_epsilon > 0 for norm in norms)
        attention = parts.self_attn
        return (
            model_type in TYPES
            and exact
            and plain
            and all(hasattr(attention, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj", "scaling"))
            and isinstance(parts.mlp, nn.Module)
        )
    except AttributeError:
        return False


def run_fused(
    layer: nn.Module,
    hidden: Tensor,
    *,
    attention_mask: TreeMask,
    position_embeddings: tuple[Tensor, Tensor],
    keep: Tensor | None = None,
    **_unused: Any,
) -> Tensor:
    """What the layer makes of a packed row's hidden states [1, tokens, width].

    Args:
        keep: columns whose output is wanted [labels]; the result is [1, labels, width] then.
    """
    parts: Any = layer
    attention = parts.self_attn
    x = rms_norm(hidden, parts.input_layernorm)
    heads = (*x.shape[:-1], -1, attention.head_dim)
    query, key, value = (getattr(attention, name)(x).view(heads) for name in ("q_proj", "k_proj", "v_proj"))
    q_norm, k_norm = _head_norm(parts, "q_norm"), _head_norm(parts, "k_norm")
    query = rms_norm(query, q_norm) if q_norm else query
    key = rms_norm(key, k_norm) if k_norm else key
    cos, sin = (half[:, None, :, : attention.head_dim // 2] for half in position_embeddings)
    rotate: Any = _Rotation.apply
    query, key = rotate(query.transpose(1, 2), cos, sin), rotate(key.transpose(1, 2), cos, sin)
    mixed, _ = tree_attention(
        attention, query, key, value.transpose(1, 2), attention_mask, scaling=attention.scaling
    )
    mixed = mixed.reshape(*hidden.shape[:-1], -1)
    if keep is not None:
        hidden, mixed = hidden[:, keep], mixed[:, keep]
    hidden = hidden + attention.o_proj(mixed)
    found: Tensor = hidden + parts.mlp(rms_norm(hidden, parts.post_attention_layernorm))
    return found


def rms_norm(x: Tensor, norm: nn.Module) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last dimension; the weight is frozen."""
    apply: Any = _RMSNorm.apply
    found: Tensor = apply(x, norm.weight, norm.variance_epsilon)
    return found


def _head_norm(layer: Any, name: str) -> nn.Module | None:
    found: nn.Module | None = getattr(layer.self_attn, name, None)
    return found


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        out: Tensor = (x * inverse).mul_(weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        grad = grad * weight
        along = torch.linalg.vecdot(grad, x).unsqueeze(-1).mul_(inverse.square()).div_(-x.shape[-1])
        return grad.addcmul_(x, along).mul_(inverse), None, None


class _Rotation(torch.autograd.Function):
    """Rotary embedding by halves (a, b) -> (a cos - b sin, b cos + a sin); its gradient is the rotation back."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    out = torch.empty_like(x)
    torch.mul(first, cos, out=out[..., :half]).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=out[..., half:]).addcmul_(first, sin)
    return out
