"""A batch of many runs: every row gets the answer that its run gives alone, and no row another run's adapter."""

import functools

import pytest
import torch

from stratalign.generation import GenerationSettings, Prompt, answer, answer_mixed, prefill
from stratalign.models import AdapterBank, AdapterSpec, Mixture
from tiny_models import make_tokenizer, random_model

SETTINGS = GenerationSettings(max_new_tokens=12, temperature=2.0)
ATTENTION = ("self_attn.q_proj", "self_attn.o_proj")
# run -> layers, kinds of modules, rank, key of its noise
RUNS = {
    "base": ((), (), 4, 0),
    "low": ((0, 1), ATTENTION, 4, 0),
    "high": ((2, 3), (*ATTENTION, "mlp.down_proj"), 2, 0),
    "every": (range(4), ATTENTION, 7, 0),
    "base_again": ((), (), 4, 1),
}


@pytest.fixture(scope="module")
def bank():
    torch.manual_seed(0)
    bank = AdapterBank(random_model("llama", 4, 300).double().eval().requires_grad_(False))
    # a tenth of the tokens end an answer, so rows leave the batch one after the other
    bank.model.generation_config.eos_token_id = list(range(30))
    attach(bank, {run: (layers, kinds, rank) for run, (layers, kinds, rank, _) in RUNS.items()})
    return bank


def attach(bank, runs):
    for number, (run, (layers, kinds, rank)) in enumerate(runs.items()):
        modules = tuple(f"model.layers.{layer}.{kind}" for layer in layers for kind in kinds)
        bank.attach(AdapterSpec(run, modules, rank, 2 * rank))
        generator = torch.Generator().manual_seed(number)
        for p in bank.parameters(run).values():
            p.data.normal_(0, 0.3, generator=generator)


@pytest.fixture(scope="module")
def wanted(bank):
    return alone(bank)


@functools.cache
def tokenizer():
    return make_tokenizer()


@functools.cache
def prompts(count=6):
    texts = ["Human: hello " + "there " * i + "\n\nAssistant:" for i in range(count)]
    return [Prompt(f"p{i}", "c", text, tuple(tokenizer()(text)["input_ids"])) for i, text in enumerate(texts)]


def alone(bank, runs=tuple(RUNS)):
    found = []
    for run in runs:
        with bank.active(run):
            found += answer(bank.model, tokenizer(), prompts(), SETTINGS, key=RUNS[run][3])
    return found


def mixed(bank, runs=tuple(RUNS)):
    found = answer_mixed(bank, tokenizer(), prompts(), {run: RUNS[run][3] for run in runs}, SETTINGS)
    assert list(found) == list(runs)
    return [own for answers in found.values() for own in answers]


def test_each_run_answers_in_a_mixed_batch_as_it_does_alone(bank, wanted):
    together = mixed(bank)
    assert together == wanted
    assert len({len(own.tokens) for own in together}) > 5  # rows were dropped
    by_run = [[own.tokens for own in together[i : i + 6]] for i in range(0, len(together), 6)]
    assert all(one != other for i, one in enumerate(by_run) for other in by_run[:i])


def test_an_answer_does_not_depend_on_which_other_runs_are_in_the_batch(bank):
    assert mixed(bank, ["high", "low"]) == alone(bank, ["high", "low"])


@pytest.mark.parametrize("when", ["reading the prompts", "decoding"])
def test_rows_under_the_wrong_run_are_noticed(bank, wanted, monkeypatch, when):
    assign, calls = Mixture.assign, []

    def mistaken(mixture, runs):
        doing = "decoding" if len(set(runs)) > 1 else "reading the prompts"  # which is done one run at a time
        calls.append(doing)
        exchanged = {"low": "every", "every": "low"} if doing == when else {}
        assign(mixture, [exchanged.get(run, run) for run in runs])

    monkeypatch.setattr(Mixture, "assign", mistaken)
    assert mixed(bank) != wanted
    assert calls.count("decoding") > 2


def test_the_prompts_go_through_the_frozen_prefix_once(bank, wanted):
    """Rows that pass each layer while the prompts are read: six of the base, and six of each run from its first on."""
    passed = [0] * 4

    def count(number):
        def hook(_module, args):
            passed[number] += len(args[0]) * (args[0].shape[1] > 1)

        return hook

    layers = bank.model.model.layers
    handles = [layer.register_forward_pre_hook(count(number)) for number, layer in enumerate(layers)]
    try:
        assert mixed(bank) == wanted
    finally:
        for handle in handles:
            handle.remove()
    # low and every start at layer 0, high at layer 2
    assert passed == [6 * 3, 6 * 3, 6 * 4, 6 * 4]


@pytest.mark.parametrize("start", [1, -1])
def test_a_run_that_starts_at_the_wrong_layer_is_noticed(bank, wanted, monkeypatch, start):
    first = prefill._first_layers

    def shifted(*args):
        return {run: min(max(layer + start, 0), 4) for run, layer in first(*args).items()}

    monkeypatch.setattr(prefill, "_first_layers", shifted)
    assert (mixed(bank) == wanted) == (start < 0)  # lower costs more and is right


def test_a_model_with_a_cache_of_its_own_kind_reads_the_prompts_in_one_pass(bank, wanted, monkeypatch):
    monkeypatch.setattr(prefill, "_known", lambda *_: False)
    assert mixed(bank) == wanted


def test_rows_of_a_run_need_not_lie_together(bank):
    ids = torch.arange(1, 19).reshape(3, 6)
    with bank.mixed(["low", "every", "low"]):
        found = bank.model(input_ids=ids).logits
    for row, run in enumerate(["low", "every", "low"]):
        with bank.active(run):
            assert torch.allclose(found[row], bank.model(input_ids=ids).logits[row], atol=1e-10)


def test_a_mixed_batch_leaves_no_trace(bank):
    ids = torch.arange(8)[None]
    before = bank.model(input_ids=ids).logits
    with bank.mixed(["every"]):
        assert not torch.allclose(bank.model(input_ids=ids).logits, before)
    assert torch.equal(bank.model(input_ids=ids).logits, before)


KINDS = {
    "qwen3": ATTENTION,
    "mistral": ATTENTION,
    "gemma2": ATTENTION,
    "phi3": ("self_attn.qkv_proj", "mlp.gate_up_proj"),
    "olmo2": ATTENTION,
    "gpt_neox": ("attention.query_key_value", "attention.dense"),
    "gpt2": ("attn.c_attn", "mlp.c_proj"),
}
PATHS = {"gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers"}


@pytest.mark.parametrize("kind", KINDS)
def test_other_layers_and_caches_mix_too(kind, monkeypatch):
    """GPT-2 stores its weights transposed; Mistral and Gemma 2 have sliding windows instead of and beside full ones."""
    torch.manual_seed(1)
    model = random_model(kind, 4, 300).eval().requires_grad_(False)
    model = model if kind == "gemma2" else model.double()  # its eager attention has NaN in float64
    if kind == "mistral":
        model.config.sliding_window = 8  # shorter than the prompts
    bank = AdapterBank(model)
    path = PATHS.get(kind, "model.layers")
    for run, layers in {"base": (), "low": (0,), "high": (2, 3)}.items():
        bank.attach(AdapterSpec(run, tuple(f"{path}.{n}.{one}" for n in layers for one in KINDS[kind]), 4, 8))
        for p in bank.parameters(run).values():
            p.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(run)))
    runs = ["base", "low", "high"]
    wanted = alone(bank, runs)
    monkeypatch.setattr(prefill, "prefill", None)  # the stock way is not what made these
    assert mixed(bank, runs) == wanted


def test_adapters_in_float32_on_a_base_in_bfloat16_are_added_as_peft_adds_them(bank):
    torch.manual_seed(0)
    low = AdapterBank(random_model("llama", 4, 300).bfloat16().eval().requires_grad_(False))
    attach(low, {"every": (range(4), ATTENTION, 7), "low": ((0,), ATTENTION, 4)})
    ids = torch.arange(1, 9).expand(2, -1)
    with low.mixed(["low", "every"]):
        together = low.model(input_ids=ids).logits
    for row, run in enumerate(["low", "every"]):
        with low.active(run):
            own = low.model(input_ids=ids).logits[row]
        assert torch.allclose(together[row], own, atol=0.02 * own.abs().max().item())


def test_a_model_that_flattens_its_rows_is_decoded_one_run_at_a_time(bank, wanted, monkeypatch):
    """As a mixture's experts do, which see the tokens that were sent to them, in an order of their own."""
    feed_forward = bank.model.model.layers[2].mlp
    whole = feed_forward.forward

    def flat(x):
        return whole(x.reshape(-1, x.shape[-1])).reshape(x.shape)

    monkeypatch.setattr(feed_forward, "forward", flat)
    assert mixed(bank) == wanted
