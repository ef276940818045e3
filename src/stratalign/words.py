"""Words of other tools (TRL, PEFT, transformers, Axolotl, LLaMA-Factory) that a recipe may use, and what they are here.

One table: a word, the key of ours that means the same, what its values become; or why there is none and what to do.
Knows nothing of what a key does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stratalign.errors import UserError

PLACES = ("training", "model", "preferences", "generation")
"""Sections in which words are looked for, beside the top level, the conditions and `tune`."""


class Word(NamedTuple):
    """A word that means one of our keys.

    `values`, where there are any, are the only ones that it takes, and what each becomes. `remark` follows the note.
    """

    key: str
    values: Mapping[Any, Any] = {}
    remark: str = ""


_SWITCH: Mapping[Any, Any] = {True: True, False: False, "auto": "auto"}
_ALL_DEVICES = "ours is over all devices together"
_SAME_ROWS = "rows to train on; `all` for every one"

WORDS: dict[str, Word] = {
    "loss_type": Word("training.loss"),
    "pref_loss": Word("training.loss"),
    "lr": Word("training.learning_rate"),
    "lr_scheduler_type": Word("training.schedule"),
    "lr_scheduler": Word("training.schedule"),
    "warmup_ratio": Word("training.warmup"),
    "warmup_steps": Word("training.warmup"),
    "max_grad_norm": Word("training.clip"),
    "gradient_clipping": Word("training.clip"),
    "dpo_beta": Word("training.beta"),
    "pref_beta": Word("training.beta"),
    "rl_beta": Word("training.beta"),
    "dpo_label_smoothing": Word("training.label_smoothing"),
    "per_device_train_batch_size": Word("training.batch_size", remark=_ALL_DEVICES),
    "micro_batch_size": Word("training.batch_size", remark=_ALL_DEVICES),
    "gradient_accumulation_steps": Word("training.gradient_accumulation"),
    "num_train_epochs": Word("training.epochs"),
    "num_epochs": Word("training.epochs"),
    "r": Word("training.rank"),
    "lora_r": Word("training.rank"),
    "lora_rank": Word("training.rank"),
    "lora_alpha": Word("training.alpha"),
    "lora_dropout": Word("training.dropout"),
    "target_modules": Word("training.targets"),
    "lora_target": Word("training.targets"),
    "lora_target_modules": Word("training.targets"),
    "lora_target_linear": Word("training.targets", {True: ["linear"]}),
    "max_seq_length": Word("training.max_length"),
    "max_seq_len": Word("training.max_length"),
    "sequence_len": Word("training.max_length"),
    "cutoff_len": Word("training.max_length"),
    "bf16": Word(
        "training.precision", {True: "bfloat16", False: "float32", "auto": "auto", "full": "bfloat16"}
    ),
    "dtype": Word("training.precision"),
    "torch_dtype": Word("training.precision"),
    "gradient_checkpointing": Word("training.checkpointing", _SWITCH),
    "precompute_ref_log_probs": Word("training.reference", {True: "stored", False: "pass"}),
    "model_name_or_path": Word("model.base"),
    "model_name": Word("model.base"),
    "model_id": Word("model.base"),
    "base_model": Word("model.base"),
    "model_revision": Word("model.revision"),
    "adapter_name_or_path": Word("model.adapter"),
    "lora_model_dir": Word("model.adapter"),
    "load_in_4bit": Word("model.quantization", {True: "4bit", False: None}),
    "quantization_bit": Word("model.quantization", {4: "4bit"}),
    "bnb_4bit_use_double_quant": Word("model.double_quantization", {True: True, False: False}),
    "dataset": Word("preferences.source"),
    "dataset_name": Word("preferences.source"),
    "dataset_path": Word("preferences.source"),
    "dataset_config": Word("preferences.subset"),
    "dataset_config_name": Word("preferences.subset"),
    "dataset_train_split": Word("preferences.split"),
    "dataset_split": Word("preferences.split"),
    "dataset_revision": Word("preferences.revision"),
    "max_samples": Word("preferences.train", remark=_SAME_ROWS),
    "max_train_samples": Word("preferences.train", remark=_SAME_ROWS),
    "data_seed": Word("preferences.seed"),
    "max_tokens": Word("generation.max_new_tokens"),
    "max_completion_length": Word("generation.max_new_tokens"),
    "stop_sequences": Word("generation.stop"),
}
"""Word -> our key."""

VALUES: dict[str, dict[Any, Any]] = {
    "training.loss": {"dpo": "sigmoid"},
    "training.targets": {"all-linear": "linear", "all": "linear"},
    "training.schedule": {"constant_with_warmup": "constant"},
    "training.precision": {"bf16": "bfloat16", "fp32": "float32", "float": "float32", "fp64": "float64"},
    "training.clip": {0: None},
    "training.on_long": {"keep_start": "truncate"},
}
"""Our key -> values that other tools write for it, and ours."""

_LOG = "progress is printed and stored by itself"
_HELD_OUT = "preferences.held_out and preferences.validation say how many rows are set aside"
_CHECKPOINTS = "training.checkpoint_every says how often a checkpoint is written; it is deleted at the end"
_ONE_PROCESS = "all runs train in one process; CUDA_VISIBLE_DEVICES says on which GPUs"
_OWN_OPTIMIZER = "AdamW is used; training.betas and training.weight_decay are its settings"
_PLAIN_LORA = "plain LoRA is used, with training.rank, training.alpha, training.dropout and training.targets"
_NO_UPLOAD = (
    "nothing is uploaded; the study's folder holds every adapter, and `stratalign merge` writes a model"
)
_OUT = "give the study's folder on the command line, with --out"

REFUSED: dict[str, str] = {
    "output_dir": _OUT,
    "run_name": _OUT,
    "overwrite_output_dir": "a study that was interrupted continues; name a new folder with --out",
    "resume_from_checkpoint": "run the same command again, and it continues",
    "report_to": _LOG,
    "logging_steps": _LOG,
    "logging_dir": _LOG,
    "logging_strategy": _LOG,
    "wandb_project": _LOG,
    "save_steps": _CHECKPOINTS,
    "save_strategy": _CHECKPOINTS,
    "save_total_limit": _CHECKPOINTS,
    "eval_steps": "held-out rows are measured before and after training",
    "eval_strategy": "held-out rows are measured before and after training",
    "evaluation_strategy": "held-out rows are measured before and after training",
    "eval_dataset": _HELD_OUT,
    "dataset_test_split": _HELD_OUT,
    "val_size": _HELD_OUT,
    "val_set_size": _HELD_OUT,
    "datasets": "one data set makes a study; name it in preferences.source",
    "deepspeed": _ONE_PROCESS,
    "fsdp": _ONE_PROCESS,
    "fsdp_config": _ONE_PROCESS,
    "num_processes": _ONE_PROCESS,
    "per_device_eval_batch_size": "generation.batch_size is for answers; held-out rows are packed by themselves",
    "max_steps": "training.epochs and preferences.train say how long training is",
    "max_prompt_length": "training.max_length is for prompt and response together, training.on_long for longer rows",
    "truncation_mode": "training.on_long says what becomes of longer rows: drop or truncate",
    "num_generations": "one answer is sampled for each held-out prompt, run and seed; list more `seeds`",
    "fp16": "training.precision is bfloat16, float32 or float64",
    "tf32": "training.precision is bfloat16, float32 or float64",
    "load_in_8bit": "model.quantization: 4bit is the only one",
    "optim": _OWN_OPTIMIZER,
    "optimizer": _OWN_OPTIMIZER,
    "adam_beta1": "training.betas holds both, such as [0.9, 0.999]",
    "adam_beta2": "training.betas holds both, such as [0.9, 0.999]",
    "rpo_alpha": "training.nll is the weight of the chosen response's log-likelihood per token",
    "pref_ftx": "training.nll is the weight of the chosen response's log-likelihood per token",
    "use_peft": _PLAIN_LORA,
    "finetuning_type": _PLAIN_LORA,
    "peft_type": _PLAIN_LORA,
    "use_rslora": _PLAIN_LORA,
    "use_dora": _PLAIN_LORA,
    "init_lora_weights": _PLAIN_LORA,
    "modules_to_save": _PLAIN_LORA,
    "layers_to_transform": 'a condition names its layers, such as {layers: "8-15"}',
    "peft_layers_to_transform": 'a condition names its layers, such as {layers: "8-15"}',
    "ref_model": "the reference is the base, with model.adapter if there is one",
    "ref_model_name_or_path": "the reference is the base, with model.adapter if there is one",
    "rl": "training.loss says how preferences are learned",
    "stage": "training.loss says how preferences are learned",
    "trust_remote_code": "code from a model is never run",
    "attn_implementation": "the kernel of attention is chosen by itself",
    "flash_attention": "the kernel of attention is chosen by itself",
    "packing": "rows are packed without padding by themselves",
    "sample_packing": "rows are packed without padding by themselves",
    "dataloader_num_workers": "rows are tokenised before training",
    "remove_unused_columns": "columns that are not needed are not read",
    "push_to_hub": _NO_UPLOAD,
    "hub_model_id": _NO_UPLOAD,
    "do_train": "`stratalign train` trains, `stratalign study` does everything",
    "do_eval": "`stratalign train` trains, `stratalign study` does everything",
}
"""Word -> what is done here in its place."""


def advice(word: str) -> str:
    """A sentence on a word that a recipe cannot use, or nothing.

    >>> advice("output_dir")
    "Give the study's folder on the command line, with --out."
    """
    told = REFUSED.get(_spelt(word), "")
    return f"{told[0].upper()}{told[1:]}." if told else ""


def in_our_words(
    written: Mapping[str, Any], own: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A recipe with the words of other tools replaced by ours, and a note on each.

    Args:
        written: the recipe; it is not changed.
        own: the keys that we have ourselves, of the top level ("") and of each section.

    Raises:
        UserError: a word that has no key here, a value that a word does not take, or a word and our key for the same.
    """
    recipe = dict(written)
    notes: list[str] = []
    moved: list[tuple[str, str, Any]] = []
    for place in ("", *PLACES):
        section = recipe if not place else recipe.get(place)
        if not isinstance(section, Mapping):
            continue
        kept = {}
        for name, value in section.items():
            path = f"{place}.{name}" if place else name
            if name in own[place]:
                kept[name] = _value(path, value, notes)
            elif (found := _read(path, name, value, notes)) is not None:
                moved.append((path, *found))
            else:
                kept[name] = value
        recipe = kept if not place else {**recipe, place: kept}
    for path, key, value in moved:
        _put(recipe, path, key, value)
    for key in ("conditions", "tune"):
        if key in recipe:
            recipe[key] = _conditions(key, recipe[key], own["training"], notes)
    return recipe, tuple(dict.fromkeys(notes))


def _spelt(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def _read(path: str, name: object, value: Any, notes: list[str]) -> tuple[str, Any] | None:
    """Our key and value for a word; None if it is not one."""
    if not isinstance(name, str):
        return None
    told = advice(name)
    if told:
        raise UserError(f"Unknown key {path!r}. {told}")
    word = WORDS.get(_spelt(name))
    if word is None:
        return None
    said = f"`{path}` is read as `{word.key}`"
    if word.values:
        if isinstance(value, (list, dict)) or value not in word.values:
            known = ", ".join(map(_shown, word.values))
            raise UserError(f"{path} is read as {word.key} and takes {known}, got {value!r}.")
        said += f": {_shown(word.values[value])}"
        value = word.values[value]
    if word.key == "training.epochs" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if word.key == "training.targets" and isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    notes.append(said + (f"; {word.remark}" if word.remark else "") + ".")
    return word.key, _value(word.key, value, notes)


def _value(key: str, value: Any, notes: list[str]) -> Any:
    """A value of one of our keys; one that other tools write becomes ours."""
    known = VALUES.get(key)
    if known is None:
        return value
    if isinstance(value, list):
        return [_value(key, one, notes) for one in value]
    if isinstance(value, (dict, bool)) or value is None or value not in known:
        return value
    notes.append(f"`{key}: {_shown(value)}` is read as `{_shown(known[value])}`.")
    return known[value]


def _conditions(path: str, written: Any, own: Sequence[str], notes: list[str]) -> Any:
    """Conditions, in which training keys may stand as words too."""
    if isinstance(written, list):
        return [_conditions(path, one, own, notes) if isinstance(one, dict) else one for one in written]
    if not isinstance(written, dict):
        return written
    if path == "tune":
        return _settings(path, written, own, notes)
    return {
        name: _settings(f"{path}.{name}", one, own, notes) if isinstance(one, dict) else one
        for name, one in written.items()
    }


def _settings(path: str, written: dict[Any, Any], own: Sequence[str], notes: list[str]) -> dict[Any, Any]:
    kept: dict[Any, Any] = {}
    moved: list[tuple[str, str, Any]] = []
    for name, value in written.items():
        found = None if name in own else _read(f"{path}.{name}", name, value, notes)
        section, _, key = (found[0] if found else "").partition(".")
        if name == "tune" and isinstance(value, dict):
            kept[name] = _settings(f"{path}.tune", value, own, notes)
        elif found is None:
            kept[name] = _value(f"training.{name}", value, notes)
        elif section == "training":
            moved.append((f"{path}.{name}", key, found[1]))
        else:
            raise UserError(
                f"{path}.{name} cannot differ between conditions. Set {found[0]} for all of them."
            )
    for word, key, value in moved:
        _put(kept, word, key, value)
    return kept


def _put(recipe: dict[str, Any], word: str, key: str, value: Any) -> None:
    """Write a value at our key, which must be free."""
    *parents, last = key.split(".")
    place = recipe
    for name in parents:
        below = place.get(name)
        if name == "model" and isinstance(below, str):
            below = {"base": below}
        if below is not None and not isinstance(below, dict):
            raise UserError(
                f"{word} is read as {key}, but {name} is {below!r:.80}, which has no keys below it."
            )
        place[name] = below = dict(below or {})
        place = below
    if last in place:
        raise UserError(f"{word} is read as {key}, which is given as well. Keep one of them.")
    place[last] = value


def _shown(value: object) -> str:
    """A value as YAML has it."""
    if value is None or isinstance(value, bool):
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)
