"""A block as other libraries write it: PEFT's LoraConfig, which TRL takes, and the keys of an Axolotl file.

Knows how the settings are spelt there, not how blocks are resolved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from peft import LoraConfig

from stratalign.blocks import PartitionSettings
from stratalign.companions.confining import Block, Model, confine
from stratalign.errors import UserError


def lora_config(
    model: Model,
    block: Block,
    *,
    rank: int | None = None,
    alpha: float | None = None,
    dropout: float | None = None,
    targets: Sequence[str] | None = None,
    partition: PartitionSettings | Mapping[str, Any] | None = None,
) -> LoraConfig:
    """A LoraConfig confined to a block: on exactly the modules that a study's condition of that name would train.

    Modules are given by their full names, which PEFT cannot take for others. Of a number of layers the names are not
    known; then `layers_to_transform` confines the adapter, which suits models with one list of layers.

    Args:
        model: a loaded model, with or without adapters; a hub id or local folder, of which the configuration alone
            is read; a number of layers; or a `Recipe`, of whose conditions `block` then names one.
        block: a block of the partition ("mid"), or "full"; layers ([3, 4, "17-19"]); or what a recipe writes for
            a condition ({"random": "mid", "seed": 1}).
        rank: LoRA's rank; 16 if not given.
        alpha: LoRA's alpha; if not given, twice the rank, as in a recipe.
        dropout: LoRA's dropout; 0 if not given.
        targets: module kinds that get an adapter; if not given, those of attention (q_proj, k_proj, v_proj and o_proj
            where the model has these names, or only the number of layers is known).
        partition: how layers are divided into blocks, as in a recipe; thirds if not given.

    Raises:
        UserError: the block selects nothing, a layer or module does not exist, or a value is not allowed.
    """
    found = confine(
        model, block, rank=rank, alpha=alpha, dropout=dropout, targets=targets, partition=partition
    )
    where: dict[str, Any] = (
        {"target_modules": list(found.modules)}
        if found.modules
        else {"target_modules": list(found.targets), "layers_to_transform": list(found.layers)}
    )
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=found.rank,
        lora_alpha=_whole(found.alpha),
        lora_dropout=found.dropout,
        bias="none",
        fan_in_fan_out=found.transposed,
        **where,
    )


def axolotl_config(
    model: Model,
    block: Block,
    *,
    rank: int | None = None,
    alpha: float | None = None,
    dropout: float | None = None,
    targets: Sequence[str] | None = None,
    partition: PartitionSettings | Mapping[str, Any] | None = None,
) -> str:
    """The keys of an Axolotl configuration that confine LoRA to a block, as YAML; arguments as in `lora_config`.

    `lora_target_linear` must stay unset beside them: it would add other modules of the same layers.

    Raises:
        UserError: see `lora_config`; also when alpha is no whole number, which Axolotl asks for.
    """
    found = confine(
        model, block, rank=rank, alpha=alpha, dropout=dropout, targets=targets, partition=partition
    )
    alpha_there = _whole(found.alpha)
    if isinstance(alpha_there, float):
        raise UserError(f"Axolotl takes whole numbers for lora_alpha, got {alpha_there:g}. Give alpha.")
    keys: dict[str, Any] = {
        "adapter": "lora",
        "lora_r": found.rank,
        "lora_alpha": alpha_there,
        "lora_dropout": found.dropout,
        "lora_target_modules": list(found.targets),
        "peft_layers_to_transform": list(found.layers),
    }
    if found.layer_list is not None:
        keys["peft_layers_pattern"] = [found.layer_list.rpartition(".")[2]]
    if found.transposed:
        keys["lora_fan_in_fan_out"] = True
    return yaml.safe_dump(keys, sort_keys=False, default_flow_style=None, width=1000)


def _whole(alpha: float) -> int | float:
    """PEFT and Axolotl write alpha as a whole number; ours may be a fraction, to keep alpha / rank."""
    return int(alpha) if float(alpha).is_integer() else alpha
