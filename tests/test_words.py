"""Words of TRL, PEFT, Axolotl and LLaMA-Factory in a recipe: read as ours with a note, or refused with what to do."""

import pytest

from stratalign.errors import UserError
from stratalign.recipe import change_key, load_recipe, parse_recipe
from stratalign.words import REFUSED, WORDS

PLAIN = {"model": "some/model", "preferences": {"source": "pairs.jsonl"}}


def test_a_recipe_in_the_words_of_trl_and_peft_means_what_they_mean_by_them():
    read = parse_recipe(
        {
            "model_name_or_path": "some/model",
            "dataset_name": "some/pairs",
            "loss_type": "dpo",
            "training": {"lr": 5e-6, "per_device_train_batch_size": 2, "bf16": True, "max_grad_norm": 0},
            "gradient_accumulation_steps": 8,
            "num_train_epochs": 3.0,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": 0.1,
            "gradient_checkpointing": True,
            "lora_r": 8,
            "lora_alpha": 16,
            "lora_dropout": 0.05,
            "target_modules": "all-linear",
        }
    )
    assert (read.model.base, read.preferences.source) == ("some/model", "some/pairs")
    ours = read.training
    assert (ours.loss, ours.learning_rate, ours.batch_size, ours.gradient_accumulation) == (
        "sigmoid",
        5e-6,
        2,
        8,
    )
    assert (ours.epochs, ours.schedule, ours.warmup, ours.clip) == (3, "cosine", 0.1, None)
    assert (ours.precision, ours.checkpointing) == ("bfloat16", True)
    assert (ours.rank, ours.alpha, ours.dropout, ours.targets) == (8, 16, 0.05, ["linear"])
    assert "`lora_r` is read as `training.rank`." in read.notes
    assert "`training.bf16` is read as `training.precision`: bfloat16." in read.notes
    assert (
        "`training.per_device_train_batch_size` is read as `training.batch_size`; ours is over all devices together."
        in read.notes
    )
    assert len(set(read.notes)) == len(read.notes)


def test_a_recipe_in_our_words_has_no_notes_and_is_not_changed():
    written = {**PLAIN, "training": {"rank": 8, "targets": ["linear"]}, "conditions": ["base", "mid"]}
    assert parse_recipe(written).notes == ()
    assert written == {**PLAIN, "training": {"rank": 8, "targets": ["linear"]}, "conditions": ["base", "mid"]}


def test_conditions_and_grids_may_use_the_words_too():
    read = parse_recipe(
        {
            **PLAIN,
            "conditions": [
                "base",
                {"mid": {"block": "mid", "lr": [1e-5, 2e-5], "loss_type": "dpo"}},
                {"full": {"block": "full", "tune": {"lora_r": [4, 8]}}},
            ],
        }
    )
    named = {spec.name: spec for spec in read.specs()}
    assert set(named) == {"base", "mid-1e-05", "mid-2e-05", "full"}
    assert named["mid-2e-05"].overrides == {"learning_rate": 2e-5, "loss": "sigmoid"}
    assert named["full"].tune.values == {"rank": (4, 8)}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            {"lora_r": 8, "training": {"rank": 4}},
            "lora_r is read as training.rank, which is given as well. Keep one",
        ),
        ({"training": {"r": 8, "lora_rank": 8}}, "which is given as well"),
        ({"model_name_or_path": "other"}, "is read as model.base, which is given as well"),
        (
            {"output_dir": "out"},
            "Unknown key 'output_dir'. Give the study's folder on the command line, with --out.",
        ),
        (
            {"training": {"report_to": "wandb"}},
            "Unknown key 'training.report_to'. Progress is printed and stored",
        ),
        ({"training": {"num_generations": 4}}, "list more `seeds`."),
        ({"deepspeed": "zero3.json"}, "All runs train in one process"),
        ({"bf16": "yes"}, "bf16 is read as training.precision and takes true, false, auto, full, got 'yes'."),
        (
            {"conditions": {"mid": {"block": "mid", "num_train_epochs": 2}}},
            "conditions.mid.epochs",
        ),
        ({"conditions": {"mid": {"block": "mid", "base_model": "x"}}}, "cannot differ between conditions"),
        ({"training": 5, "lora_r": 8}, "training is 5, which has no keys below it"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_do(written, told):
    with pytest.raises(UserError) as refused:
        parse_recipe({**PLAIN, **written})
    assert told in str(refused.value).replace("conditions.mid 'epochs'", "conditions.mid.epochs")


def test_set_takes_the_words_and_changes_what_the_recipe_has(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("model_name_or_path: some/model\npreferences: {source: p.jsonl}\ntraining: {lora_r: 8}\n")
    read = load_recipe(file, ["lora_r=4", "training.lr=2e-5", "base_model=other/model", "load_in_4bit=true"])
    assert (read.training.rank, read.training.learning_rate) == (4, 2e-5)
    assert (read.model.base, read.model.quantization) == ("other/model", "4bit")
    assert "`training.lora_r` is read as `training.rank`." in read.notes
    with pytest.raises(UserError, match="Unknown key 'training\\.save_steps'"):
        load_recipe(file, ["training.save_steps=10"])


def test_a_change_in_our_words_replaces_a_mapping_as_a_whole():
    written = {**PLAIN, "partition": {"method": "even", "blocks": 2}}
    change_key(written, "partition={method: explicit}")
    assert written["partition"] == {"method": "explicit"}


def test_every_word_means_a_key_that_a_recipe_has_and_none_is_a_key_itself():
    written = parse_recipe(PLAIN).model_dump()
    for word, meant in WORDS.items():
        section, _, key = meant.key.partition(".")
        assert key in written[section] or key in ("quantization", "double_quantization"), word
        assert word not in written
        assert word not in REFUSED
    for word in REFUSED:
        assert word not in written
        assert all(word not in section for section in written.values() if isinstance(section, dict)), word
