"""A block, as a study of ours would train it, for trainers that are not ours: exact modules and LoRA's settings.

The block becomes a condition of a recipe and is resolved as every condition is, so that a name means the same layers
and modules here and there. Knows nothing of other libraries' settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from peft import PeftModel
from transformers import PreTrainedModel

from stratalign.blocks import PartitionSettings, Site, partition
from stratalign.errors import UserError, unknown_name
from stratalign.models import ModelShape, inspect_model, list_sites
from stratalign.pipeline.resolving import resolve_runs, resolve_tuned
from stratalign.recipe import Recipe, parse_recipe
from stratalign.training import OVERRIDE_KEYS, Run

Model: TypeAlias = PreTrainedModel | PeftModel | Recipe | str | Path | int
"""A loaded model; a hub id or local folder, of which the configuration alone is read; a number of layers; or a recipe,
which brings its model and partition, and of whose conditions the block is one."""

Block: TypeAlias = str | int | Sequence[int | str] | Mapping[str, Any]
"""A block of the partition, or full; layers such as 3 or [3, 4, "17-19"]; or what a recipe writes for a condition."""

NAME = "chosen"
"""The condition's name in error messages, where the user gave none."""

LORA_KEYS = ("rank", "alpha", "dropout", "targets")
TRAINERS_KEYS = ("phases", "labels", "sampling_seed", *(key for key in OVERRIDE_KEYS if key not in LORA_KEYS))
"""What a condition can say besides its modules and LoRA's settings: another library's trainer has its own words."""


@dataclass(frozen=True)
class Confinement:
    """LoRA confined to some layers. Of a number of layers neither `modules` nor `layer_list` is known."""

    layers: tuple[int, ...]
    modules: tuple[str, ...]
    layer_list: str | None  # full name of the model's list of layers, such as model.layers
    transposed: bool  # whether the weights are stored the other way round (GPT-2)
    targets: tuple[str, ...]
    rank: int
    alpha: float
    dropout: float


def confine(
    model: Model,
    block: Block,
    *,
    rank: int | None = None,
    alpha: float | None = None,
    dropout: float | None = None,
    targets: Sequence[str] | None = None,
    partition: PartitionSettings | Mapping[str, Any] | None = None,
) -> Confinement:
    """Resolve a block against a model; `lora_config` describes the arguments.

    Raises:
        UserError: the block selects nothing, a layer or module does not exist, or a value is not allowed.
    """
    given = {"rank": rank, "alpha": alpha, "dropout": dropout, "targets": targets}
    overrides = {key: value for key, value in given.items() if value is not None}
    if not isinstance(model, Recipe):
        recipe, name = _recipe(model, {**_condition(block), **overrides}, partition), NAME
    elif overrides or partition is not None:
        raise UserError("A recipe brings its LoRA settings and its partition. Change them there.")
    elif isinstance(block, str):
        recipe, name = model, block
    else:
        raise UserError(f"Beside a recipe, give the name of one of its conditions, got {block!r}.")
    sites = _sites(model, recipe)
    run = _run(recipe, name, sites)
    trained = set(run.condition.modules)
    counted = isinstance(model, int)
    first = next(site for site in sites if site.name in trained)
    return Confinement(
        layers=run.condition.layers,
        modules=() if counted else run.condition.modules,
        layer_list=None if counted else first.name.removesuffix(f".{first.layer}.{first.kind}"),
        transposed=first.transposed,
        targets=run.condition.targets,
        rank=run.settings.rank,
        alpha=run.settings.alpha,
        dropout=run.settings.dropout,
    )


def _condition(block: Block) -> dict[str, Any]:
    """The block as a recipe would write it."""
    if isinstance(block, str):
        return {"block": block}
    if not isinstance(block, Mapping):
        return {"layers": list(block) if isinstance(block, Sequence) else block}
    for key in block:
        if key in TRAINERS_KEYS:
            raise UserError(
                f"{key!r} says how to train, not where. Leave it out here, and set it in your trainer."
            )
    return dict(block)


def _recipe(
    model: PreTrainedModel | PeftModel | str | Path | int,
    condition: dict[str, Any],
    partition: PartitionSettings | Mapping[str, Any] | None,
) -> Recipe:
    """A recipe with one condition; its preferences are never read."""
    if "targets" in condition:
        condition["targets"] = list(condition["targets"])
    if isinstance(partition, PartitionSettings):
        partition = partition.model_dump()
    return parse_recipe(
        {
            "model": str(model) if isinstance(model, (str, Path)) else "given",
            "preferences": {"source": "none"},
            "conditions": {NAME: condition},
            "partition": dict(partition or {}),
        }
    )


def _sites(model: Model, recipe: Recipe) -> tuple[Site, ...]:
    """Where adapters can go. Of a number of layers it is assumed that each has every target, and that all are alike."""
    if isinstance(model, int):
        if isinstance(model, bool) or model < 1:
            raise UserError(f"The number of layers must be a whole number from 1, got {model!r}.")
        targets = dict.fromkeys(t for spec in recipe.specs() for t in recipe.settings_of(spec).targets)
        return tuple(Site(f"{layer}.{t}", layer, t, 1, 1) for layer in range(model) for t in targets)
    if isinstance(model, (Recipe, str, Path)):
        return inspect_model(recipe.model).sites
    if not isinstance(model, (PreTrainedModel, PeftModel)):
        raise UserError(
            f"{type(model).__name__} is no model. Give a loaded transformers model, a hub id or folder, or a number "
            "of layers."
        )
    return tuple(
        site._replace(name=_bare(site.name), kind=_bare(site.kind))
        for site in list_sites(transformers_model(model))
        if ".lora_" not in site.name
    )


def transformers_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model without PEFT's wrapper; adapters stay in it."""
    inner: PreTrainedModel = model.get_base_model() if isinstance(model, PeftModel) else model
    return inner


def _bare(name: str) -> str:
    """PEFT puts the original module under an adapted module's name."""
    return name.removesuffix(".base_layer")


def _run(recipe: Recipe, name: str, sites: tuple[Site, ...]) -> Run:
    n_layers = 1 + max(site.layer for site in sites)
    blocks = partition(n_layers, recipe.partition.method, recipe.partition.blocks)
    shape = ModelShape(Path(), "", n_layers, 0, sites, proven=False, longest=None)
    recipe = recipe.model_copy(update={"seeds": [0]})
    runs = {run.id: run for run in resolve_runs(recipe, shape, blocks)}
    for one in resolve_tuned(recipe, shape, blocks):
        candidates = {run.id: run for each in one.candidates for run in each.runs}
        runs |= candidates
        if name == one.condition and len({run.condition.rank for run in candidates.values()}) > 1:
            raise UserError(
                f"The rank of condition {name!r} is chosen by a study, so a recipe alone does not say it. Name one of "
                f"its candidates ({', '.join(candidates)}), or take the configuration beside the study's adapter."
            )
        runs[one.condition] = one.candidates[0].runs[0]
    if name not in runs:
        if name == NAME:
            raise UserError(f"These values make {len(runs)} conditions: {', '.join(runs)}. Give one of each.")
        raise unknown_name("condition", name, runs)
    found = runs[name]
    if not found.condition.trains:
        raise UserError(f"Condition {name!r} trains nothing, so there is no adapter to configure.")
    if len(found.condition.phases) > 1:
        raise UserError(
            f"Condition {name!r} trains in phases, which one LoRA configuration cannot say. Give one phase."
        )
    return found
