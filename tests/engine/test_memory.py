"""The plan of passes: from measured bytes and free memory to tokens and recomputation."""

from contextlib import contextmanager, nullcontext
from functools import cache

import pytest
import torch

from stratalign.engine import JointEngine, memory, plan_memory
from stratalign.engine.memory import Needs, Size, decide, measure, size_of
from stratalign.models import (
    AdapterBank,
    AdapterSpec,
    can_stop,
    check_packing,
    find_anatomy,
    list_sites,
    replay,
)
from stratalign.models.packing import fuses
from stratalign.preferences import Branch, Tree
from tiny_models import random_model

ROOM = 1 / memory.USED
LAYERS = 3


def plan(free, kept=1000, recomputed=100, fixed=0, longest=500, device="cpu", checkpointing=None):
    return decide(kept, recomputed, fixed, int(free * ROOM) + 1, longest, device, checkpointing)


def test_with_memory_to_spare_whole_passes_and_no_recomputation():
    assert plan(10**9)[:2] == (2048, False)
    assert plan(10**9, device="cuda")[:2] == (16384, False)


def test_with_less_memory_first_smaller_passes_then_recomputation():
    assert plan(1_500_000)[:2] == (1500, False)
    assert plan(900_000)[:2] == (2048, True)  # 900 tokens are too few to be worth it
    assert plan(150_000)[:2] == (1500, True)


def test_what_does_not_grow_with_the_tokens_is_taken_off_first():
    assert plan(1_500_000, fixed=300_000)[:2] == (1200, False)
    assert plan(1_500_000, fixed=600_000)[:2] == (2048, True)
    assert plan(1_500_000, fixed=2_000_000)[:2] == (500, True)  # the longest has to fit anyway


def test_the_longest_tree_always_fits_and_what_the_user_asks_for_stays():
    assert plan(10**9, longest=5000)[:2] == (5000, False)
    assert plan(10, longest=700)[:2] == (700, True)
    assert plan(10, checkpointing=False)[:2] == (500, False)
    assert plan(10**9, checkpointing=True)[:2] == (2048, True)


ATTENTION = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "gemma2": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "bloom": ("query_key_value", "dense"),
}
VARIANTS = [(targets, dropout) for targets in ("attention", "linear") for dropout in (0.0, 0.1)]


@cache
def bank_of(kind, dtype):
    """A tiny model with the base and, for each variant, a run on all layers and one on layers 1 and 2."""
    torch.manual_seed(0)
    model = random_model(kind, LAYERS, 101).to(dtype).eval().requires_grad_(False)
    anatomy = find_anatomy(model)
    anatomy = anatomy._replace(packs=kind != "bloom", stops=can_stop(model, anatomy))
    assert not anatomy.packs or check_packing(model, anatomy)
    anatomy = anatomy._replace(fused=fuses(model, anatomy))
    assert anatomy.fused == (kind == "llama" and dtype == torch.float32)
    bank = AdapterBank(model)
    sites = [site for site in list_sites(model) if site.frozen is None]
    for targets, dropout in VARIANTS:
        wanted = [s for s in sites if targets == "linear" or s.name.rpartition(".")[2] in ATTENTION[kind]]
        for where, layers in {"middle": (1, 2), "all": range(LAYERS)}.items():
            modules = tuple(s.name for s in wanted if s.layer in layers)
            bank.attach(AdapterSpec(f"{where} {targets} {dropout}", modules, 4, 8, dropout))
    bank.attach(AdapterSpec("base", (), 4, 8))
    return anatomy, bank


def engine_of(kind, dtype=torch.float32, targets="linear", dropout=0.0):
    anatomy, bank = bank_of(kind, dtype)
    firsts = {f"middle {targets} {dropout}": 1, f"all {targets} {dropout}": 0, "base": LAYERS}
    return JointEngine(anatomy, bank, firsts)


def trees_of(*shapes):
    def ids(count):
        return tuple((7 * i) % 101 for i in range(count))

    return [
        Tree(f"r{i}", "c", ids(prefix), tuple(Branch(ids(count), 0) for count in counts))
        for i, (prefix, counts) in enumerate(shapes)
    ]


TREES = trees_of((30, (20, 25)), (5, (12, 9)), (100, (30, 70)), (9, (40, 2)))


@cache
def weights(model):
    return {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}


def storages(tensors, model):
    """Address and bytes of distinct storages, without the model's own."""
    own = weights(model)
    places = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return {place: size for place, size in places.items() if place not in own}


def left_by_base(passed):
    """Every tensor that the base's pass leaves for the runs, masks included."""
    yield from (passed.reference, passed.states, *passed.captured.hidden.values())
    for arguments in passed.captured.arguments.values():
        for value in arguments.values():
            yield from getattr(value, "biases", ())
            yield from (
                part for part in (value if isinstance(value, tuple) else [value]) if torch.is_tensor(part)
            )


@contextmanager
def saving():
    """All tensors that autograd saves within the block."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        yield saved


def kept_for_backward(engine, run, checkpointing):
    """Bytes at the end of the run's forward pass; with recomputation also the most that a layer keeps by itself."""
    batch = engine.collate(TREES)
    passed = engine.base(batch)
    engine.checkpointing = (
        checkpointing  # autograd itself is watched, which then sees the layers' inputs alone
    )
    last, largest = {"at": (batch.rows, batch.positions)}, 0
    drop = engine.bank.dropout(run, 3) if engine.bank.specs[run].dropout else nullcontext()
    with engine.active(run), drop:
        with saving() as saved:
            hidden = engine._states(run, batch, passed)
        whole = storages([*left_by_base(passed), *saved], engine.model)
        for number in range(engine.first_layers[run], LAYERS) if checkpointing else ():
            up_to = engine.anatomy._replace(layers=engine.anatomy.layers[: number + 1])
            entry = torch.zeros_like(passed.captured.hidden[0]).requires_grad_()
            given = passed.captured._replace(hidden={number: entry})
            with saving() as saved:
                out = replay(up_to, given, number, **(last if number == LAYERS - 1 else {}))
            own = storages(saved, engine.model)
            largest = max(largest, sum(own[place] for place in own.keys() - whole.keys()) - entry.nbytes)
            del out
    slopes = hidden.numel() * hidden.element_size()  # kept for the labels, whose logits are gone
    return sum(whole.values()) + slopes + largest


@pytest.mark.parametrize("kind", ["llama", "gemma2", "bloom"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("targets", "dropout"), VARIANTS)
def test_planned_bytes_are_within_a_tenth_of_what_is_kept(kind, dtype, targets, dropout):
    """Llama's layers are fused in float32, Gemma's are stock and keep scores, BLOOM's rows are padded."""
    engine = engine_of(kind, dtype, targets, dropout)
    size = size_of(engine.collate(TREES))
    for checkpointing, needs in enumerate(measure(engine)):
        runs = [run for run in engine.first_layers if run != "base"]
        kept = max(kept_for_backward(engine, run, bool(checkpointing)) for run in runs)
        assert needs.of(size) == pytest.approx(kept, rel=0.1)


def test_the_size_of_a_batch_counts_what_attends_to_each_other():
    """Two pairs of 5 + 2 + 1 tokens: packed they share a piece, padded they are four rows of 8."""
    trees = trees_of((5, (3, 2)), (5, (3, 2)))
    assert size_of(engine_of("llama").collate(trees)) == Size(tokens=16, labels=10, pairs=16**2)
    assert size_of(engine_of("bloom").collate(trees)) == Size(tokens=32, labels=10, pairs=4 * 8**2)
    assert Needs(fixed=1000, token=100, label=10, pair=0.5).of(Size(32, 10, 256)) == 1000 + 3200 + 100 + 128


def test_the_largest_run_is_measured_and_dropout_counts_only_where_it_is_on():
    small, large = engine_of("llama", targets="attention"), engine_of("llama", dropout=0.1)
    small.first_layers |= large.first_layers
    assert measure(small) == measure(large)
    assert measure(large, training=False)[0].token == pytest.approx(
        measure(engine_of("llama"))[0].token, rel=0.01
    )
    assert measure(large)[0].token > 1.3 * measure(large, training=False)[0].token


def test_a_diagnosis_of_the_base_keeps_what_gradients_down_to_its_first_layer_need():
    engine = engine_of("llama")
    engine.first_layers = {"base": 0}
    trained, diagnosed = (measure(engine, training=training)[0].token for training in (True, False))
    width = engine.model.config.hidden_size
    assert trained < 3 * 4 * width  # what the base leaves
    assert diagnosed > 5 * 4 * width * LAYERS  # each layer keeps several tensors of its width


def test_gradients_moments_and_logits_are_planned(monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "decide", lambda *given: seen.append(given))
    engine = engine_of("llama")
    plan_memory(engine, TREES, None)
    plan_memory(engine, TREES, None, training=False)
    parameters = sum(p.numel() for run in engine.first_layers for p in engine.bank.parameters(run).values())
    (*_, fixed, _, longest, device, asked), (*_, without, _, _, _, _) = seen
    assert fixed - without == 3 * 4 * parameters
    assert without == 5 * 4 * 2048 * 101  # fewer logits than a chunk holds
    assert (longest, device, asked) == (100 + 29 + 69, "cpu", None)


def test_moments_are_planned_for_the_largest_pass_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "decide", lambda *given: seen.append(given))
    engine = engine_of("llama")
    small, large, _ = engine.first_layers
    plan_memory(engine, TREES, None)
    plan_memory(engine, TREES, None, passes=[[small], [large]])
    (*_, together, _, _, _, _), (*_, apart, _, _, _, _) = seen
    assert together - apart == 3 * 4 * sum(p.numel() for p in engine.bank.parameters(small).values())


def test_a_plan_of_a_loaded_model_knows_its_memory():
    found = plan_memory(engine_of("gemma2"), TREES, None)
    assert (found.pack_tokens, found.checkpointing) == (2048, False)
    assert found.free_bytes > 10**8
