"""An audit says what an adapter's tensors are, and where its configuration, its shapes or its base say otherwise."""

import json

import pytest
import torch
from adapter_setups import emptied, make_adapter, renamed, rewritten, without

from stratalign.errors import UserError
from stratalign.models import audit


@pytest.fixture
def base(make_model):
    return make_model("llama")


@pytest.fixture
def adapter(base, tmp_path):
    return make_adapter(base, tmp_path / "adapter")


def claims(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def problems(folder, base=None):
    return list(audit(folder, base).problems)


def test_a_sound_adapter_has_no_problems_and_is_held_against_the_base_that_it_names(adapter, base):
    found = audit(adapter)
    assert found.problems == ()
    assert found.base == str(base)
    assert found.layers == tuple(range(6))
    assert {(one.kind, one.rank, one.trained) for one in found.modules} == {("lora", 4, True)}


def test_without_a_base_it_says_so(adapter):
    assert audit(claims(adapter, base_model_name_or_path="owner/name")).base is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"r": 16}, "12 modules have rank 4, adapter_config.json says 16"),
        ({"rank_pattern": {"q_proj": 8}}, "6 modules have rank 4, adapter_config.json says 8"),
        ({"target_modules": ["q_proj"]}, "6 modules are adapted but not in target_modules (model.layers.0"),
        (
            {"target_modules": r".*\.q_proj"},
            "6 modules are adapted but not in target_modules (model.layers.0",
        ),
        ({"target_modules": ["q_proj", "v_proj", "fc9"]}, "target_modules asks for fc9, without a tensor"),
        (
            {"target_modules": ["q_proj", "v_proj", "o_proj"]},
            "6 modules of the base are in target_modules, without a tensor in the file (model.layers.0",
        ),
        ({"layers_to_transform": [1, 2]}, "layers 0, 3-5 are adapted but not in layers_to_transform"),
        (
            {"layers_to_transform": [0, 1, 2, 3, 4, 5, 7, 8, 10]},
            "layers_to_transform asks for layers 7-8, 10, without a tensor in the file",
        ),
        ({"use_dora": True}, "use_dora is true, and 12 modules have no magnitude vector (model.layers.0"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save asks for lm_head, without a tensor in the file"),
        ({"trainable_token_indices": [5, 6]}, "trainable_token_indices asks for 2 tokens, the file holds 0"),
    ],
    ids=str,
)
def test_a_claim_that_the_tensors_do_not_keep_is_named(adapter, changes, words):
    assert any(one.startswith(words) for one in problems(claims(adapter, **changes))), problems(adapter)


def test_a_claim_that_the_tensors_keep_is_none(base, tmp_path):
    kept = make_adapter(base, tmp_path / "a", layers_to_transform=[1, 4], rank_pattern={"v_proj": 2})
    assert problems(kept) == []


def test_tensors_that_are_not_finite_are_named(adapter):
    name = "base_model.model.model.layers.2.self_attn.q_proj.lora_B.weight"

    def spoiled(one, tensor):
        if one == name:
            tensor[0, 0], tensor[1, 0] = float("nan"), float("inf")
        return {one: tensor}

    # 32 outputs of rank 4
    assert problems(rewritten(adapter, spoiled)) == [f"{name} has 2 of 128 values that are not finite"]


def test_shapes_that_do_not_fit_each_other_or_the_base_are_named(adapter):
    def narrow(name, tensor):
        if name.endswith("layers.0.self_attn.q_proj.lora_A.weight"):
            return {name: tensor[:3]}
        if name.endswith("layers.1.self_attn.q_proj.lora_B.weight"):
            return {name: tensor[:30]}
        return {name: tensor}

    found = problems(rewritten(adapter, narrow))
    first, second = (f"model.layers.{i}.self_attn.q_proj" for i in (0, 1))
    assert f"the two tensors of {first} do not fit each other: A has 3 rows, B 4 columns" in found
    assert any(one.startswith(f"{second} changes a weight of 30 x 32, that of ") for one in found)
    assert any(one.endswith("is 32 x 32") for one in found)


def test_a_weight_that_is_stored_turned_around_has_the_shape_that_it_acts_with(make_model, tmp_path):
    turned = make_adapter(make_model("gpt2"), tmp_path / "a", target_modules=["c_attn"], fan_in_fan_out=True)
    assert problems(turned) == []


def test_modules_that_the_base_lacks_are_named_with_one_that_it_has(adapter):
    found = problems(renamed(adapter, "model.model.layers", "model.model.other.layers"))
    assert any(
        one.startswith("12 modules do not exist in ") and "a module there is model.layers.0.self_attn" in one
        for one in found
    )


def test_embeddings_whole_modules_and_tokens_are_known(base, tmp_path):
    found = audit(
        make_adapter(
            base, tmp_path / "a", target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"]
        )
    )
    assert found.problems == ()
    assert {one.module: (one.kind, one.layer, one.rank) for one in found.modules if one.layer is None} == {
        "model.embed_tokens": ("embedding", None, 4),
        "lm_head": ("whole", None, 0),
    }
    tokens = audit(make_adapter(base, tmp_path / "b", trainable_token_indices=[1, 2, 3]))
    assert tokens.problems == ()
    assert [(one.module, one.parameters) for one in tokens.modules if one.kind == "tokens"] == [
        ("model.embed_tokens", 3 * 32)
    ]


def test_layers_come_in_the_order_of_their_numbers(make_model, tmp_path):
    """Files list tensors by name, 10 and 11 before 2."""
    deep = make_adapter(make_model("llama", layers=12), tmp_path / "deep")
    assert [one.layer for one in audit(deep).modules] == [layer for layer in range(12) for _ in "qv"]


def test_modules_with_b_zero_and_half_pairs_are_named(adapter):
    emptied(adapter, "layers.0.self_attn.q_proj.lora_B.")
    without(adapter, "layers.1.self_attn.q_proj.lora_B.")
    found = problems(adapter)
    assert "1 of 11 modules have B = 0: nothing was trained there (model.layers.0.self_attn.q_proj)" in found
    assert "model.layers.1.self_attn.q_proj has only half of its pair of tensors" in found


def test_a_hub_id_that_cannot_be_reached_is_an_honest_error(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        UserError, match="'owner/adapter' is not a local folder, and was not found on the Hub"
    ):
        audit("owner/adapter")


def test_a_hub_id_is_read_where_it_was_downloaded(adapter, monkeypatch, tmp_path):
    """The hub's cache holds a snapshot: it is used."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_args, **_kwargs: str(adapter))
    assert audit("owner/name").layers == tuple(range(6))


def test_low_precision_tensors_are_read(adapter):
    assert problems(rewritten(adapter, lambda name, tensor: {name: tensor.to(torch.bfloat16)})) == []
