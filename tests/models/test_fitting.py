"""A model uses every tensor of its files and an adapter all of its own; otherwise both are refused before training."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from adapter_setups import emptied, make_adapter, renamed, without
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stratalign.errors import UserError
from stratalign.models import (
    ModelSettings,
    fitting,
    inspect_model,
    load_model,
    load_stock,
    load_tokenizer,
    merge,
    of_adapter,
)

CPU = {"dtype": torch.float32, "device": torch.device("cpu")}


@pytest.fixture
def copy(make_model, tmp_path):
    """A copy of the six-layer Llama: `copy(config={...}, tensors={...})` changes its config and adds tensors."""

    def made(config=None, tensors=None, kind="llama"):
        folder = tmp_path / "model"
        shutil.copytree(make_model(kind), folder)
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | (config or {})))
        weights = folder / "model.safetensors"
        save_file(load_file(weights) | (tensors or {}), weights, metadata={"format": "pt"})
        return ModelSettings(base=str(folder))

    return made


def test_layers_that_the_config_does_not_count_are_refused_by_plan_and_by_load(copy):
    """Two of six layers are left out: seven matrices and two norms each."""
    settings = copy({"num_hidden_layers": 4})
    words = (
        r"18 tensors of layers 4-5 are in .* and not used \(model\.layers\.4\..*describes a model of 4 layers"
    )
    with pytest.raises(UserError, match=words):
        inspect_model(settings)
    with pytest.raises(UserError, match=words):
        load_stock(settings, **CPU)


def test_a_plan_without_accelerate_leaves_it_to_loading(copy, monkeypatch):
    from stratalign.models import loading

    settings = copy({"num_hidden_layers": 4})
    monkeypatch.setattr(loading, "find_spec", lambda _name: None)
    assert inspect_model(settings).n_layers == 4


def test_a_tensor_of_another_head_is_refused(copy):
    with pytest.raises(UserError, match=r"1 tensor is in .* and not used \(v_head\.summary\.weight\)"):
        inspect_model(copy(tensors={"v_head.summary.weight": torch.zeros(1, 32)}))


def test_a_plan_reads_no_tensor_of_the_base(copy, monkeypatch):
    """Only headers: whoever opens a file is given one that has names and shapes alone."""
    from stratalign.models import loading

    class HeaderAlone:
        def __init__(self, file, framework):
            with safe_open(file, framework=framework) as whole:
                self.shapes = {name: whole.get_slice(name).get_shape() for name in whole.keys()}  # noqa: SIM118

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def keys(self):
            return self.shapes

        def get_slice(self, name):
            return SimpleNamespace(get_shape=lambda: self.shapes[name])

    settings = copy({"num_hidden_layers": 4})
    monkeypatch.setattr(loading, "safe_open", HeaderAlone)
    monkeypatch.setattr("transformers.modeling_utils.safe_open", None)
    with pytest.raises(UserError, match="18 tensors of layers 4-5"):
        inspect_model(settings)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "model.layers.0.attn.bias",
        "model.layers.0.attn.masked_bias",
        "model.mtp.0.proj.weight",
    ],
)
def test_buffers_of_older_formats_and_heads_for_more_tokens_may_be_unused(copy, name):
    assert inspect_model(copy(tensors={name: torch.zeros(4)})).n_layers == 6


def test_layers_for_more_tokens_may_be_unused_as_many_as_the_config_names(copy):
    """`num_nextn_predict_layers` of 1: layer 6 of six is one; layer 7 would be a second."""
    ahead = {"model.layers.6.eh_proj.weight": torch.zeros(4)}
    assert inspect_model(copy({"num_nextn_predict_layers": 1}, ahead)).n_layers == 6


def test_one_layer_for_more_tokens_does_not_excuse_another(copy):
    beyond = {f"model.layers.{i}.eh_proj.weight": torch.zeros(4) for i in (6, 7)}
    with pytest.raises(UserError, match="1 tensor of layers 7 is in"):
        inspect_model(copy({"num_nextn_predict_layers": 1}, beyond))


def test_a_head_that_is_tied_and_stored_is_used(copy):
    settings = copy({"tie_word_embeddings": True})
    inspect_model(settings)
    load_stock(settings, **CPU)


def test_the_images_part_of_a_model_that_is_loaded_for_text_may_be_unused():
    from transformers import Llama4Config

    config = Llama4Config()
    found = {"missing_keys": [], "mismatched_keys": [], "unexpected_keys": ["vision_model.model.layers.0.x"]}
    model = type("Model", (), {"config": config})()
    fitting.refuse_misfit("folder", model, found)
    with pytest.raises(UserError, match="not used"):
        fitting.refuse_misfit("folder", model, found | {"unexpected_keys": ["model.layers.99.x"]})


@pytest.fixture
def adapter(make_model, tmp_path):
    return make_adapter(make_model("llama"), tmp_path / "sft")


def based(make_model, adapter):
    return ModelSettings(base=str(make_model("llama")), adapter=str(adapter))


def test_an_sft_adapter_of_the_base_is_merged_in(make_model, adapter):
    settings = based(make_model, adapter)
    plain = load_stock(ModelSettings(base=settings.base), **CPU).state_dict()
    inspect_model(settings)
    changed = [k for k, v in load_stock(settings, **CPU).state_dict().items() if not torch.equal(v, plain[k])]
    assert len(changed) == 12  # q_proj and v_proj of six layers


def test_an_sft_adapter_with_other_names_is_refused_by_plan_and_load_naming_both_sides(make_model, adapter):
    settings = based(make_model, renamed(adapter, "model.model.layers", "model.model.language_model.layers"))
    words = (
        r"24 tensors of the adapter would not be used \(base_model\.model\.model\.language_model\.layers\.0\.self_attn"
        r"\.q_proj\.lora_A\.weight has no place in the model, base_model\.model\.model\.layers\.0\.self_attn\.q_proj"
        r"\.lora_A\.weight of the model gets nothing\)"
    )
    with pytest.raises(UserError, match=words):
        inspect_model(settings)
    with pytest.raises(UserError, match=words):
        load_stock(settings, **CPU)


def test_an_sft_adapter_of_which_some_tensors_are_missing_is_refused(make_model, adapter):
    with pytest.raises(UserError, match=r"is not complete: adapter_config\.json asks for 4 tensors that"):
        inspect_model(based(make_model, without(adapter, "layers.3.")))


def test_an_sft_adapter_that_changes_nothing_is_refused(make_model, adapter):
    with pytest.raises(UserError, match=r"changes nothing: lora_B is 0 in all of its modules"):
        inspect_model(based(make_model, emptied(adapter)))


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [1, 2]},
        {"bias": "lora_only"},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 2}},
    ],
    ids=str,
)
def test_every_form_of_lora_that_peft_loads_fits(make_model, tmp_path, settings):
    folder = make_adapter(make_model("llama"), tmp_path / "sft", **settings)
    inspect_model(based(make_model, folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_and_counted(copy, value):
    settings = copy()
    file = Path(settings.base) / "model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.2.mlp.up_proj.weight"][3, :5] = value  # of 48 x 32 values
    save_file(tensors, file, metadata={"format": "pt"})
    words = r"1 tensor holds NaN or infinite values \(model.layers.2.mlp.up_proj.weight: 5 of 1,536\)"
    with pytest.raises(UserError, match=words):
        load_model(settings, **CPU)


def test_large_weights_whose_sum_is_not_finite_are_finite(copy):
    settings = copy()
    file = Path(settings.base) / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"][:] = 2e38  # two of them are more than float32 holds
    save_file(tensors, file, metadata={"format": "pt"})
    load_stock(settings, **CPU)


def test_an_adapter_that_is_not_finite_is_refused_by_plan_and_by_load(copy, tmp_path):
    settings = copy()
    make_adapter(settings.base, tmp_path / "sft")
    file = tmp_path / "sft" / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    settings = settings.model_copy(update={"adapter": str(tmp_path / "sft")})
    for load in (inspect_model, lambda settings: load_stock(settings, **CPU)):
        with pytest.raises(UserError, match=rf"The weights of the adapter .*{re.escape(name)}: 1 of "):
            load(settings)


@pytest.fixture
def sft(copy, tmp_path):
    """`sft(tokens=["<|user|>"], template="...")`: a base and an SFT adapter with its tokenizer, and the base with it as
    PEFT alone loads them."""

    def made(tokens=(), template=None, modules_to_save=None):
        base = copy()
        tokenizer = load_tokenizer(base)
        tokenizer.add_tokens(list(tokens), special_tokens=True)
        tokenizer.chat_template = template
        model = AutoModelForCausalLM.from_pretrained(base.base)
        if tokens:
            model.resize_token_embeddings(len(tokenizer))
        config = LoraConfig(
            task_type="CAUSAL_LM", r=2, target_modules=["q_proj"], modules_to_save=modules_to_save
        )
        adapted = get_peft_model(model, config)
        torch.manual_seed(3)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.data.normal_(0, 0.3)
        adapted.save_pretrained(tmp_path / "sft")
        tokenizer.save_pretrained(tmp_path / "sft")
        return base.model_copy(update={"adapter": str(tmp_path / "sft")}), adapted.eval()

    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("modules_to_save", [None, ["embed_tokens", "lm_head"]])
def test_an_adapter_with_added_tokens_gives_what_it_gives_in_peft(sft, modules_to_save):
    settings, adapted = sft(["<|user|>", "<|bot|>"], "{{ messages }}", modules_to_save)
    assert inspect_model(settings).vocabulary == 302
    ids = torch.tensor([[5, 300, 7, 301, 9]])
    ours = load_stock(settings, **CPU)
    assert ours.config.vocab_size == 302
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, adapted(input_ids=ids).logits)
    tokenizer = load_tokenizer(settings)
    assert len(tokenizer) == 302
    assert of_adapter(tokenizer, settings)


@pytest.mark.filterwarnings("ignore")
def test_the_adapters_chat_template_takes_the_place_of_the_bases(sft):
    settings, _ = sft(template="{{ messages }}")
    assert load_tokenizer(settings).chat_template == "{{ messages }}"
    (Path(settings.base) / "chat_template.jinja").write_text("{{ messages }}")
    assert not of_adapter(load_tokenizer(settings), settings)  # the same


@pytest.mark.filterwarnings("ignore")
def test_an_adapter_without_a_chat_template_leaves_the_bases(sft):
    settings, _ = sft(["<|user|>"])
    (Path(settings.base) / "chat_template.jinja").write_text("{{ messages }}")
    tokenizer = load_tokenizer(settings)
    assert (len(tokenizer), tokenizer.chat_template) == (301, "{{ messages }}")


@pytest.mark.filterwarnings("ignore")
def test_a_merged_adapter_brings_its_tokenizer(sft, tmp_path):
    settings, _ = sft(["<|user|>"], "{{ messages }}")
    out = merge(str(settings.adapter), tmp_path / "merged", settings.base)
    merged = ModelSettings(base=str(out))
    assert inspect_model(merged).vocabulary == len(load_tokenizer(merged)) == 301
    assert load_tokenizer(merged).chat_template == "{{ messages }}"
