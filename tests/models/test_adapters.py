"""Adapters sit on exactly the resolved modules, one active at a time, and are saved as PEFT reads them."""

import pytest
import torch
from peft import PeftModel

from stratalign.errors import StudyFailure
from stratalign.models import AdapterBank, AdapterSpec, draw_a, hushed, load_tensors
from tiny_models import random_model


@pytest.fixture
def model():
    torch.manual_seed(0)
    return random_model("llama", 4, 101).eval().requires_grad_(False)


def modules_of(model, layers):
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj")
    return tuple(f"model.layers.{layer}.self_attn.{kind}" for layer in layers for kind in kinds)


def test_only_the_active_runs_tensors_take_gradients_and_none_when_inactive(model):
    modules = modules_of(model, [1])
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("mid", modules, 4, 8))
    bank.attach(AdapterSpec("full.v2", modules_of(model, range(4)), 4, 8))
    wanted = {f"{module}.lora_{part}.run:mid.weight" for module in modules for part in "AB"}
    with bank.active("mid"):
        assert {name for name, p in model.named_parameters() if p.requires_grad} == wanted
    assert not any(p.requires_grad for p in model.parameters())
    with bank.active("mid", trainable=modules[:1]):
        assert sum(p.requires_grad for p in model.parameters()) == 2


def test_a_new_adapter_changes_nothing_and_a_filled_one_only_when_active(model):
    ids = torch.arange(8)[None]
    before = model(input_ids=ids).logits
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("mid", modules_of(model, [1]), 4, 8))
    with bank.active("mid"):
        assert torch.equal(model(input_ids=ids).logits, before)  # B is zero
    for name, p in bank.parameters("mid").items():
        if "lora_B" in name:
            p.data.fill_(0.1)
    assert torch.equal(model(input_ids=ids).logits, before)
    with bank.active("mid"):
        assert not torch.allclose(model(input_ids=ids).logits, before)


def test_a_depends_on_seed_and_module_alone():
    one = draw_a(0, "model.layers.0.self_attn.q_proj", 4, 32)
    assert torch.equal(one, draw_a(0, "model.layers.0.self_attn.q_proj", 8, 32)[:4])
    assert not torch.equal(one, draw_a(1, "model.layers.0.self_attn.q_proj", 4, 32))
    assert not torch.equal(one, draw_a(0, "model.layers.1.self_attn.q_proj", 4, 32))
    # PEFT's default, Kaiming uniform with a = sqrt(5): bound 1 / sqrt(in)
    large = draw_a(0, "m", 64, 256)
    assert large.abs().max() <= 1 / 16
    assert large.std().item() == pytest.approx(1 / 16 / 3**0.5, rel=0.02)


def test_saved_adapters_have_the_same_bytes_and_load_in_stock_peft(model, tmp_path):
    modules = modules_of(model, [1, 2])
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("mid", modules, 4, 8))
    for p in bank.parameters("mid").values():
        p.data.normal_(generator=torch.Generator().manual_seed(1))
    for name in ("one", "two"):
        bank.save("mid", tmp_path / name, "base", None, {"schema": 1})
    for file in ("adapter_model.safetensors", "adapter_config.json", "stratalign.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    ids = torch.arange(8)[None]
    with bank.active("mid"):
        ours = model(input_ids=ids).logits
    torch.manual_seed(0)
    with hushed():
        stock = PeftModel.from_pretrained(random_model("llama", 4, 101), str(tmp_path / "one")).eval()
    assert torch.allclose(stock(input_ids=ids).logits, ours, atol=1e-5)


def test_tensors_of_another_run_are_not_loaded(model, tmp_path):
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("mid", modules_of(model, [1]), 4, 8))
    bank.attach(AdapterSpec("global", modules_of(model, [3]), 4, 8))
    bank.save("global", tmp_path / "global", "base", None, {})
    with pytest.raises(StudyFailure, match="not those of its modules"):
        bank.load("mid", tmp_path / "global")
    assert all("layers.3." in name for name in load_tensors(tmp_path / "global"))


def test_an_adapter_that_lands_elsewhere_is_noticed(model, monkeypatch):
    from stratalign.models import adapters

    stock = adapters.inject_adapter_in_model

    def misplaced(config, model, adapter_name):
        config.target_modules = {name.replace("layers.1.", "layers.2.") for name in config.target_modules}
        return stock(config, model, adapter_name=adapter_name)

    monkeypatch.setattr(adapters, "inject_adapter_in_model", misplaced)
    with pytest.raises(StudyFailure, match="on other modules than resolved"):
        AdapterBank(model).attach(AdapterSpec("mid", modules_of(model, [1]), 4, 8))
