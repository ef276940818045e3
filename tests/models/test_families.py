"""Every row of the table of families holds, and every model that is refused is refused with its reason."""

import itertools
from pathlib import Path

import peft
import pytest
import torch
from packaging.version import Version
from peft import PeftModel
from transformers import (
    AutoConfig,
    BertConfig,
    BertLMHeadModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    LlamaForCausalLM,
)

from stratalign.blocks import (
    FAMILIES,
    REFUSALS,
    expand_conditions,
    name_targets,
    partition,
    resolve_condition,
    select_sites,
)
from stratalign.errors import UserError
from stratalign.listing import catalogues
from stratalign.models import (
    AdapterBank,
    AdapterSpec,
    ModelSettings,
    check_packing,
    check_support,
    find_anatomy,
    hushed,
    inspect_model,
    list_sites,
    load_model,
)
from stratalign.models.families import longest_exact
from stratalign.models.packing import layer_windows
from stratalign.training import TrainingSettings
from tiny_models import WINDOW, random_model, windowed_model

MIXTURES = [kind for kind, family in FAMILIES.items() if family.experts]


def make(kind):
    torch.manual_seed(0)
    model = windowed_model(kind) if FAMILIES[kind].windows else random_model(kind, 4, 101)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_family_is_what_its_row_says(kind):
    family, model = FAMILIES[kind], make(kind)
    anatomy = find_anatomy(model)
    assert check_support(model, anatomy) <= 1e-5
    assert (check_packing(model, anatomy) is not None) == (family.rows == "packed")
    sites = list_sites(model)
    assert tuple(name_targets(sites, range(4), ["attention"], "x")) == family.attention
    assert any(site.frozen for site in sites) == family.experts
    if family.rows == "packed":
        assert (WINDOW in layer_windows(anatomy)) == family.windows


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_default_targets_put_adapters_on_attention_and_nothing_else_takes_gradients(kind):
    model = make(kind)
    sites = list_sites(model)
    (spec,) = expand_conditions(["mid"], ())
    defaults = TrainingSettings()
    condition = resolve_condition(
        spec, sites, partition(4), learning_rate=1e-3, targets=defaults.targets, rank=2
    )
    assert condition.targets == FAMILIES[kind].attention
    # a plan works on a model without weights, and must come to the same
    with torch.device("meta"):
        assert list_sites(type(model)(model.config)) == sites
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("mid", condition.modules, 2, 4))
    wanted = {f"{module}.lora_{part}.run:mid.weight" for module in condition.modules for part in "AB"}
    with bank.active("mid"):
        for p in bank.parameters("mid").values():
            p.data.normal_(std=0.1)
        model(input_ids=torch.arange(12)[None], use_cache=False).logits.square().mean().backward()
        assert {name for name, p in model.named_parameters() if p.requires_grad} == wanted
    grads = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert grads == wanted


@pytest.mark.parametrize("kind", ["qwen3_moe", "phi3", "gpt_neox", "deepseek_v3"])
def test_a_saved_adapter_loads_in_stock_peft(kind, tmp_path):
    if kind in ("qwen3_moe", "deepseek_v3") and Version(peft.__version__) < Version("0.21"):
        pytest.skip("PEFT 0.19 itself fails to load adapters of mixtures of experts")
    model = make(kind)
    bank = AdapterBank(model)
    modules = tuple(site.name for site in select_sites(list_sites(model), [1, 2], ["attention"], "mid"))
    bank.attach(AdapterSpec("mid", modules, 2, 4))
    for p in bank.parameters("mid").values():
        p.data.normal_(std=0.3)
    bank.save("mid", tmp_path / "mid", "base", None, {})
    ids = torch.arange(12)[None]
    with bank.active("mid"):
        ours = model(input_ids=ids).logits
    with hushed():
        stock = PeftModel.from_pretrained(make(kind), str(tmp_path / "mid")).eval()
    assert torch.allclose(stock(input_ids=ids).logits, ours, atol=1e-5)
    assert not torch.allclose(make(kind)(input_ids=ids).logits, ours, atol=1e-2)


@pytest.mark.parametrize("kind", MIXTURES)
def test_routers_and_experts_are_refused_as_targets(kind):
    sites = list_sites(make(kind))
    frozen = {site.kind for site in sites if site.frozen}
    assert not {site.name for site in sites if site.frozen} & {
        site.name for site in select_sites(sites, range(4), ["linear"], "x")
    }
    assert any("gate" in name or "router" in name for name in frozen)
    for target in ("experts", "down_proj", *frozen):
        with pytest.raises(UserError, match="takes no adapter: routers and experts stay frozen"):
            select_sites(sites, range(4), [target], "x")


def test_words_and_names_can_be_mixed_and_a_name_that_is_missing_is_told_the_models_own():
    sites = list_sites(make("gpt_neox"))
    chosen = select_sites(sites, [1], ["attention", "dense_h_to_4h"], "x")
    assert [site.kind.rpartition(".")[2] for site in chosen] == [
        "query_key_value",
        "dense",
        "dense_h_to_4h",
    ]
    with pytest.raises(UserError, match=r"'q_proj'.*Known: query_key_value, dense, dense_h_to_4h, dense_4h"):
        select_sites(sites, [1], ["q_proj", "v_proj"], "x")
    with pytest.raises(UserError, match="`attention` stands for query_key_value, dense here"):
        select_sites(sites, [1], ["q_proj"], "x")
    with pytest.raises(UserError, match="twice, by the targets 'attention' and 'dense'"):
        select_sites(sites, [1], ["attention", "dense"], "x")


def test_linear_stands_for_what_each_chosen_layer_has():
    sites = list_sites(make("deepseek_v3"))  # its first layer has no experts
    assert name_targets(sites, [0], ["linear"], "x")[-3:] == ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert name_targets(sites, [1, 2], ["linear"], "x") == list(FAMILIES["deepseek_v3"].attention)
    assert len(select_sites(sites, [0], ["mlp.down_proj"], "x")) == 1


def test_the_text_part_of_a_multimodal_gemma_3_is_trained(tmp_path):
    text = make("gemma3_text").config
    vision = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 28,
        "patch_size": 14,
    }
    whole = Gemma3Config(text_config=text.to_dict(), vision_config=vision, image_token_id=100)
    torch.manual_seed(0)
    Gemma3ForConditionalGeneration(whole).save_pretrained(tmp_path)
    settings = ModelSettings(base=str(tmp_path))
    sites = inspect_model(settings).sites
    assert {site.layer for site in sites} == {0, 1, 2, 3}
    assert not any("vision" in site.name for site in sites)
    loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
    assert loaded.packs
    assert [site.name for site in list_sites(loaded.model)] == [site.name for site in sites]


def test_lengths_at_which_a_rotary_embedding_follows_the_batch_are_known():
    assert longest_exact(make("llama").config) is None
    rope = {"rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    phi = AutoConfig.for_model(
        "phi3",
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        original_max_position_embeddings=8,
        rope_parameters=rope | {"rope_type": "longrope", "original_max_position_embeddings": 8},
    )
    assert longest_exact(phi) == 8
    dynamic = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    assert longest_exact(
        AutoConfig.for_model("llama", max_position_embeddings=64, rope_parameters=dynamic)
    ) in (64, 2048)


@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_neox"])
def test_float64_is_loaded_with_experts_that_know_it(kind, tmp_path):
    make(kind).save_pretrained(tmp_path)
    loaded = load_model(ModelSettings(base=str(tmp_path)), dtype=torch.float64, device=torch.device("cpu"))
    assert loaded.packs


class SharedKeys(LlamaForCausalLM):
    """Upper layers use what the first one left, as Gemma 3n's use keys and values of lower layers.

    `kept`: in a place of its own, which every pass overwrites; otherwise handed on as an argument.
    """

    kept = True

    def __init__(self, config):
        super().__init__(config)
        self.left = {}
        self.model.layers[0].register_forward_hook(self.leave)
        self.model.layers[-1].register_forward_pre_hook(self.use, with_kwargs=True)
        self.model.register_forward_pre_hook(lambda *_: self.left.clear())

    def leave(self, _module, _args, output):
        self.left.setdefault("first", output) if not self.kept else self.left.update(first=output)

    def use(self, _module, args, kwargs):
        return (args[0] + 0.1 * self.left["first"], *args[1:]), kwargs


class HandedOn(SharedKeys):
    kept = False


@pytest.mark.parametrize("kind", [SharedKeys, HandedOn])
def test_what_passes_between_layers_beside_the_hidden_states_is_noticed(kind):
    torch.manual_seed(0)
    model = kind(random_model("llama", 4, 101).config).eval()
    with pytest.raises(UserError, match="something besides the hidden states passes between its layers"):
        check_support(model, find_anatomy(model))


class Looking(LlamaForCausalLM):
    """Adds something of other tokens to every one: of `later` ones of its row, or of the other rows."""

    later = True

    def __init__(self, config):
        super().__init__(config)
        self.model.layers[0].mlp.register_forward_pre_hook(self.look)

    def look(self, _module, args):
        hidden = args[0]
        return (hidden + 0.05 * hidden.mean(dim=1 if self.later else 0, keepdim=True), *args[1:])


class Crowded(Looking):
    later = False


@pytest.mark.parametrize(
    ("kind", "why"), [(Looking, "on later tokens"), (Crowded, "on other rows|on later tokens")]
)
def test_logits_that_depend_on_other_tokens_are_refused(kind, why):
    torch.manual_seed(0)
    model = kind(random_model("llama", 4, 101).config).eval()
    with pytest.raises(UserError, match=why):
        check_support(model, find_anatomy(model))


def folder_of(config, folder):
    """A model folder whose weights are never reached."""
    from safetensors.torch import save_file

    config.save_pretrained(folder)
    save_file({"nothing": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("why", "kind"), [(why, kind) for why, refusal in REFUSALS.items() for kind in refusal.types]
)
def test_a_refused_type_is_refused_by_the_plan_with_its_reason(why, kind, tmp_path):
    changes = {"num_kv_shared_layers": 2} if kind == "gemma4_text" else {}
    small = {"num_hidden_layers": 2} if kind == "deepseek_v32" else {}
    folder = folder_of(AutoConfig.for_model(kind, **changes, **small), tmp_path)
    with pytest.raises(UserError, match=f"'{kind}', which is not supported: {REFUSALS[why].reason}"):
        inspect_model(ModelSettings(base=str(folder)))


def test_an_encoder_is_refused_when_it_is_loaded(tmp_path):
    config = BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, vocab_size=101
    )
    BertLMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="BertLMHeadModel is not supported: its layers cannot be run apart"):
        load_model(ModelSettings(base=str(tmp_path)), dtype=torch.float32, device=torch.device("cpu"))


def test_a_type_that_is_not_in_the_table_is_tried_and_its_rows_are_padded(tmp_path):
    assert "helium" not in FAMILIES
    random_model("helium", 3, 101).save_pretrained(tmp_path)
    settings = ModelSettings(base=str(tmp_path))
    assert not inspect_model(settings).proven
    loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
    assert not loaded.packs
    assert check_packing(loaded.model, loaded.anatomy)  # it would pass the probe, which cannot see everything


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "gpt_oss"])
def test_float32_sends_tokens_to_the_experts_of_float64(kind):
    """docs/models.md tells how rarely not: these are 2,048 choices of two of four experts."""
    model = make(kind)
    model.set_experts_implementation("eager")  # the default knows no float64
    chosen = []

    def keep(_module, _args, output):
        (experts,) = (part for part in output if not part.is_floating_point())
        chosen.append(experts.sort(-1).values)

    for module in model.modules():
        if type(module).__name__.endswith("Router"):
            module.register_forward_hook(keep)
    ids = torch.randint(0, 101, (8, 64), generator=torch.Generator().manual_seed(0))
    model(input_ids=ids, use_cache=False)
    model.double()(input_ids=ids, use_cache=False)
    assert len(chosen) == 2 * 4
    assert len({tuple(row) for row in chosen[0].flatten(0, -2).tolist()}) > 1
    assert all(torch.equal(single, double) for single, double in zip(chosen[:4], chosen[4:], strict=True))


def test_the_documented_table_is_the_tables_own():
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for name, about in itertools.chain.from_iterable(
        catalogues()[key].items() for key in ("models", "refused_models")
    ):
        assert f"| `{name}` | {about} |" in text
