"""Every family of the table: packed rows give what single sequences give, log-probabilities and gradients."""

import pytest
import torch
import transformers
from packaging.version import Version

from stratalign.blocks import FAMILIES
from stratalign.engine import JointEngine, collate
from stratalign.models import AdapterBank, AdapterSpec, find_anatomy, list_sites
from stratalign.preferences import Branch, Tree
from tiny_models import random_model, windowed_model

CPU = torch.device("cpu")
RUNS = {"full": (0, 1, 2, 3), "mid": (1, 2)}
PAIRS = [
    Tree("long", "c", tuple(range(1, 11)), (Branch(tuple(range(20, 28)), 0), Branch((30, 31, 32, 33), 0))),
    Tree("short", "c", (50, 51), (Branch((53,), 0), Branch((54, 55, 0), 0))),
    Tree("middling", "c", (60, 61, 62), (Branch((63, 64, 65, 66, 0), 1), Branch((63, 67, 68, 0), 0))),
]


@pytest.fixture
def exact(monkeypatch):
    """A function that lifts the casts to float32 inside the models, once they are built."""
    if Version(transformers.__version__) < Version("5.23"):
        pytest.skip("older rotary embeddings keep frequencies in float32")

    def lift():
        monkeypatch.setattr(torch, "float32", torch.float64)
        monkeypatch.setattr(torch, "float", torch.float64)
        monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)

    return lift


def setup(kind):
    torch.manual_seed(0)
    model = windowed_model(kind) if FAMILIES[kind].windows else random_model(kind, 4, 101)
    model = model.double().eval().requires_grad_(False)
    if FAMILIES[kind].experts:
        model.set_experts_implementation("eager")  # the default knows no float64
    bank = AdapterBank(model)
    sites = [site for site in list_sites(model) if site.attention]
    for run, layers in RUNS.items():
        modules = tuple(site.name for site in sites if site.layer in layers)
        bank.attach(AdapterSpec(run, modules, 2, 4, seed=1))
        for p in bank.parameters(run).values():
            p.data.normal_(std=0.2, generator=torch.Generator().manual_seed(7))
    packs = FAMILIES[kind].rows == "packed"
    return JointEngine(
        find_anatomy(model)._replace(packs=packs), bank, {run: layers[0] for run, layers in RUNS.items()}
    )


def by_the_model(engine):
    """Log-probabilities [pairs, 2] from the stock forward, one sequence at a time."""
    rows = []
    for tree in PAIRS:
        for branch in tree.branches:
            ids = torch.tensor([[*tree.prefix, *branch.ids]])
            first = len(tree.prefix) + branch.first_label
            logits = engine.model(input_ids=ids, use_cache=False).logits[0, first - 1 : -1]
            rows.append(logits.log_softmax(-1).gather(1, ids[0, first:, None]).sum())
    return torch.stack(rows).reshape(-1, 2)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_batch_gives_every_run_the_log_probabilities_and_gradients_of_single_sequences(kind, exact):
    engine = setup(kind)
    exact()
    batch = collate(PAIRS, CPU, packed=FAMILIES[kind].rows == "packed")
    passed = engine.base(batch)
    for run in RUNS:
        found = []
        for ours in (True, False):
            with engine.active(run):
                values = engine.forward(batch, run, passed) if ours else by_the_model(engine)
                (values * torch.tensor([1.0, -0.7], dtype=torch.float64)).sigmoid().sum().backward()
            parameters = engine.bank.parameters(run)
            found.append((values.detach(), {name: p.grad.clone() for name, p in parameters.items()}))
            for p in parameters.values():
                p.grad = None
        (values, gradients), (wanted, references) = found
        assert (values - wanted).abs().max() <= 1e-9
        for name, wanted_gradient in references.items():
            assert (gradients[name] - wanted_gradient).abs().max() <= 1e-8 * wanted_gradient.abs().max()
