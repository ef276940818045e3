"""Layers are found by structure, and an architecture counts as supported only when replay is exact."""

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from stratalign.errors import UserError
from stratalign.models import can_stop, capture, check_replay, find_anatomy, list_sites, replay, to_logits
from tiny_models import random_model

KINDS = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "gpt_neox", "gpt2"]


@pytest.mark.parametrize("kind", KINDS)
def test_replaying_the_layers_gives_the_stock_logits(kind):
    torch.manual_seed(0)
    model = random_model(kind, 3, 101).eval()
    assert check_replay(model, find_anatomy(model)) <= 1e-5


def test_sites_are_every_linear_module_of_every_layer_with_its_full_name():
    sites = list_sites(random_model("llama", 2, 101))
    assert [site.kind for site in sites if site.layer == 1] == [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ]
    v = next(site for site in sites if site.name == "model.layers.1.self_attn.v_proj")
    assert (v.in_features, v.out_features) == (32, 16)  # two key/value heads of 8


def test_capture_takes_no_cache_and_replay_can_be_repeated():
    torch.manual_seed(0)
    model = random_model("llama", 4, 101).eval()
    anatomy = find_anatomy(model)
    ids = torch.arange(10)[None]
    captured = capture(anatomy, [2, 4], input_ids=ids, attention_mask=torch.ones_like(ids))
    assert sorted(captured.hidden) == [2, 4]
    assert captured.arguments[2].get("past_key_values") is None
    once, again = replay(anatomy, captured, 2), replay(anatomy, captured, 2)
    assert torch.equal(once, again)
    assert torch.equal(to_logits(anatomy, once), model(input_ids=ids, use_cache=False).logits)


class ScaledLlama(LlamaForCausalLM):
    """Does something to its logits that no configuration key tells."""

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 1.01
        return output


def test_an_architecture_whose_replay_differs_is_refused():
    torch.manual_seed(0)
    model = ScaledLlama(random_model("llama", 3, 101).config).eval()
    with pytest.raises(UserError, match="ScaledLlama is not supported: replaying its layers differs"):
        check_replay(model, find_anatomy(model))


def test_a_model_without_one_list_of_layers_is_refused():
    model = random_model("llama", 3, 101)
    model.model.extra = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)) for _ in range(3)])
    with pytest.raises(UserError, match=r"one list of 3 decoder layers, found model.layers, model.extra"):
        find_anatomy(model)


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "phi3", "gpt_neox", "gpt2"])
def test_a_pass_can_stop_in_the_middle_and_leaves_what_a_whole_one_leaves(kind):
    torch.manual_seed(0)
    model = random_model(kind, 4, 101).eval()
    anatomy = find_anatomy(model)
    assert can_stop(model, anatomy)
    assert all("forward" not in vars(layer) for layer in anatomy.layers)


def test_a_model_in_which_one_layer_hands_something_to_another_beside_the_hidden_states_is_not_stopped():
    torch.manual_seed(0)
    model = random_model("llama", 4, 101).eval()
    handed, inside = [], []
    decoder = model.model  # the decoder hands it over, so a replay of its layers does not
    decoder.register_forward_pre_hook(lambda *_: inside.append(True))
    decoder.register_forward_hook(lambda *_: inside.clear())
    decoder.layers[2].register_forward_hook(lambda _module, _args, output: handed.append(output))

    def take(_module, args, kwargs):
        if inside:
            kwargs["attention_mask"] = (handed[-1] @ handed[-1].transpose(1, 2))[:, None]
        return args, kwargs

    decoder.layers[3].register_forward_pre_hook(take, with_kwargs=True)
    assert not can_stop(model, find_anatomy(model))
