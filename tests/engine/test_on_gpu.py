"""What only a GPU shows: the block-sparse kernel, half precision and memory. Run with `make test-gpu`."""

import pytest
import torch

from stratalign.engine import JointEngine, collate, plan_memory
from stratalign.models import AdapterBank, AdapterSpec, can_stop, check_packing, find_anatomy, list_sites
from stratalign.preferences import Branch, Tree
from tiny_models import random_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")


def trees(count=12):
    draw = torch.Generator().manual_seed(0)

    def ids(most):
        size = int(torch.randint(1, most, (1,), generator=draw))
        return tuple(torch.randint(1, 101, (size,), generator=draw).tolist())

    return [
        Tree(str(i), "c", ids(60), (Branch((*ids(40), 0), 0), Branch((*ids(40), 0), 0))) for i in range(count)
    ]


def engine_of(kind, dtype, **options):
    torch.manual_seed(0)
    model = random_model(kind, 4, 101).to(GPU, dtype).eval().requires_grad_(False)
    anatomy = find_anatomy(model)
    kernel = check_packing(model, anatomy)
    bank = AdapterBank(model)
    sites = [s for s in list_sites(model) if s.kind.endswith(("q_proj", "v_proj"))]
    bank.attach(AdapterSpec("mid", tuple(s.name for s in sites if s.layer in (1, 2)), 4, 8, seed=1))
    for p in bank.parameters("mid").values():
        p.data.normal_(std=0.1, generator=torch.Generator(device=GPU).manual_seed(7))
    anatomy = anatomy._replace(packs=kernel is not None, kernel=kernel or "segments")
    return JointEngine(anatomy._replace(stops=can_stop(model, anatomy)), bank, {"mid": 1}, **options)


def outcome(engine, packed):
    batch = collate(trees(), GPU, packed=packed)
    passed = engine.base(batch)
    with engine.active("mid"):
        policy = engine.forward(batch, "mid", passed)
        (policy - passed.reference).tanh().sum().backward()
    gradients = torch.cat([p.grad.flatten() for p in engine.bank.parameters("mid").values()])
    for p in engine.bank.parameters("mid").values():
        p.grad = None
    return policy.detach(), gradients


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral", "gemma2"])
def test_the_block_sparse_kernel_is_chosen_and_equals_padded_rows(kind):
    engine = engine_of(kind, torch.float32)
    assert engine.anatomy.kernel == "flex"
    (ours, gradient), (wanted, reference) = outcome(engine, True), outcome(engine, False)
    assert torch.allclose(ours, wanted, rtol=1e-4, atol=1e-3)
    assert (gradient - reference).norm() <= 1e-3 * reference.norm()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_half_precision_stays_near_float32(checkpointing):
    (exact, reference), (rough, gradient) = (
        outcome(engine_of("llama", dtype, checkpointing=checkpointing), True)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert (rough - exact).abs().max() <= 0.03 * exact.abs().max()
    assert torch.nn.functional.cosine_similarity(gradient, reference, dim=0) > 0.98


def test_memory_is_planned_from_what_the_device_has():
    engine = engine_of("llama", torch.bfloat16)
    plan = plan_memory(engine, trees(), None)
    assert plan.pack_tokens == 16384
    assert not plan.checkpointing
