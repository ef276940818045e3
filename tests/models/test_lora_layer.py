"""LoRA as one autograd step against PEFT's own forward and autograd."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from torch import nn

from stratalign.models import AdapterBank, AdapterSpec, hushed
from stratalign.models.lora import LoraLinear, _Lora
from tiny_models import random_model


def layer(bias=True, dtype=torch.float64, dropout=0.0, adapters=("one",)):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5, bias=bias).to(dtype)).requires_grad_(False)
    config = LoraConfig(r=3, lora_alpha=12, lora_dropout=dropout, target_modules=["0"])
    config._register_custom_module({nn.Linear: LoraLinear})
    for name in adapters:
        with hushed():
            inject_adapter_in_model(config, model, adapter_name=name)
    found = model[0]
    assert isinstance(found, LoraLinear)
    for name in adapters:
        for part in (found.lora_A[name], found.lora_B[name]):
            part.to(torch.float64 if dtype == torch.float64 else torch.float32)
            part.weight.data.normal_()
    return found


def outcome(found, forward, x):
    """Output and the gradients of x, A and B for a loss that is not linear."""
    x = x.clone().requires_grad_()
    out = forward(found, x)
    out.float().square().sum().backward() if x.dtype == torch.bfloat16 else out.square().sum().backward()
    gradients = [x.grad, *(p.grad.clone() for p in (found.lora_A["one"].weight, found.lora_B["one"].weight))]
    found.zero_grad()
    return [out.detach(), *gradients]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 6), (2, 7, 6), (6,)])
def test_output_and_gradients_are_pefts(bias, shape):
    found = layer(bias)
    x = torch.randn(shape, dtype=torch.float64)
    for ours, stock in zip(
        outcome(found, LoraLinear.forward, x), outcome(found, Linear.forward, x), strict=True
    ):
        assert ours.shape == stock.shape
        assert torch.allclose(ours, stock, rtol=1e-12, atol=1e-12)


def test_the_autograd_step_is_right_by_finite_differences():
    found = layer()
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)

    a, b = found.lora_A["one"].weight, found.lora_B["one"].weight
    assert torch.autograd.gradcheck(
        lambda x, a, b: _Lora.apply(x, found.base_layer.weight, None, a, b, 0.7), [x, a, b]
    )
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, scale: _Lora.apply(x, found.base_layer.weight, None, a, b, scale), [x, scale]
    )


def test_a_scale_that_takes_a_gradient_gets_pefts(monkeypatch):
    found = layer()
    x = torch.randn(2, 7, 6, dtype=torch.float64)
    slopes = []
    for forward in (LoraLinear.forward, Linear.forward):
        gate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        with monkeypatch.context() as patched:
            patched.setitem(found.scaling, "one", 4.0 * gate)
            forward(found, x).square().sum().backward()
        slopes.append(gate.grad)
    assert torch.allclose(*slopes, rtol=1e-12, atol=0)


def test_under_a_half_precision_base_adapters_and_their_gradients_stay_float32():
    found = layer(dtype=torch.bfloat16)
    x = torch.randn(50, 6).bfloat16()
    ours, stock = outcome(found, LoraLinear.forward, x), outcome(found, Linear.forward, x)
    assert [part.dtype for part in ours] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for one, other in zip(ours, stock, strict=True):
        assert (one.float() - other.float()).norm() < 0.02 * other.float().norm()


def test_what_the_step_does_not_cover_goes_to_peft(monkeypatch):
    x = torch.randn(3, 6, dtype=torch.float64)
    asked = []
    stock = Linear.forward
    monkeypatch.setattr(
        Linear, "forward", lambda self, x, *a, **k: asked.append(1) or stock(self, x, *a, **k)
    )

    def goes_to_peft(found):
        asked.clear()
        found(x)
        return bool(asked)

    assert not goes_to_peft(layer())
    off = layer()
    off.enable_adapters(False)
    assert goes_to_peft(off)
    both = layer(adapters=("one", "two"))
    both.set_adapter(["one", "two"])
    assert goes_to_peft(both)
    merged = layer()
    merged.merge()
    assert goes_to_peft(merged)
    dropping = layer(dropout=0.5)
    assert goes_to_peft(dropping.train())
    assert not goes_to_peft(dropping.eval())


def test_the_bank_attaches_these_layers_and_saves_no_trace_of_them(tmp_path):
    model = random_model("llama", 2, 101).requires_grad_(False)
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("a", ("model.layers.0.self_attn.q_proj",), 2, 4))
    assert type(model.model.layers[0].self_attn.q_proj) is LoraLinear
    bank.save("a", tmp_path / "a", "base", None, {})
    assert "custom" not in (tmp_path / "a" / "adapter_config.json").read_text()
