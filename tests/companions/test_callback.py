"""The callback driven by hand through a few steps of a tiny model: what it lets pass, and planted mistakes."""

import json
import logging
from types import SimpleNamespace

import pytest
import torch
from peft import get_peft_model

import stratalign as sa
from stratalign.companions import callback
from stratalign.errors import StudyFailure, UserError
from stratalign.models import hushed
from tiny_models import random_model

STATE = SimpleNamespace(is_world_process_zero=True)
IDS = torch.arange(20).reshape(2, 10)


@pytest.fixture
def args(tmp_path):
    return SimpleNamespace(deepspeed_plugin=None, fsdp=None, output_dir=str(tmp_path))


def adapted(block="mid", **choices):
    torch.manual_seed(0)
    model = random_model("llama", 6, 101)
    with hushed():
        return get_peft_model(model, sa.lora_config(model, block, rank=4, **choices)).train()


def checkpointed(model, reentrant):
    """As trainers do it: each call adds a hook to the embedding."""
    base = model.get_base_model()
    with hushed():
        for _ in range(2):
            base.gradient_checkpointing_enable({"use_reentrant": reentrant})
    return model


def hooks(model):
    return len(model.get_base_model().get_input_embeddings()._forward_hooks)


def train(guard, model, args, *, steps=3, rate=0.1, optimizer=None, spoil=lambda step: None):
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = optimizer or torch.optim.SGD(trainable, rate)
    guard.on_train_begin(args, STATE, None, model=model, optimizer=optimizer)
    for step in range(steps):
        spoil(step)
        model(input_ids=IDS, labels=IDS).loss.backward()
        guard.on_pre_optimizer_step(args, STATE, None, model=model)
        optimizer.step()
        model.zero_grad()
    guard.on_train_end(args, STATE, None, model=model)
    return guard.proof


def test_the_proof_says_what_trained_and_lies_in_the_output_folder(args, tmp_path):
    proof = train(sa.BlockCallback("mid"), adapted(), args)
    assert proof.proven
    assert proof.layers == (2, 3)
    # q, k, v and o of two layers, A and B of each; rank 4 on 32 + 32 (q, o) and 32 + 16 (k, v) features
    assert (len(proof.modules), proof.tensors, proof.parameters) == (8, 16, 4 * 2 * (2 * 64 + 2 * 48))
    assert (proof.steps, proof.without_gradient, proof.backward) == (3, (), "stopped at layer 2")
    written = json.loads((tmp_path / "targeting.json").read_text())
    assert written["proven"] is True
    assert tuple(written["modules"]) == proof.modules


@pytest.mark.parametrize("block", [[0, "4-5"], {"random": 2, "seed": 1}, "full"])
def test_the_callback_takes_every_block_that_the_configuration_takes(block, args):
    choices = {"targets": ["q_proj", "down_proj"]}
    proof = train(sa.BlockCallback(block, **choices), adapted(block, **choices), args)
    assert proof.proven
    assert len(proof.modules) == 2 * len(proof.layers)


def test_one_step_is_no_proof_because_a_has_no_gradient_while_b_is_zero(args, caplog):
    proof = train(sa.BlockCallback("mid"), adapted(), args, steps=1)
    assert not proof.proven
    assert len(proof.without_gradient) == 8
    assert all(".lora_A." in name for name in proof.without_gradient)
    assert "Not proven" in caplog.text


def test_embedding_hooks_go_and_none_comes_back_while_training(args):
    model = checkpointed(adapted(), reentrant=False)
    assert hooks(model) == 2

    def again(step):
        model.enable_input_require_grads()
        assert hooks(model) == 0

    proof = train(sa.BlockCallback("mid"), model, args, spoil=again)
    assert proof.proven
    assert proof.backward == "stopped at layer 2"
    model.enable_input_require_grads()  # after training the model is its own again
    assert hooks(model) == 1


@pytest.mark.parametrize("settings", [{"use_reentrant": True}, {"preserve_rng_state": False}])
def test_reentrant_checkpointing_keeps_its_hooks_and_the_user_is_told(settings, args, caplog):
    model = checkpointed(adapted(), reentrant=True)
    with hushed():
        # what says nothing of reentrance is left alone, too
        model.get_base_model().gradient_checkpointing_enable(settings)
    with caplog.at_level(logging.WARNING):
        sa.BlockCallback("mid").on_train_begin(args, STATE, None, model=model)
    assert hooks(model) == 3
    assert "set gradient_checkpointing_kwargs={'use_reentrant': False}" in caplog.text


def test_with_reentrant_checkpointing_the_block_still_trains(args):
    proof = train(sa.BlockCallback("mid"), checkpointed(adapted(), reentrant=True), args)
    assert proof.proven
    assert proof.backward == "ran to the embedding, as reentrant checkpointing needs"


def test_a_gradient_that_flows_below_the_block_is_told(args):
    model = adapted()
    embedding = model.get_base_model().get_input_embeddings()
    embedding.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_(True))
    assert train(sa.BlockCallback("mid"), model, args).backward == "ran to the embedding"


def plant_norm(model):
    model.get_base_model().model.norm.weight.requires_grad_(True)


def plant_frozen(model):
    model.get_base_model().model.layers[3].self_attn.v_proj.lora_A.requires_grad_(False)


@pytest.mark.parametrize(
    ("block", "plant", "said"),
    [
        ([2, 3, 4], None, "model.layers.4.self_attn.k_proj, .* and 1 more has an adapter and is outside"),
        ([2], None, r"model.layers.3.self_attn.q_proj, .* is in the block and has no adapter that trains"),
        ("global", None, "is outside of the block.*is in the block and has no adapter"),
        (
            "mid",
            plant_norm,
            "^What would train is not the block: model.norm.weight would train and is no LoRA",
        ),
        ("mid", plant_frozen, "block: model.layers.3.self_attn.v_proj is in the block and has no adapter"),
    ],
)
def test_what_would_train_beside_the_block_is_named_before_training(block, plant, said, args):
    model = adapted(block)
    if plant:
        plant(model)
    with pytest.raises(UserError, match=said):
        train(sa.BlockCallback("mid"), model, args)


def test_an_optimizer_that_was_made_too_early_is_refused(args):
    model = adapted()
    early = torch.optim.SGD([p for p in model.parameters() if not p.requires_grad], 0.1)
    with pytest.raises(
        UserError, match=r"The optimizer does not hold model.layers.2.self_attn.q_proj.lora_A"
    ):
        train(sa.BlockCallback("mid"), model, args, optimizer=early)


def test_an_adapter_that_the_forward_pass_does_not_use_stops_the_training(args):
    model = checkpointed(adapted(), reentrant=False)
    o = model.get_base_model().model.layers[3].self_attn.o_proj
    o._disable_adapters = True  # its tensors stay trainable, so that only the gradients can tell
    said = (
        r"Block 2-3: model.layers.3.self_attn.o_proj.lora_A.default.weight, .*lora_B.* had no .* in 5 steps"
    )
    with pytest.raises(StudyFailure, match=said):
        train(sa.BlockCallback("mid"), model, args, steps=9)
    model.enable_input_require_grads()
    assert hooks(model) == 1  # what was taken away can come back


def test_a_learning_rate_of_zero_stops_the_training(args):
    with pytest.raises(StudyFailure, match="is the learning rate above 0"):
        train(sa.BlockCallback("mid", within=3), adapted(), args, rate=0.0, steps=4)


def test_a_gradient_elsewhere_stops_the_training_in_any_step(args):
    model = adapted()

    def thaw(step):
        if step == 7:
            plant_norm(model)

    with pytest.raises(StudyFailure, match=r"model.norm.weight, outside of the block, .* gradient in step 8"):
        train(sa.BlockCallback("mid"), model, args, steps=9, spoil=thaw)


@pytest.mark.parametrize(
    ("grad", "counts"),
    [(None, False), ([0, 0], False), ([1, torch.inf], False), ([torch.nan, 1], False), ([0, 1], True)],
)
def test_a_gradient_counts_when_it_is_nonzero_and_finite(grad, counts):
    p = torch.nn.Parameter(torch.zeros(2))
    p.grad = None if grad is None else torch.tensor(grad, dtype=torch.float32)
    assert callback._has_gradient(p) is counts


@pytest.mark.parametrize("sharded", [{"fsdp": "full_shard"}, {"deepspeed_plugin": object()}])
def test_sharded_training_is_refused(sharded, args):
    with pytest.raises(UserError, match="Train without the callback"):
        train(sa.BlockCallback("mid"), adapted(), SimpleNamespace(**{**vars(args), **sharded}))


def test_two_steps_are_too_few_to_wait_for_a_gradient():
    with pytest.raises(UserError, match="at least 3"):
        sa.BlockCallback("mid", within=2)
