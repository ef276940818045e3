"""A block as PEFT and Axolotl write it: PEFT itself decides which modules that means."""

import pytest
import yaml
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer

import stratalign as sa
from stratalign.companions.confining import confine
from stratalign.errors import UserError
from stratalign.models import hushed
from stratalign.recipe import parse_recipe
from tiny_models import random_model

TARGETS = {
    "gpt2": ["attn.c_attn", "attn.c_proj"],
    "gpt_neox": ["query_key_value", "dense"],
    "phi3": ["qkv_proj", "o_proj"],
}
KINDS = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "phi3", "olmo2", "gpt_neox", "gpt2"]


def adapted(model, config):
    """The modules on which PEFT puts adapters by this configuration."""
    with hushed():
        get_peft_model(model, config)
    return sorted(name for name, module in model.named_modules() if isinstance(module, LoraLayer))


def in_peft_words(keys):
    """What Axolotl hands to PEFT (axolotl.loaders.adapter), checked against the types of its schema."""
    assert keys.pop("adapter") == "lora"
    assert isinstance(keys["lora_r"], int)
    assert isinstance(keys["lora_alpha"], int)
    layers = keys["peft_layers_to_transform"]
    pattern = keys.pop("peft_layers_pattern", None)
    assert isinstance(layers, list)
    assert pattern is None or isinstance(pattern, list)
    words = {
        "lora_r": "r",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "lora_target_modules": "target_modules",
        "lora_fan_in_fan_out": "fan_in_fan_out",
        "peft_layers_to_transform": "layers_to_transform",
    }
    return LoraConfig(task_type="CAUSAL_LM", layers_pattern=pattern, **{words[k]: v for k, v in keys.items()})


def attention_of(layers):
    kinds = ("k_proj", "o_proj", "q_proj", "v_proj")
    return sorted(f"model.layers.{layer}.self_attn.{kind}" for layer in layers for kind in kinds)


@pytest.mark.parametrize(
    ("block", "layers"),
    [
        ("local", range(4)),
        ("mid", range(4, 8)),
        ("global", range(8, 12)),
        ("full", range(12)),  # 48 names: PEFT shortens lists of 20 and more
        ([1, 2, "10-11"], [1, 2, 10, 11]),  # 1 must not match 10 and 11
        (1, [1]),
        ({"blocks": ["local", "global"]}, [0, 1, 2, 3, 8, 9, 10, 11]),
    ],
)
def test_peft_adapts_exactly_the_block(block, layers):
    for source in (random_model("llama", 12, 101), 12):
        config = sa.lora_config(source, block)
        assert adapted(random_model("llama", 12, 101), config) == attention_of(layers)
        keys = yaml.safe_load(sa.axolotl_config(source, block))
        assert adapted(random_model("llama", 12, 101), in_peft_words(keys)) == attention_of(layers)


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_gets_the_modules_that_a_study_would_train(kind):
    model = random_model(kind, 6, 101)
    choices = {"targets": TARGETS.get(kind)}
    resolved = sorted(confine(model, "mid", **choices).modules)
    assert len(resolved) == 2 * len(TARGETS.get(kind, "qkvo"))
    axolotl = in_peft_words(yaml.safe_load(sa.axolotl_config(model, "mid", **choices)))
    assert adapted(random_model(kind, 6, 101), axolotl) == resolved
    assert adapted(model, sa.lora_config(model, "mid", **choices)) == resolved
    # a second adapter finds the modules under the first one
    assert sorted(confine(model, "mid", **choices).modules) == resolved


def test_a_recipe_brings_its_model_partition_and_lora_settings(recipe):
    written = recipe(
        conditions={
            "mid": None,
            "wider": {"block": "end", "rank": 6, "targets": ["q_proj", "down_proj"], "learning_rate": 1e-4},
            "thin": {"block": "full", "parameters_like": "end"},
            "staged": {"phases": [{"block": "mid", "steps": 2}, {"block": "end"}]},
        },
        partition={"method": "explicit", "blocks": {"mid": [2, 3], "end": 5}},
        seeds=[0, 1],
    )
    found = parse_recipe(written)
    runs = {run.id: run for run in sa.plan(found, out="not-made").runs}
    for name in ("mid", "wider", "thin"):
        condition, settings = runs[f"{name}@0"].condition, runs[f"{name}@0"].settings
        config = sa.lora_config(found, name)
        assert config.target_modules == set(condition.modules)
        assert (config.r, config.lora_alpha) == (condition.rank, settings.alpha)
    with pytest.raises(UserError, match="in phases, which one LoRA configuration cannot say"):
        sa.lora_config(found, "staged")
    with pytest.raises(UserError, match=r"Unknown condition 'mit'\. Did you mean 'mid'"):
        sa.lora_config(found, "mit")
    with pytest.raises(UserError, match="Change them there"):
        sa.lora_config(found, "mid", rank=4)


def test_a_folder_is_enough_and_no_weights_are_loaded(make_model, monkeypatch):
    from stratalign.models import loading

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", None)
    folder = make_model("llama")
    config = sa.lora_config(folder, "global")
    assert config.target_modules == set(attention_of([4, 5]))
    assert sa.lora_config(str(folder), "global").target_modules == config.target_modules


def test_rank_alone_keeps_alpha_over_rank():
    # the paper's 32 / 16
    configs = [
        sa.lora_config(32, "mid"),
        sa.lora_config(32, "mid", rank=8),
        sa.lora_config(32, "mid", alpha=5),
    ]
    assert [(config.r, config.lora_alpha) for config in configs] == [(16, 32), (8, 16), (16, 5)]
    # all 32 layers with about as many parameters as 11: 16 x 11 / 32 = 5.5, rounded to even
    assert sa.lora_config(32, {"block": "full", "parameters_like": "mid"}).r == 6


def test_weights_stored_the_other_way_round_are_declared_so():
    assert sa.lora_config(random_model("gpt2", 3, 101), "mid", targets=["c_attn"]).fan_in_fan_out
    assert not sa.lora_config(random_model("llama", 3, 101), "mid").fan_in_fan_out


@pytest.mark.parametrize(
    ("block", "choices", "said"),
    [
        ("midd", {}, "Did you mean 'mid'"),
        ("none", {}, "trains nothing"),
        ([12], {}, "layer 12, but the model has 12 layers"),
        ([], {}, "selects no layer"),
        ({"block": "mid", "learning_rate": 1e-5}, {}, "set it in your trainer"),
        ({"phases": [{"block": "mid"}]}, {}, "set it in your trainer"),
        ({"block": "mid", "rank": [4, 8]}, {}, "make 2 conditions"),
        ("mid", {"rank": 0}, "chosen.rank"),
        ("mid", {"dropout": 1.0}, "chosen.dropout"),
        ("mid", {"targets": ["z_proj"]}, "Unknown target module"),
        ("first", {"partition": {"blocks": ["frst", "last"]}}, "Did you mean 'frst'"),
    ],
)
def test_a_block_that_is_none_is_refused_with_what_to_do(block, choices, said):
    with pytest.raises(UserError, match=said):
        sa.lora_config(random_model("llama", 12, 101), block, **choices)


@pytest.mark.parametrize(("model", "said"), [(0, "from 1"), (True, "from 1"), (3.5, "float is no model")])
def test_a_model_that_is_none_is_refused(model, said):
    with pytest.raises(UserError, match=said):
        sa.lora_config(model, "mid")


def test_axolotl_takes_no_fraction_for_alpha():
    with pytest.raises(UserError, match=r"got 6\.5\. Give alpha"):
        sa.axolotl_config(12, "mid", alpha=6.5)


def test_axolotl_gets_the_names_of_the_model_and_not_the_defaults(make_model):
    keys = yaml.safe_load(sa.axolotl_config(str(make_model("gpt_neox")), "mid"))
    assert keys["lora_target_modules"] == ["query_key_value", "dense"]
    assert keys["peft_layers_to_transform"] == [2, 3]


def test_a_condition_tuned_by_rank_is_named_by_candidate(make_model):
    tune = {"learning_rate": [1e-3], "rank": [2, 4]}
    written = {"model": str(make_model("llama")), "preferences": {"source": "none"}}
    recipe = parse_recipe({**written, "conditions": {"mid": {"block": "mid", "tune": tune}}})
    assert sa.lora_config(recipe, "mid-0.001-4").r == 4
    with pytest.raises(UserError, match="Name one of its candidates"):
        sa.lora_config(recipe, "mid")
    tune["rank"] = [4]
    one = parse_recipe({**written, "conditions": {"mid": {"block": "mid", "tune": tune}}})
    assert sa.lora_config(one, "mid").r == 4
