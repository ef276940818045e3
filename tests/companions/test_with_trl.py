"""The callback in stock TRL trainers: what it changes, what it must not change, and mistakes that it must catch."""

import json
from collections import Counter

import pytest
import torch

import stratalign as sa
from stratalign.errors import StudyFailure, UserError
from tiny_models import make_tokenizer, random_model

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),
]  # TRL, PEFT and transformers warn at each other

MARKER = "\n\nAssistant:"


@pytest.fixture
def pairs(transcripts):
    """Short pairs from the shipped transcripts."""
    rows = [json.loads(line) for line in transcripts.read_text(encoding="utf-8").splitlines()]
    found = []
    for row in rows[:24]:
        prompt, _, chosen = row["chosen"].rpartition(MARKER)
        rejected = row["rejected"].rpartition(MARKER)[2]
        found.append({"prompt": prompt[-40:] + MARKER, "chosen": chosen[:40], "rejected": rejected[:50]})
    return found


@pytest.fixture
def dpo(pairs, tmp_path):
    """`dpo("mid", callbacks=[...])`: a stock DPOTrainer on 12 random layers, checkpointing on, six steps."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    def make(config, callbacks=(), reentrant=False):
        tokenizer = make_tokenizer()
        torch.manual_seed(0)
        model = random_model("llama", 12, len(tokenizer))
        settings = DPOConfig(
            gradient_checkpointing_kwargs={"use_reentrant": True} if reentrant else None,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=1,
            **common(tmp_path),
        )
        assert settings.gradient_checkpointing  # TRL's default
        return DPOTrainer(
            model=model,
            args=settings,
            train_dataset=Dataset.from_list(pairs),
            processing_class=tokenizer,
            peft_config=sa.lora_config(model, config, rank=4) if isinstance(config, str) else config,
            callbacks=list(callbacks),
        )

    return make


def common(folder):
    return {
        "output_dir": str(folder),
        "max_steps": 6,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }


def layers_of(trainer):
    return trainer.model.get_base_model().model.layers


def watched(trainer):
    """Train, counting for each layer how often a gradient reached its output and how often it was recomputed."""
    passed, recomputed = Counter(), Counter()
    inside = False
    stock = trainer.accelerator.backward

    def backward(*args, **kwargs):
        nonlocal inside
        inside = True
        stock(*args, **kwargs)
        inside = False

    trainer.accelerator.backward = backward
    for number, layer in enumerate(layers_of(trainer)):

        def arrives(_module, _inputs, output, number=number):
            if output.requires_grad:
                output.register_hook(lambda _grad: passed.update([number]))

        def runs(_module, _inputs, number=number):
            if inside:
                recomputed.update([number])

        layer.register_forward_hook(arrives)
        layer.input_layernorm.register_forward_pre_hook(
            runs
        )  # checkpointing calls what is inside of a layer again
    trainer.train()
    return passed, recomputed


def curve(trainer):
    steps = [line for line in trainer.state.log_history if "grad_norm" in line]
    return [line[key] for key in ("loss", "grad_norm") for line in steps]


def embedding_hooks(trainer):
    return len(trainer.model.get_base_model().get_input_embeddings()._forward_hooks)


@pytest.mark.parametrize(("block", "trained"), [("mid", range(4, 8)), ("global", range(8, 12))])
def test_backward_and_recomputation_stop_at_the_block_and_nothing_else_changes(block, trained, dpo):
    stock, guard = dpo(block), sa.BlockCallback(block)
    guarded = dpo(block, [guard])
    every = dict.fromkeys(range(12), 6)
    assert watched(stock) == (every, every)
    passed, recomputed = watched(guarded)
    down_to_block = dict.fromkeys(range(min(trained), 12), 6)
    assert (passed, recomputed) == (down_to_block, down_to_block)
    assert len(curve(stock)) == 12
    assert curve(guarded) == pytest.approx(curve(stock), rel=1e-6)
    assert curve(stock)[5] != curve(stock)[0]  # it did train
    assert guard.proof.proven
    assert (guard.proof.layers, guard.proof.backward) == (tuple(trained), f"stopped at layer {min(trained)}")
    # stock TRL adds a hook with every reference pass: two at the beginning, one in each of six steps
    assert (embedding_hooks(stock), embedding_hooks(guarded)) == (8, 0)


def test_reentrant_checkpointing_is_left_alone(dpo):
    guard = sa.BlockCallback("global")
    stock, guarded = dpo("global", reentrant=True), dpo("global", [guard], reentrant=True)
    every = dict.fromkeys(range(12), 6)
    assert watched(guarded)[1] == every
    stock.train()
    assert curve(guarded) == curve(stock)
    assert guard.proof.proven
    assert "reentrant" in guard.proof.backward


def test_an_adapter_on_a_wrong_layer_is_caught_before_the_first_step(dpo):
    wrong = sa.lora_config(12, [4, 5, 6, 8], rank=4)
    trainer = dpo(wrong, [sa.BlockCallback("mid")])
    with pytest.raises(UserError, match=r"layers\.8\..*is outside.*layers\.7\..*has no adapter"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_an_unfrozen_norm_is_caught_before_the_first_step(dpo):
    trainer = dpo("mid", [sa.BlockCallback("mid")])
    layers_of(trainer)[5].input_layernorm.weight.requires_grad_(True)
    with pytest.raises(
        UserError, match=r"layers\.5\.input_layernorm\.weight would train and is no LoRA tensor"
    ):
        trainer.train()


def test_an_adapter_without_a_gradient_is_caught_in_the_first_steps(dpo):
    trainer = dpo("mid", [sa.BlockCallback("mid", within=3)])
    v = layers_of(trainer)[6].self_attn.v_proj
    v.forward = v.base_layer.forward  # trainable, held by the optimizer, and never used
    with pytest.raises(
        StudyFailure, match=r"layers\.6\.self_attn\.v_proj\.lora_A.*no nonzero gradient in 3 steps"
    ):
        trainer.train()


def test_sft_with_plain_text_works_the_same(pairs, tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    def make(callbacks):
        tokenizer = make_tokenizer()
        torch.manual_seed(0)
        model = random_model("llama", 12, len(tokenizer))
        return SFTTrainer(
            model=model,
            args=SFTConfig(per_device_train_batch_size=4, **common(tmp_path)),
            train_dataset=Dataset.from_list([{"text": row["prompt"] + row["chosen"]} for row in pairs]),
            processing_class=tokenizer,
            peft_config=sa.lora_config(model, "global", rank=4),
            callbacks=callbacks,
        )

    guard = sa.BlockCallback("global")
    stock, guarded = make([]), make([guard])
    every, block = (dict.fromkeys(layers, 6) for layers in (range(12), range(8, 12)))
    assert watched(stock) == (every, every)
    assert watched(guarded) == (block, block)
    assert curve(guarded) == pytest.approx(curve(stock), rel=1e-6)
    assert guard.proof.proven
