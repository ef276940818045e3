"""A batch of many runs: every row gets the answer that its run gives alone, and no row another run's adapter."""

import functools

import pytest
import torch

from stratalign.generation import Asked, GenerationSettings, Prompt, answer, answer_mixed
from stratalign.models import AdapterBank, AdapterSpec
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


def asked(runs=tuple(RUNS)):
    return [Asked(run, prompt, RUNS[run][3]) for run in runs for prompt in prompts()]


def alone(bank, runs=tuple(RUNS)):
    found = []
    for run in runs:
        with bank.active(run):
            found += answer(bank.model, tokenizer(), prompts(), SETTINGS, key=RUNS[run][3])
    return found


def mixed(bank, rows):
    return answer_mixed(bank, tokenizer(), rows, SETTINGS)


def test_each_run_answers_in_a_mixed_batch_as_it_does_alone(bank, wanted):
    together = mixed(bank, asked())
    assert together == wanted
    assert len({len(own.tokens) for own in together}) > 5  # rows were dropped
    by_run = [[own.tokens for own in together[i : i + 6]] for i in range(0, len(together), 6)]
    assert all(one != other for i, one in enumerate(by_run) for other in by_run[:i])


def test_rows_of_a_run_need_not_lie_together(bank, wanted):
    rows = sorted(asked(), key=lambda row: row.prompt.prompt_id)
    assert dict(zip(rows, mixed(bank, rows), strict=True)) == dict(zip(asked(), wanted, strict=True))


def test_an_answer_does_not_depend_on_which_other_runs_are_in_the_batch(bank):
    assert mixed(bank, asked(["high", "low"])) == alone(bank, ["high", "low"])


@pytest.mark.parametrize("mistake", ["in the beginning", "when rows have been dropped"])
def test_rows_under_the_wrong_run_are_noticed(bank, wanted, monkeypatch, mistake):
    from stratalign.models import Mixture

    assign, calls = Mixture.assign, []

    def shifted(mixture, runs):
        calls.append(len(runs))
        wrong = (len(calls) == 1) == (mistake == "in the beginning")
        assign(mixture, [*runs[1:], runs[0]] if wrong else runs)

    monkeypatch.setattr(Mixture, "assign", shifted)
    assert mixed(bank, asked()) != wanted
    assert len(calls) > 1


def test_a_mixed_batch_leaves_no_trace(bank):
    ids = torch.arange(8)[None]
    before = bank.model(input_ids=ids).logits
    with bank.mixed(["every"]):
        assert not torch.allclose(bank.model(input_ids=ids).logits, before)
    assert torch.equal(bank.model(input_ids=ids).logits, before)


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "mistral"])
def test_other_layers_and_caches_mix_too(kind):
    """GPT-2 stores its weights transposed; the others have sliding windows beside or instead of full attention."""
    torch.manual_seed(1)
    model = random_model(kind, 4, 300).eval().requires_grad_(False)
    model = model if kind == "gemma2" else model.double()  # its eager attention has NaN in float64
    if kind == "mistral":
        model.config.sliding_window = 8  # shorter than the prompts
    bank = AdapterBank(model)
    one = ("attn.c_attn", "mlp.c_proj") if kind == "gpt2" else ATTENTION
    path = "transformer.h" if kind == "gpt2" else "model.layers"
    for run, layers in {"base": (), "low": (0,), "high": (2, 3)}.items():
        bank.attach(AdapterSpec(run, tuple(f"{path}.{n}.{kind}" for n in layers for kind in one), 4, 8))
        for p in bank.parameters(run).values():
            p.data.normal_(0, 0.3, generator=torch.Generator().manual_seed(len(run)))
    runs = ["base", "low", "high"]
    assert mixed(bank, asked(runs)) == alone(bank, runs)


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
    assert mixed(bank, asked()) == wanted
