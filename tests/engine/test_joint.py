"""The joint engine against the stock forward and backward of the same model."""

import pytest
import torch

from stratalign.engine import JointEngine, collate
from stratalign.models import AdapterBank, AdapterSpec, find_anatomy, list_sites
from stratalign.preferences import Branch, Tree
from tiny_models import random_model

TREES = [
    Tree("r1", "c1", (5, 6, 7), (Branch((8, 9, 0), 0), Branch((10, 0), 0))),
    Tree("r2", "c2", (11, 12), (Branch((13, 14, 15, 16, 0), 2), Branch((13, 17, 0), 1))),
]


def setup(kind="llama", dtype=torch.float64, **options):
    torch.manual_seed(0)
    model = random_model(kind, 6, 101).to(dtype).eval().requires_grad_(False)
    bank = AdapterBank(model)
    sites = [site for site in list_sites(model) if site.kind.endswith(("q_proj", "v_proj"))]
    firsts = {"base": 6}
    bank.attach(AdapterSpec("base", (), 4, 8))
    for run, layers in {"full": range(6), "mid": (2, 3), "global": (4, 5)}.items():
        modules = tuple(site.name for site in sites if site.layer in layers)
        bank.attach(AdapterSpec(run, modules, 4, 8, seed=1))
        firsts[run] = min(layers)
        for p in bank.parameters(run).values():
            p.data.normal_(std=0.2, generator=torch.Generator().manual_seed(len(firsts)))
    return model, bank, JointEngine(find_anatomy(model), bank, firsts, **options)


def stock_log_probabilities(model, tree):
    """One branch at a time, unpadded, from the model's own forward pass."""
    sums = []
    for branch in tree.branches:
        ids = [*tree.prefix, *branch.ids]
        first = len(tree.prefix) + branch.first_label
        logp = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
        sums.append(sum(logp[i - 1, ids[i]] for i in range(first, len(ids))))
    return torch.stack(sums)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_log_probabilities_and_gradients_equal_the_stock_models(kind, checkpointing):
    model, bank, engine = setup(kind, checkpointing=checkpointing)
    batch = collate(TREES, torch.device("cpu"))
    passed = engine.base(batch)
    for run in ("full", "mid", "global"):
        with engine.active(run):
            ours = engine.forward(batch, run, passed)
            ours.square().sum().backward()
            got = {name: p.grad.clone() for name, p in bank.parameters(run).items()}
            for p in bank.parameters(run).values():
                p.grad = None
            stock = torch.stack([stock_log_probabilities(model, tree) for tree in TREES])
            stock.square().sum().backward()
        # norms and eager softmax cast to float32 inside the models, so 1e-5 is rounding even here
        assert torch.allclose(ours, stock, rtol=1e-5)
        for name, p in bank.parameters(run).items():
            assert torch.allclose(got[name], p.grad, rtol=1e-4, atol=1e-5 * p.grad.abs().max().item()), name
            p.grad = None


def test_the_reference_is_the_base_and_a_run_without_modules_too():
    model, _, engine = setup()
    batch = collate(TREES, torch.device("cpu"))
    passed = engine.base(batch)
    with torch.no_grad():
        stock = torch.stack([stock_log_probabilities(model, tree) for tree in TREES])
    assert torch.allclose(passed.reference, stock, rtol=1e-5)
    with engine.active("base"):
        assert torch.equal(engine.forward(batch, "base", passed), passed.reference)


def test_only_labelled_tokens_count_and_padding_changes_nothing():
    _, _, engine = setup()
    together = engine.base(collate(TREES, torch.device("cpu"))).reference
    alone = torch.cat([engine.base(collate([tree], torch.device("cpu"))).reference for tree in TREES])
    assert torch.allclose(together, alone, rtol=1e-6)
    batch = collate(TREES, torch.device("cpu"))
    # r1: labels 8 9 0 and 10 0 after three prefix tokens; r2: 15 16 0 from index 2 on, 17 0 from index 1 on
    assert batch.labels.tolist() == [8, 9, 0, 10, 0, 15, 16, 0, 17, 0]
    assert batch.positions.tolist() == [2, 3, 4, 2, 3, 3, 4, 5, 2, 3]


def test_the_backward_pass_stops_at_the_lowest_trained_layer():
    model, _, engine = setup()
    batch = collate(TREES, torch.device("cpu"))
    passed = engine.base(batch)
    reached = []

    def watch(number):
        def hook(_module, _args, output):
            if output.requires_grad:
                output.register_hook(lambda _grad: reached.append(number))

        return hook

    for number, layer in enumerate(model.model.layers):
        layer.register_forward_hook(watch(number))
    with engine.active("global"):
        engine.forward(batch, "global", passed).sum().backward()
    assert sorted(set(reached)) == [4, 5]
