"""A linear layer with LoRA as one autograd step, in PEFT's own layer class.

PEFT computes `base(x) + B(A(x)) * scale` as separate operations, so autograd keeps and walks through tensors as wide
as the layer for each of them. Here the update is accumulated into the base's output, and the backward pass into the
gradient of the input. The numbers are the same up to the order of sums. Under a base in half precision A and B are
used in that precision, as under autocast in TRL, and stay float32 themselves.

A scale that takes a gradient, as a gate on the update does, gets it from the same narrow products.

Everything that is not plain LoRA on a plain linear layer (a base in 4 bits, dropout, variants, merged or several active
adapters) goes to PEFT's own forward, which runs the base layer as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


class LoraLinear(Linear):  # type: ignore[misc]
    """PEFT's LoRA layer on `torch.nn.Linear`, with one autograd step where that is exact."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """[..., in_features] to [..., out_features]."""
        name = self._plain_adapter() if not args and not kwargs else None
        if name is None:
            stock: Tensor = super().forward(x, *args, **kwargs)
            return stock
        base: Any = self.base_layer
        a, b = self.lora_A[name].weight, self.lora_B[name].weight
        apply: Any = _Lora.apply  # untyped in torch
        out: Tensor = apply(x, base.weight, base.bias, a, b, self.scaling[name])
        return out

    def _plain_adapter(self) -> str | None:
        """The one active adapter here, if the layer is plain LoRA that the autograd step covers."""
        here = [name for name in self.active_adapters if name in self.lora_A]
        if self.disable_adapters or self.merged or len(here) != 1 or type(self.base_layer) is not nn.Linear:
            return None
        (name,) = here
        drop = self.lora_dropout[name]
        plain = isinstance(drop, nn.Identity) or not drop.training
        return name if plain and name not in self.lora_variant else None


class _Lora(torch.autograd.Function):
    """x W^T + bias + scale x A^T B^T; W is frozen. `scale` may be a tensor of one number."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: Tensor | float,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low_a, low_b = a.to(x.dtype), b.to(x.dtype)
        inner = rows @ low_a.t()
        out = nn.functional.linear(rows, weight, bias)
        out.addmm_(inner, low_b.t(), alpha=float(scale))
        ctx.save_for_backward(rows, weight, low_a, low_b, inner)
        ctx.scale, ctx.dtype, ctx.shape = float(scale), a.dtype, x.shape  # type: ignore[attr-defined]
        ctx.scale_device = getattr(scale, "device", None)  # type: ignore[attr-defined]
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, inner = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])
        through = grad @ b
        grad_scale = None
        if ctx.needs_input_grad[5]:  # <grad, x A^T B^T>, without the wide product
            wide = torch.promote_types(through.dtype, torch.float32)
            grad_scale = torch.vdot(through.to(wide).flatten(), inner.to(wide).flatten()).to(ctx.scale_device)
        through.mul_(ctx.scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(through, a).view(ctx.shape)
        grad_a = (through.t() @ rows).to(ctx.dtype) if ctx.needs_input_grad[3] else None
        grad_b = (grad.t() @ inner).mul_(ctx.scale).to(ctx.dtype) if ctx.needs_input_grad[4] else None
        return grad_x, None, None, grad_a, grad_b, grad_scale
