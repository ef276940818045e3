"""Fused layers against the stock ones: hidden states, gradients, and which models get them."""

import pytest
import torch
from torch import nn

from stratalign.engine import JointEngine
from stratalign.models import AdapterBank, AdapterSpec, can_stop, check_packing, find_anatomy, list_sites
from stratalign.models import fused as module
from stratalign.models.fused import TYPES, _RMSNorm, _Rotation, rms_norm
from stratalign.models.packing import fuses
from stratalign.preferences import Branch, Tree
from tiny_models import random_model

TREES = [
    Tree("r1", "c", tuple(range(1, 15)), (Branch(tuple(range(20, 29)), 0), Branch(tuple(range(30, 42)), 0))),
    Tree("r2", "c", (50, 51, 52), (Branch((53,), 0), Branch((54, 55, 0), 0))),
    Tree("r3", "c", (11, 12), (Branch((13, 14, 15, 16, 0), 2), Branch((13, 17, 0), 1))),
]
RUNS = {"full": range(4), "mid": (1, 2), "top": (3,)}


def engines(kind, **options):
    torch.manual_seed(0)
    model = random_model(kind, 4, 101).double().eval().requires_grad_(False)
    anatomy = find_anatomy(model)
    anatomy = anatomy._replace(packs=bool(check_packing(model, anatomy)), stops=can_stop(model, anatomy))
    assert fuses(model, anatomy)
    bank = AdapterBank(model)
    sites = [site for site in list_sites(model) if site.kind.startswith(("self_attn", "mlp"))]
    for run, layers in RUNS.items():
        bank.attach(AdapterSpec(run, tuple(s.name for s in sites if s.layer in layers), 4, 8, seed=1))
        for p in bank.parameters(run).values():
            p.data.normal_(std=0.1, generator=torch.Generator().manual_seed(7))
    firsts = {run: min(layers) for run, layers in RUNS.items()} | {"base": 4}
    bank.attach(AdapterSpec("base", (), 4, 8))
    return [JointEngine(anatomy._replace(fused=on), bank, firsts, **options) for on in (True, False)]


def results(engine):
    batch = engine.collate(TREES)
    passed = engine.base(batch)
    found = {"reference": passed.reference, "base logits": engine.base_logits(batch, passed)}
    for run in RUNS:
        parameters = engine.bank.parameters(run)
        with engine.active(run):
            engine.forward(batch, run, passed).sigmoid().sum().backward()
            found |= {f"{run} {name}": p.grad.clone() for name, p in parameters.items()}
            found[run] = engine.logits(batch, run, passed)
        for p in parameters.values():
            p.grad = None
    found["base"] = engine.forward(batch, "base", passed)
    known = engine.base(batch, passed.reference)
    with engine.active("top"):
        found["top, reference known"] = engine.forward(batch, "top", known)
    return {name: tensor.detach() for name, tensor in found.items()}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_fused_layers_give_the_stock_numbers_and_gradients(kind, checkpointing):
    ours, stock = (results(engine) for engine in engines(kind, checkpointing=checkpointing))
    for name, wanted in stock.items():
        # the stock norms and rotations are float32 inside
        assert (ours[name] - wanted).abs().max() <= 2e-6 * max(1.0, wanted.abs().max()), name


def test_both_autograd_steps_are_right_by_finite_differences():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.rand(6, dtype=torch.float64, generator=generator)
    angles = torch.rand(2, 3, 3, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: _RMSNorm.apply(x, weight, 1e-3), [x])
    assert torch.autograd.gradcheck(lambda x: _Rotation.apply(x, angles.cos(), angles.sin()), [x])
    norm = nn.RMSNorm(6, eps=1e-3, dtype=torch.float64)
    norm.weight.data, norm.variance_epsilon = weight, 1e-3
    assert torch.allclose(rms_norm(x, norm), norm(x))


def test_the_last_layer_computes_its_mlp_for_labels_only():
    engine, _ = engines("llama")
    seen = []
    engine.anatomy.layers[3].mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    engine.first_layers.pop("base")
    batch = engine.collate(TREES)
    engine.base(batch)
    assert seen == [len(batch.labels)]
    assert len(batch.labels) < batch.ids.shape[1]


@pytest.mark.parametrize("kind", ["gemma2", "phi3", "gpt2", "olmo2", "qwen3_moe"])
def test_other_families_keep_their_stock_layers(kind):
    model = random_model(kind, 4, 101).eval()
    anatomy = find_anatomy(model)._replace(packs=True, stops=True)
    assert not fuses(model, anatomy)


def test_a_layer_that_differs_from_what_is_written_here_stays_stock(monkeypatch):
    torch.manual_seed(0)
    model = random_model("llama", 4, 101).eval()
    anatomy = find_anatomy(model)._replace(packs=True, stops=True)
    assert fuses(model, anatomy)
    assert not fuses(model.bfloat16(), anatomy)
    model = model.float()
    monkeypatch.setattr(module, "_rotate", lambda x, cos, sin: x)
    assert not fuses(model, anatomy)


@pytest.mark.parametrize("step", ["_RMSNorm", "_Rotation"])
def test_a_layer_whose_gradient_differs_stays_stock(monkeypatch, step):
    torch.manual_seed(0)
    model = random_model("llama", 4, 101).eval()
    anatomy = find_anatomy(model)._replace(packs=True, stops=True)
    rest = {"_RMSNorm": 2, "_Rotation": 2}[step]
    monkeypatch.setattr(
        getattr(module, step), "backward", staticmethod(lambda _ctx, grad: (grad, *[None] * rest))
    )
    assert not fuses(model, anatomy)
