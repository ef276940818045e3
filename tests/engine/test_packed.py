"""Packed rows against padded ones: the same log-probabilities and gradients, and the mistakes that would show."""

import pytest
import torch
import transformers
from packaging.version import Version

from stratalign.engine import JointEngine, collate
from stratalign.errors import StudyFailure
from stratalign.losses import LOSSES, Objective, preference_loss
from stratalign.models import AdapterBank, AdapterSpec, Spans, find_anatomy, list_sites, packing
from stratalign.preferences import Branch, Tree
from tiny_models import random_model

CPU = torch.device("cpu")
KINDS = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "gpt_neox", "gpt2"]
ATTENTION = ("q_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn")
RUNS = {"full": range(4), "low": (0, 1), "mid": (1, 2), "top": (3,), "ends": (0, 3), "upper": (2, 3)}

PAIRS = [
    Tree(
        "long", "c", tuple(range(1, 15)), (Branch(tuple(range(20, 29)), 0), Branch(tuple(range(30, 42)), 0))
    ),
    Tree("one token", "c", (50, 51, 52), (Branch((53,), 0), Branch((54, 55, 0), 0))),
    Tree("no prefix", "c", (), (Branch((60, 61, 62), 1), Branch((63, 64, 65, 0), 2))),
    Tree("unlabelled", "c", (11, 12), (Branch((13, 14, 15, 16, 0), 2), Branch((13, 17, 0), 1))),
    Tree("same start", "c", (70, 71), (Branch((72, 73, 0), 0), Branch((72, 74, 75, 0), 0))),
]
SINGLES = [Tree(tree.row_id, "c", tree.prefix, tree.branches[:1]) for tree in PAIRS]


@pytest.fixture
def exact(monkeypatch):
    """Lift the casts to float32 inside norms, rotary embeddings and softmax, so that 1e-9 can be asked for."""

    if Version(transformers.__version__) < Version("5.23"):
        pytest.skip(
            "older rotary embeddings keep frequencies in float32, which cannot be lifted from outside"
        )

    def lift():
        monkeypatch.setattr(torch, "float32", torch.float64)
        monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)

    return lift


def setup(kind, runs=RUNS, **options):
    torch.manual_seed(0)
    model = random_model(kind, 4, 101).double().eval().requires_grad_(False)
    if getattr(model.config, "sliding_window", None):
        model.config.sliding_window = 6  # shorter than the longest sequences
    bank = AdapterBank(model)
    sites = [site for site in list_sites(model) if site.kind.endswith(ATTENTION)]
    for run in runs:
        modules = tuple(site.name for site in sites if site.layer in RUNS[run])
        bank.attach(AdapterSpec(run, modules, 4, 8, seed=1))
        for p in bank.parameters(run).values():
            p.data.normal_(std=0.2, generator=torch.Generator().manual_seed(7))
    firsts = {run: min(RUNS[run]) for run in runs}
    return JointEngine(find_anatomy(model)._replace(packs=True), bank, firsts, **options)


def results(engine, trees, packed):
    """Reference, and log-probabilities and gradients of every run."""
    batch = collate(trees, CPU, packed=packed)
    passed = engine.base(batch)
    found, gradients = {"reference": passed.reference}, {}
    for run in engine.first_layers:
        parameters = engine.bank.parameters(run)
        with engine.active(run):
            ours = engine.forward(batch, run, passed)
            # something like a preference loss: both branches, with different weights
            (ours * torch.tensor([1.0, -0.7][: ours.shape[1]])).sigmoid().sum().backward()
        found[run] = ours.detach()
        gradients[run] = {name: p.grad.clone() for name, p in parameters.items()}
        for p in parameters.values():
            p.grad = None
    return found, gradients


def differences(engine, trees):
    """Largest difference of a log-probability in nats, and of a gradient relative to its tensor's largest entry."""
    found, gradients = results(engine, trees, packed=True)
    wanted, references = results(engine, trees, packed=False)
    worst = max((found[name] - wanted[name]).abs().max().item() for name in wanted)
    relative = max(
        ((gradients[run][name] - p).abs().max() / p.abs().max().clamp(min=1e-300)).item()
        for run in references
        for name, p in references[run].items()
    )
    return worst, relative


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_equals_padded_with_several_conditions(kind, checkpointing, exact):
    engine = setup(kind, checkpointing=checkpointing)
    exact()
    worst, relative = differences(engine, PAIRS)
    assert worst <= 1e-9
    assert relative <= 1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_packed_equals_padded_with_one_condition_and_one_branch(kind, exact):
    engine = setup(kind, runs=["mid"])
    exact()
    worst, relative = differences(engine, SINGLES)
    assert worst <= 1e-9
    assert relative <= 1e-10


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_has_the_same_gradient_packed_and_padded(loss, exact):
    engine = setup("llama")
    exact()
    objective = Objective(loss, nll=0.3 if "nll" in LOSSES[loss].reads else 0.0)
    gradients = []
    for packed in (True, False):
        batch = collate(PAIRS, CPU, packed=packed)
        passed = engine.base(batch)
        for run in RUNS:
            with engine.active(run):
                policy = engine.forward(batch, run, passed)
                preference_loss(policy, passed.reference, batch.lengths(), objective).loss.sum().backward()
        found = {(run, n): p for run in RUNS for n, p in engine.bank.parameters(run).items()}
        gradients.append({key: p.grad for key, p in found.items()})
        for p in found.values():
            p.grad = None
    for key, wanted in gradients[1].items():
        assert (gradients[0][key] - wanted).abs().max() <= 1e-10 * wanted.abs().max(), key


@pytest.mark.parametrize("tree", PAIRS, ids=lambda tree: tree.row_id)
def test_every_shape_of_tree_equals_padded_alone(tree, exact):
    engine = setup("gemma2", runs=["full"])
    exact()
    worst, relative = differences(engine, [tree])
    assert worst <= 1e-9
    assert relative <= 1e-10


def test_several_trees_share_a_row_and_labels_are_where_they_are_predicted():
    batch = collate(PAIRS, CPU, packed=True)
    padded = collate(PAIRS, CPU)
    assert batch.tokens == padded.tokens == int(padded.mask.sum())
    # 14 + 8 + 11 tokens in the longest, 5 + 5 + 8 + 7 in the others
    assert batch.ids.shape == (1, 58)
    assert set(batch.spans.trees[0].tolist()) == {0, 1, 2, 3, 4}
    assert padded.ids.shape == (10, 26)
    assert padded.spans is None
    assert sorted(batch.labels.tolist()) == sorted(padded.labels.tolist())
    # both first labels of "one token" are predicted by the last token of its prefix
    first = (batch.labels == 53) | (batch.labels == 54)
    assert len(set(zip(batch.rows[first].tolist(), batch.positions[first].tolist(), strict=True))) == 1
    assert batch.ids[batch.rows[first], batch.positions[first]].tolist() == [52, 52]


def test_a_first_token_that_nothing_predicts_is_an_error_in_both_layouts():
    tree = Tree("r", "c", (), (Branch((1, 2), 0),))
    for packed in (False, True):
        with pytest.raises(StudyFailure, match="'r': nothing precedes the first labelled token"):
            collate([tree], CPU, packed=packed)


def spoil(batch, mistake):
    positions, trees, branches = (part.clone() for part in batch.spans[:3])
    if mistake == "positions not restarted":
        positions = torch.arange(positions.shape[1]).expand_as(positions).contiguous()
    elif mistake == "a branch sees its sibling":
        branches.zero_()
    elif mistake == "a tree sees its neighbour":
        trees.zero_()
    return batch._replace(spans=Spans(positions, trees, branches, batch.spans.ends[-1:]))


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize(
    "mistake", ["positions not restarted", "a branch sees its sibling", "a tree sees its neighbour"]
)
def test_planted_mistakes_change_the_result_by_far_more_than_the_tolerance(kind, mistake, exact):
    engine = setup(kind, runs=["full"])
    exact()
    batch = collate(PAIRS, CPU, packed=True)
    wanted = engine.base(collate(PAIRS, CPU)).reference
    assert torch.allclose(engine.base(spoil(batch, "none")).reference, wanted, rtol=0, atol=1e-9)
    spoiled = engine.base(spoil(batch, mistake)).reference
    assert (spoiled - wanted).abs().max() > 1e-3


def test_one_mask_for_all_layers_is_wrong_where_windows_differ(monkeypatch, exact):
    engine = setup("gemma2", runs=["full"])
    exact()
    wanted = engine.base(collate(PAIRS, CPU)).reference
    monkeypatch.setattr(packing, "layer_windows", lambda anatomy: [None] * len(anatomy.layers))
    wrong = engine.base(collate(PAIRS, CPU, packed=True)).reference
    assert (wrong - wanted).abs().max() > 1e-3


def test_the_engine_packs_only_where_the_architecture_was_found_to_take_it():
    engine = setup("llama", runs=["full"])
    assert engine.packs
    assert engine.collate(PAIRS).spans is not None
    engine.anatomy = engine.anatomy._replace(packs=False)
    assert not engine.packs
    assert engine.collate(PAIRS).spans is None


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "phi3", "gpt_neox"])
@pytest.mark.parametrize("fused", [False, True])
def test_as_shipped_in_float32_gradients_differ_by_rounding_alone(kind, fused):
    engine = setup(kind, runs=["full"])
    engine.model.float()
    for p in engine.bank.parameters("full").values():
        p.data = p.data.float()
    engine.anatomy = engine.anatomy._replace(fused=fused and kind in ("llama", "qwen3"))
    packed, padded = (
        torch.cat([p.flatten() for p in results(engine, PAIRS, layout)[1]["full"].values()])
        for layout in (True, False)
    )
    assert packed.dtype == torch.float32
    assert (packed - padded).norm() <= 3e-6 * padded.norm()  # 6e-7 to 2e-6 was seen
