"""From a recipe's conditions to runs: every condition under every seed, and the candidates of those that are tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stratalign.blocks import Blocks, ConditionSpec, Signals, names_block, resolve_condition
from stratalign.errors import UserError
from stratalign.models import ModelShape
from stratalign.pipeline.tuning import Candidate, Tuned
from stratalign.preferences import Tree
from stratalign.recipe import Recipe
from stratalign.training import Run


def resolve_runs(
    recipe: Recipe,
    shape: ModelShape,
    blocks: Blocks | None,
    records: Mapping[str, Signals | None] | None = None,
) -> tuple[Run, ...]:
    """Every condition under every seed, resolved to exact modules; those that wait for a record are left out.

    Args:
        blocks: the study's partition, None where it waits for a record.
        records: the records that conditions name, None for one that is not there.
    """
    runs: list[Run] = []
    known = {} if records is None else records
    there = {by: signals for by, signals in known.items() if signals is not None}
    for spec in recipe.all_specs(shape.n_layers, blocks):
        if not _waits(spec, known, blocks):
            runs += _resolve(spec, recipe, shape, blocks, there)
    return tuple(runs)


def resolve_tuned(
    recipe: Recipe,
    shape: ModelShape,
    blocks: Blocks | None,
    records: Mapping[str, Signals | None] | None = None,
) -> tuple[Tuned, ...]:
    """Every tuned condition with its candidates, resolved like all conditions; arguments as in `resolve_runs`.

    Raises:
        UserError: a condition that trains nothing is to be tuned.
    """
    known = {} if records is None else records
    there = {by: signals for by, signals in known.items() if signals is not None}
    found = []
    for spec in recipe.specs():
        if spec.tune is None or _waits(spec, known, blocks):
            continue
        standing = _resolve(spec, recipe, shape, blocks, there)
        if not standing[0].condition.trains:
            raise UserError(
                f"Condition {spec.name!r} trains nothing, so there is nothing to tune. Leave it out of `tune`."
            )
        candidates = tuple(
            Candidate(each.name, values, _resolve(each, recipe, shape, blocks, there))
            for each, values in zip(spec.candidates(), spec.tune.combinations(), strict=True)
        )
        found.append(Tuned(spec.name, spec.tune, candidates, standing))
    return tuple(found)


def _waits(spec: ConditionSpec, records: Mapping[str, Signals | None], blocks: Blocks | None) -> bool:
    """Whether the condition, or the partition whose block it names, is chosen by a record that is not there."""
    by = spec.selection.get("by")
    missing = {name for name, signals in records.items() if signals is None}
    return by in missing or (blocks is None and names_block(spec))


def _resolve(
    spec: ConditionSpec,
    recipe: Recipe,
    shape: ModelShape,
    blocks: Blocks | None,
    records: Mapping[str, Signals],
) -> tuple[Run, ...]:
    """One condition under every seed."""
    settings = recipe.settings_of(spec)
    condition = resolve_condition(
        spec,
        shape.sites,
        {} if blocks is None else blocks,
        learning_rate=settings.learning_rate,
        targets=settings.targets,
        rank=settings.rank,
        records=records,
        full_targets=recipe.training.targets,
    )
    if condition.rank != settings.rank:
        settings = settings.overridden({"rank": condition.rank})
    several = len(recipe.seeds) > 1
    return tuple(
        Run(
            f"{spec.name}@{seed}" if several else spec.name,
            condition,
            seed,
            settings,
            tuple(recipe.seeds_vary),
        )
        for seed in recipe.seeds
    )


def check_validation(tuned: Sequence[Tuned], validation: Sequence[Tree]) -> None:
    """Make sure that the validation rows can decide.

    Raises:
        UserError: there are none, or they have nothing rejected where preferences are to decide.
    """
    for one in tuned:
        if not validation:
            raise UserError(
                f"Condition {one.condition!r} is to be tuned on validation rows, but preferences.validation is 0. "
                "Ask for some: with few of them, values cannot be told apart."
            )
        if one.grid.by != "loss" and len(validation[0].branches) == 1:
            raise UserError(
                f"Condition {one.condition!r} is to be tuned by {one.grid.by}, which needs pairs, but the preferences "
                "hold demonstrations. Tune it by loss."
            )
