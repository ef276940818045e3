"""A base in 4 bits: what its modules compute, gates on its adapters, merging, and what is refused."""

import json

import pytest
import torch
from torch import nn

import stratalign as sa
from cli.command_line import refusal, write_recipe
from stratalign.diagnostics.gates import gate_slopes
from stratalign.diagnostics.significance import SignificanceSettings, learn_scores
from stratalign.engine import JointEngine
from stratalign.errors import UserError
from stratalign.losses import Objective, preference_loss
from stratalign.models import (
    AdapterBank,
    AdapterSpec,
    ModelSettings,
    inspect_model,
    list_sites,
    load_model,
    merge,
    quantized,
    tapped,
    weight_norm,
    weights_digest,
)
from stratalign.models.loading import load_stock
from stratalign.models.quantized import is_quantized, plain_weight
from tiny_models import make_tokenizer, random_model
from training.joint_setups import make_trees

DPO = Objective(beta=0.5)
CPU = {"dtype": torch.float32, "device": torch.device("cpu")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Llama whose weights fill whole blocks of 64."""
    pytest.importorskip("bitsandbytes")
    made = tmp_path_factory.mktemp("llama-64")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    model = random_model("llama", 3, len(tokenizer), hidden_size=64, intermediate_size=128, head_dim=16)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    return made


def adapted(folder, double=False):
    """The model in 4 bits with a trained-looking adapter on every linear module, and its engine."""
    settings = ModelSettings(base=str(folder), quantization="4bit", double_quantization=double)
    loaded = load_model(settings, **CPU)
    names = [site.name for site in list_sites(loaded.model)]
    bank = AdapterBank(loaded.model)
    bank.attach(AdapterSpec("r", tuple(names), 3, 6))
    for p in bank.parameters("r").values():
        p.data.normal_(std=0.1)
    return loaded, names, JointEngine(loaded.anatomy, bank, {"r": 0})


@pytest.mark.parametrize("double", [False, True])
def test_modules_compute_with_the_weights_that_their_codes_stand_for(folder, double):
    settings = ModelSettings(base=str(folder), quantization="4bit", double_quantization=double)
    loaded = load_model(settings, **CPU)
    assert loaded.replay_difference == 0
    stored = dict(load_stock(ModelSettings(base=str(folder)), **CPU).named_modules())
    for site in list_sites(loaded.model):
        module = loaded.model.get_submodule(site.name)
        assert is_quantized(module)
        weight = plain_weight(module)
        assert torch.allclose(module(torch.eye(site.in_features)), weight.t(), atol=1e-6)
        assert weight_norm(loaded.model, site.name) == pytest.approx(weight.double().norm().item())
        # NF4 of normal weights: the root mean square error is about a tenth of their standard deviation
        error = (weight - stored[site.name].weight).norm() / weight.norm()
        assert 0.05 < error < 0.15
    assert not is_quantized(loaded.model.get_input_embeddings())
    assert not is_quantized(loaded.model.lm_head)


def test_a_score_gradient_is_the_derivative_of_the_sigmoid_times_gradient_times_update(folder):
    """dL/dW of the effective weight by taps, all but the codes' own products in float64."""
    loaded, names, engine = adapted(folder)
    for module in loaded.model.modules():
        if not is_quantized(module):
            for p in module.parameters(recurse=False):
                p.data = p.data.double()
    trees = make_trees(6)
    settings = SignificanceSettings(steps=2, batch=6)
    learned = learn_scores(engine, "r", names, trees, DPO, settings)
    gate = torch.sigmoid(torch.tensor(settings.start, dtype=torch.float64)).item()
    gradients = {}

    def receive(name, inputs, slopes):
        gradients[name] = slopes.t() @ inputs

    batch = engine.collate(trees)
    passed = engine.base(batch)
    passed.captured.hidden[0].requires_grad_()
    gated = engine.bank.gated("r", dict.fromkeys(names, gate))
    with tapped(loaded.model, names, receive), engine.active("r", frozenset()), gated:
        policy = engine.forward(batch, "r", passed)
        preference_loss(policy, passed.reference, batch.lengths(), DPO).loss.mean().backward()
    for i, name in enumerate(names):
        update = loaded.model.get_submodule(name).get_delta_weight("run:r")
        expected = gate * (1 - gate) * (gradients[name] * update).sum().item()
        assert learned.gradients[0][i] == pytest.approx(expected, rel=1e-6), name


@pytest.mark.parametrize("double", [False, True])
def test_nothing_moves_but_the_scores_and_the_digest_sees_the_scales(folder, double):
    loaded, names, engine = adapted(folder, double)
    before = weights_digest(loaded.model)
    learn_scores(engine, "r", names, make_trees(6), DPO, SignificanceSettings(steps=2, batch=3))
    gates = torch.full((len(names),), 0.5, dtype=torch.float64)
    assert gate_slopes(engine, "r", names, gates, make_trees(2), DPO).abs().min() > 0
    assert weights_digest(loaded.model) == before
    state = loaded.model.get_submodule(names[0]).get_base_layer().weight.quant_state
    scale = (state.state2 if double else state).absmax
    scale[0] = torch.nextafter(scale[0], torch.tensor(9.0))
    assert weights_digest(loaded.model) != before


def test_an_evaluation_leaves_the_codes_where_a_processor_would_reorder_them(folder, monkeypatch):
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    loaded = load_stock(ModelSettings(base=str(folder), quantization="4bit"), **CPU).eval()
    before = weights_digest(loaded)
    with torch.no_grad():
        loaded(input_ids=torch.arange(8)[None])
    assert weights_digest(loaded) == before


def test_a_merged_model_is_what_was_trained_and_plain(folder, tmp_path):
    loaded, _, engine = adapted(folder, double=True)
    notes = {
        "model": ModelSettings(base=str(folder), quantization="4bit", double_quantization=True).model_dump()
    }
    engine.bank.save("r", tmp_path / "adapter", str(folder), None, notes)
    ids = torch.arange(20)[None] + 7
    with torch.no_grad(), engine.active("r"):
        expected = loaded.model(input_ids=ids).logits
    merged = load_stock(ModelSettings(base=str(merge(tmp_path / "adapter", tmp_path / "merged"))), **CPU)
    assert torch.allclose(merged(input_ids=ids).logits, expected, atol=1e-4)
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    plain = nn.Linear
    assert all(type(merged.get_submodule(site.name)) is plain for site in list_sites(merged))


def test_both_diagnoses_and_a_training_run_on_it_and_are_proven(folder, transcripts, tmp_path):
    file = write_recipe(
        tmp_path / "recipe.yaml",
        folder,
        transcripts,
        preferences={"train": 12, "validation": 4, "held_out": 4},
        conditions=["base", "mid"],
        training={"batch_size": 2, "epochs": 1, "learning_rate": 1e-2},
        diagnostics={"gradients": {"pairs": 12, "chunks": 4}, "significance": {"steps": 2, "batch": 4}},
        generation={"max_new_tokens": 4, "batch_size": 4},
    )
    out, change = tmp_path / "out", ["model.quantization=4bit"]
    found = sa.diagnose("significance", file, change, out).record
    assert len(found["modules"]) == 21
    assert found["losses"]["mean"]["trained"] != found["losses"]["mean"]["base"]
    (source,) = sa.diagnose("gradients", file, change, out).record["sources"].values()
    assert len(source["losses"]["sigmoid"]["modules"]) == 21
    sa.train(file, change, out)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["runs"]["mid"]["proof"]["proven"]
    assert manifest["model"]["quantization"] == "4bit"
    at = (file, "--set", *change, "--out", out)
    assert "--set model.quantization=null" in refusal("diagnose", "significance", *at, "--tuned", folder)


def test_what_cannot_be_held_in_4_bits_is_refused(folder, make_model, monkeypatch, tmp_path):
    def settings(base, **more):
        return ModelSettings(base=str(base), quantization="4bit", **more)

    with pytest.raises(UserError, match="keeps its weights transposed"):
        inspect_model(settings(make_model("gpt2", layers=3)))
    loaded, _, engine = adapted(folder)
    engine.bank.save("r", tmp_path / "sft", str(folder), None, {})
    with pytest.raises(UserError, match=r"Merge it first \(`stratalign merge"):
        inspect_model(settings(folder, adapter=str(tmp_path / "sft")))
    with pytest.raises(UserError, match=r"Set training\.precision: float32"):
        load_stock(settings(folder), dtype=torch.float64, device=torch.device("cpu"))
    loaded.model.save_pretrained(tmp_path / "stored")
    with pytest.raises(UserError, match="are stored quantised by bitsandbytes"):
        inspect_model(ModelSettings(base=str(tmp_path / "stored")))
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"needs bitsandbytes and accelerate. Install it with `pip install 'stratalign"
    ):
        inspect_model(settings(folder))


def test_a_base_in_full_precision_is_written_as_before():
    assert list(ModelSettings(base="x").model_dump()) == ["base", "revision", "adapter"]
    assert (
        ModelSettings(base="x", quantization="4bit").model_dump(mode="json")["double_quantization"] is False
    )
