"""A merged model is base plus adapter, or there is none: what would come out as the plain base is refused."""

import json
import shutil

import pytest
import torch
from adapter_setups import emptied, make_adapter, renamed, rewritten, without
from safetensors.torch import load_file, save_file

from stratalign.errors import UserError
from stratalign.models import merge


@pytest.fixture
def adapter(make_model, tmp_path):
    return make_adapter(make_model("llama"), tmp_path / "adapter")


def refusal(tmp_path, adapter, **options):
    with pytest.raises(UserError) as refused:
        merge(adapter, tmp_path / "merged", **options)
    assert not list(tmp_path.glob("*merged*"))
    return str(refused.value)


def changed(make_model, merged):
    base, found = (load_file(folder / "model.safetensors") for folder in (make_model("llama"), merged))
    return {name for name, tensor in found.items() if not torch.equal(tensor, base[name])}


def test_the_merged_model_differs_from_the_base_where_the_adapter_is(make_model, adapter, tmp_path):
    merged = merge(adapter, tmp_path / "merged")
    assert changed(make_model, merged) == {
        f"model.layers.{layer}.self_attn.{kind}_proj.weight" for layer in range(6) for kind in "qv"
    }


def test_other_names_are_refused(adapter, tmp_path):
    message = refusal(tmp_path, renamed(adapter, "model.layers", "language_model.layers"))
    assert "24 tensors of the adapter would not be used" in message


def test_dora_without_its_magnitudes_is_refused(make_model, tmp_path):
    folder = make_adapter(make_model("llama"), tmp_path / "dora", use_dora=True)
    message = refusal(tmp_path, without(folder, "lora_magnitude_vector"))
    assert "asks for 12 tensors that adapter_model.safetensors does not hold" in message
    assert "lora_magnitude_vector" in message


def test_an_adapter_with_b_zero_everywhere_is_refused(adapter, tmp_path):
    assert "changes nothing: lora_B is 0 in all of its modules" in refusal(tmp_path, emptied(adapter))


def test_an_adapter_whose_dora_changes_nothing_is_refused(make_model, tmp_path):
    """B is zero and the magnitudes are the base's own: only the merged weights show it."""
    folder = make_adapter(make_model("llama"), tmp_path / "dora", use_dora=True)
    message = refusal(tmp_path, emptied(folder))
    assert "changes no weight of" in message


def test_an_adapter_that_the_bases_precision_rounds_away_is_refused(make_model, tmp_path):
    base = make_model("llama", dtype=torch.bfloat16)
    folder = make_adapter(base, tmp_path / "adapter")
    rewritten(folder, lambda name, tensor: {name: tensor * 1e-7 if ".lora_B." in name else tensor})
    assert "in bfloat16, in which the base is stored" in refusal(tmp_path, folder)


def test_a_base_that_is_given_counts_in_place_of_the_one_that_is_named(make_model, adapter, tmp_path):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "./moved"}))
    assert "'./moved' does not exist" in refusal(tmp_path, adapter)
    assert len(changed(make_model, merge(adapter, tmp_path / "merged", str(make_model("llama"))))) == 12


def test_what_a_server_needs_beside_the_weights_is_kept(make_model, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(make_model("llama"), base)
    kept = {
        "preprocessor_config.json": "{}",
        "video_preprocessor_config.json": "{}",
        "chat_template.jinja": "{{ messages }}",
        "additional_chat_templates/tools.jinja": "{{ tools }}",
        "tokenizer.model": "pieces",
        "tekken.json": "{}",
    }
    for name, text in kept.items():
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_text(text)
    (base / "trainer_state.json").write_text("{}")
    merged = merge(make_adapter(base, tmp_path / "adapter"), tmp_path / "merged")
    assert {name: (merged / name).read_text() for name in kept} == kept
    assert not (merged / "trainer_state.json").exists()
    assert (merged / "generation_config.json").is_file()


def test_a_base_of_which_only_the_text_part_is_loaded_is_refused(make_model, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(make_model("llama"), base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"architectures": ["SomeForImages"]}))
    (base / "preprocessor_config.json").write_text("{}")
    message = refusal(tmp_path, make_adapter(base, tmp_path / "adapter"))
    assert "SomeForImages with preprocessor_config.json" in message
    assert "the text part alone here (LlamaForCausalLM)" in message


def test_a_pickled_base_is_not_read(make_model, tmp_path):
    base = tmp_path / "pickled"
    shutil.copytree(make_model("llama"), base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x"}')
    save_file({"base_model.model.x.lora_B.weight": torch.ones(2, 2)}, adapter / "adapter_model.safetensors")
    with pytest.raises(UserError, match="safetensors"):
        merge(adapter, tmp_path / "out", str(base))
    assert not (tmp_path / "out").exists()
