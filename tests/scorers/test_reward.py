"""A reward model's scores are those of the stock model, one text at a time."""

import json

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reward_models import make_reward_model
from stratalign.errors import UserError
from stratalign.models import hushed
from stratalign.scorers import Exchange, ScorerSettings, reward_dimensions, reward_scorer

TEXTS = [
    ("Tell me of cats.", " They sleep."),
    ("Tell me of cats.", " They sleep all day, and hunt at night, and are fond of fish."),
    ("Hi", ""),
    ("What is the capital of France, and what is it known for?", " Paris."),
    ("Tell me of cats.", " They sleep!"),
]
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"


def scored(folder, exchanges, **settings):
    scorer = reward_scorer(
        ScorerSettings(reward=str(folder), batch_size=3, **settings),
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    return scorer.score(exchanges)


def one_by_one(folder, texts):
    """Stock transformers, one text at a time, without padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with hushed():
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([tokenizer(text)["input_ids"]])).logits[0] for text in texts]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"pad_token_id": 0}),  # also the end token: the stock model passes it over
        ("llama", {"pad_token_id": 7}),
        ("qwen3", {"head_dim": 8, "num_key_value_heads": 2}),
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("bert", {"pad_token_id": 0}),
    ],
)
def test_batches_of_different_lengths_score_as_the_stock_model_does_alone(tmp_path, kind, changes):
    folder = make_reward_model(tmp_path, kind, **changes)
    found = scored(folder, [Exchange(prompt, "text", response) for prompt, response in TEXTS])
    stock = one_by_one(folder, [f"{prompt}{response}<eos>" for prompt, response in TEXTS])
    assert found["reward"] == pytest.approx([float(logits[0]) for logits in stock], abs=1e-5)
    assert len({round(value, 4) for value in found["reward"]}) == len(TEXTS)


def test_several_labels_are_one_dimension_each_and_lower_turns_one(tmp_path):
    folder = make_reward_model(tmp_path, labels=("helpful", "toxic"))
    settings = ScorerSettings(reward=str(folder), lower=["toxic"])
    assert [(one.name, one.better) for one in reward_dimensions(settings)] == [
        ("helpful", "higher"),
        ("toxic", "lower"),
    ]
    found = scored(folder, [Exchange("Hi", "text", " there")])
    (stock,) = one_by_one(folder, ["Hi there<eos>"])
    assert [found["helpful"][0], found["toxic"][0]] == pytest.approx(stock.tolist(), abs=1e-5)


def test_a_chat_template_is_used_where_the_tokenizer_has_one(tmp_path):
    folder = make_reward_model(tmp_path, chat_template=CHAT)
    turns = ({"role": "user", "content": "Hi"},)
    transcript = "\n\nHuman: Hi\n\nAssistant:"
    exchanges = [
        Exchange("Hi", "text", " there"),
        Exchange(turns, "messages", " there"),
        Exchange(transcript, "transcript", " there"),
    ]
    (stock,) = one_by_one(folder, ["<user>Hi<assistant> there"])
    assert scored(folder, exchanges)["reward"] == pytest.approx([float(stock)] * 3, abs=1e-5)


def test_a_text_that_is_too_long_gets_no_reward(tmp_path):
    folder = make_reward_model(tmp_path)
    found = scored(
        folder, [Exchange("Hi", "text", " there"), Exchange("Hi", "text", " x" * 50)], max_length=20
    )
    assert found["reward"][0] is not None
    assert found["reward"][1] is None


def test_messages_need_a_chat_template(tmp_path):
    folder = make_reward_model(tmp_path)
    with pytest.raises(UserError, match="has no chat template"):
        scored(folder, [Exchange(({"role": "user", "content": "Hi"},), "messages", "there")])


def test_what_is_no_reward_model_is_refused(make_model, tmp_path):
    with pytest.raises(UserError, match="LlamaForCausalLM, not a sequence classifier"):
        reward_dimensions(ScorerSettings(reward=str(make_model("llama"))))
    with pytest.raises(UserError, match="does not exist"):
        reward_dimensions(ScorerSettings(reward="./nowhere"))
    folder = make_reward_model(tmp_path / "rm")
    with pytest.raises(UserError, match=r"Unknown label in `lower`.*'toxic'"):
        reward_dimensions(ScorerSettings(reward=str(folder), lower=["toxic"]))
    # a language model whose config claims to be a classifier has no head
    config = json.loads((folder / "config.json").read_text())
    causal = make_model("llama")
    (folder / "model.safetensors").write_bytes((causal / "model.safetensors").read_bytes())
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="do not fill the model"):
        scored(folder, [Exchange("Hi", "text", " there")])


def test_the_identity_changes_with_the_weights(tmp_path):
    folder = make_reward_model(tmp_path)

    def identity():
        settings = ScorerSettings(reward=str(folder))
        return reward_scorer(settings, dtype=torch.float32, device=torch.device("cpu")).hash

    before = identity()
    assert identity() == before
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert identity() != before
