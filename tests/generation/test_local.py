"""Decoding: the same answer alone and in any batch, ends and stops, and the divergence from the base."""

import pytest
import torch
from transformers import GenerationConfig

from stratalign.engine import JointEngine
from stratalign.generation import GenerationSettings, Prompt, answer, batches, divergence_from_base
from stratalign.models import AdapterBank, AdapterSpec, find_anatomy
from stratalign.preferences import Branch, Tree
from tiny_models import make_tokenizer, random_model

SETTINGS = GenerationSettings(max_new_tokens=10, temperature=0.7)


@pytest.fixture(scope="module")
def world():
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    return random_model("llama", 4, len(tokenizer)).eval().requires_grad_(False), tokenizer


def prompts(tokenizer, count=6):
    texts = ["Human: hello " + "there " * i + "\n\nAssistant:" for i in range(count)]
    return [
        Prompt(f"p{i}", f"c{i}", text, tuple(tokenizer(text)["input_ids"])) for i, text in enumerate(texts)
    ]


def test_an_answer_is_the_same_alone_and_in_a_mixed_batch(world):
    model, tokenizer = world
    asked = prompts(tokenizer)
    together = answer(model, tokenizer, asked, SETTINGS, key=1)
    alone = [answer(model, tokenizer, [prompt], SETTINGS, key=1)[0] for prompt in asked]
    assert together == alone
    assert len({found.tokens for found in together}) == len(together)
    assert answer(model, tokenizer, asked, SETTINGS, key=2) != together


def test_temperature_zero_takes_the_likeliest_token(world):
    model, tokenizer = world
    (prompt,) = prompts(tokenizer, 1)
    (found,) = answer(model, tokenizer, [prompt], GenerationSettings(max_new_tokens=3, temperature=0), key=0)
    ids = list(prompt.ids)
    for token in found.tokens:
        assert model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item() == token
        ids.append(token)


def test_an_answer_ends_at_the_end_token_and_says_so(world):
    model, tokenizer = world
    asked = prompts(tokenizer, 2)
    free = answer(model, tokenizer, asked, SETTINGS, key=1)
    # Whatever token the first answer has at its fifth place becomes the end token.
    tokenizer = make_tokenizer()
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(free[0].tokens[4])
    first, second = answer(model, tokenizer, asked, SETTINGS, key=1)
    end = free[0].tokens.index(free[0].tokens[4])
    assert (first.tokens, first.finish) == (free[0].tokens[:end], "stop")
    if free[0].tokens[4] not in free[1].tokens:
        assert (second.tokens, second.finish) == (free[1].tokens, "length")


KINDS = ["llama", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "gpt_neox", "gpt2"]


def exact(kind):
    """In float64; Gemma 2 in float32, because its eager attention gives NaN in float64 where a row is padded."""
    torch.manual_seed(1)
    model = random_model(kind, 4, len(make_tokenizer())).eval().requires_grad_(False)
    model = model if kind == "gemma2" else model.double()
    if kind == "mistral":
        model.config.sliding_window = 8  # shorter than the prompts
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_decoding_equals_the_stock_one(kind):
    model, tokenizer = exact(kind), make_tokenizer()
    asked = prompts(tokenizer, 5)
    ours = answer(model, tokenizer, asked, GenerationSettings(max_new_tokens=16, temperature=0), key=0)
    width = max(len(prompt.ids) for prompt in asked)
    ids = torch.zeros(len(asked), width, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(asked):
        ids[row, width - len(prompt.ids) :] = torch.tensor(prompt.ids)
        mask[row, width - len(prompt.ids) :] = 1
    config = GenerationConfig(do_sample=False, max_new_tokens=16, eos_token_id=0, pad_token_id=0)
    stock = model.generate(ids, attention_mask=mask, generation_config=config)[:, width:].tolist()
    for row, own in zip(stock, ours, strict=True):
        assert tuple(row[: len(own.tokens)]) == own.tokens


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_end_early_and_are_dropped_change_nothing_for_the_others(kind):
    model, tokenizer = exact(kind), make_tokenizer()
    asked = prompts(tokenizer, 8)
    settings = GenerationSettings(max_new_tokens=24, temperature=3.0)
    model.generation_config.eos_token_id = list(range(30))  # a tenth of the tokens end an answer
    together = answer(model, tokenizer, asked, settings, key=0)
    assert len({len(own.tokens) for own in together}) > 3
    assert together == [answer(model, tokenizer, [prompt], settings, key=0)[0] for prompt in asked]


def test_a_stop_text_ends_the_answer_and_is_cut_off(world):
    model, tokenizer = world
    (prompt,) = prompts(tokenizer, 1)
    (free,) = answer(model, tokenizer, [prompt], SETTINGS, key=1)
    mark = free.text[len(free.text) // 2]
    (found,) = answer(model, tokenizer, [prompt], SETTINGS, key=1, stop=[mark])
    assert found.text == free.text[: free.text.index(mark)]
    assert found.finish == "stop"
    assert len(found.tokens) < len(free.tokens)


def test_a_stop_text_that_is_a_special_token_ends_the_answer_like_an_end_token(world):
    model, _ = world
    (prompt,) = prompts(make_tokenizer(), 1)
    (free,) = answer(model, make_tokenizer(), [prompt], SETTINGS, key=1)
    tokenizer = make_tokenizer()
    mark = tokenizer.convert_ids_to_tokens(free.tokens[4])
    tokenizer.add_tokens([mark], special_tokens=True)  # the same id, now left out of decoded texts
    end = free.tokens.index(free.tokens[4])
    (found,) = answer(model, tokenizer, [prompt], SETTINGS, key=1, stop=[mark])
    assert (found.tokens, found.finish) == (free.tokens[:end], "stop")
    assert found.text == tokenizer.decode(free.tokens[:end])


def test_a_stop_text_may_hold_special_tokens_and_go_on_after_them(world):
    model, _ = world
    (prompt,) = prompts(make_tokenizer(), 1)
    (free,) = answer(model, make_tokenizer(), [prompt], SETTINGS, key=1)
    tokenizer = make_tokenizer()
    special = tokenizer.convert_ids_to_tokens(free.tokens[4])
    tokenizer.add_tokens([special], special_tokens=True)
    (whole,) = answer(model, tokenizer, [prompt], SETTINGS, key=1)
    assert (whole.tokens, whole.finish) == (free.tokens, "length")
    at = free.tokens.index(free.tokens[4])
    mark = tokenizer.decode(free.tokens[at : at + 2])
    (found,) = answer(model, tokenizer, [prompt], SETTINGS, key=1, stop=[mark])
    assert (found.tokens, found.finish) == (free.tokens[:at], "stop")


def test_batches_hold_every_prompt_once_and_depend_on_the_prompts_alone(world):
    asked = prompts(world[1])
    groups = batches(asked, 4)
    assert [len(group) for group in groups] == [4, 2]
    assert sorted(prompt.prompt_id for group in groups for prompt in group) == [p.prompt_id for p in asked]
    assert batches(asked[::-1], 4) == groups


def test_divergence_is_zero_for_the_base_and_by_hand_for_a_run(world):
    torch.manual_seed(0)
    model = random_model("llama", 4, 101).double().eval().requires_grad_(False)
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("base", (), 4, 8))
    bank.attach(AdapterSpec("mid", ("model.layers.2.self_attn.v_proj",), 4, 8))
    for p in bank.parameters("mid").values():
        p.data.normal_(generator=torch.Generator().manual_seed(1))
    engine = JointEngine(find_anatomy(model), bank, {"base": 4, "mid": 2})
    trees = [Tree("a", "a", (5, 6), (Branch((7, 8, 9), 0),)), Tree("b", "b", (5,), (Branch((3,), 0),))]
    assert divergence_from_base(engine, "base", trees) == [0.0, 0.0]
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    base = model(input_ids=ids).logits[0].log_softmax(-1)
    with bank.active("mid"):
        own = model(input_ids=ids).logits[0].log_softmax(-1)
    # the three answer tokens are predicted from positions 1, 2 and 3
    expected = sum((own[i].exp() * (own[i] - base[i])).sum().item() for i in (1, 2, 3))
    assert divergence_from_base(engine, "mid", trees)[0] == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01
