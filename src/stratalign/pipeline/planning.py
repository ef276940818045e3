"""plan(recipe): every check that needs no weights, and everything that follows from the recipe.

A plan reads the configuration, the tokenizer and the preferences; it writes nothing except the list of bad rows
that an error message points to. What it returns is what `run` works through, without surprises.
"""

from __future__ import annotations

from pathlib import Path

from stratalign.blocks import names_block
from stratalign.errors import UserError
from stratalign.judging import check_judge, judged_dimensions
from stratalign.losses import LOSSES
from stratalign.models import inspect_model, load_tokenizer, of_adapter
from stratalign.pipeline.checks import (
    check_base_is_there,
    check_length,
    check_visits,
    check_warmup,
    check_writable,
)
from stratalign.pipeline.execution import resolve_execution
from stratalign.pipeline.fingerprints import check_fresh, fingerprints_of
from stratalign.pipeline.limits import turn_end
from stratalign.pipeline.planned import Plan, with_choices
from stratalign.pipeline.reading import (
    needed_branches,
    prompts_of,
    read_preferences,
    stop_texts,
    with_template,
)
from stratalign.pipeline.resolving import check_validation, resolve_runs, resolve_tuned
from stratalign.pipeline.scoring import check_scorers
from stratalign.pipeline.selecting import check_records, records_beside, selector_records, study_blocks
from stratalign.preferences import left_out, load
from stratalign.recipe import Recipe
from stratalign.records import StudyFolder, refuse_foreign
from stratalign.training import phase_bounds, plan_steps


def make_plan(recipe: Recipe, out: Path, beside: Path | None = None) -> Plan:
    """Check a recipe against its model, its data and the folder that it would write to.

    Args:
        recipe: the recipe.
        out: the study's folder.
        beside: the folder of the recipe's file, where records may lie too; None of a recipe without one.

    Raises:
        UserError: anything that would stop the study later, or make stored results stale.
    """
    folder = StudyFolder(out)
    check_writable(out)
    refuse_foreign(folder)
    judged_dimensions(recipe.judge)
    scored = [dimension.name for scorer in check_scorers(recipe) for dimension in scorer.dimensions]
    shape = inspect_model(recipe.model)
    check_length(recipe, shape)
    blocks = study_blocks(recipe, folder, shape.sites, beside)
    records, waiting = selector_records(recipe, folder, beside)
    unresolved = tuple(
        spec for spec in recipe.specs() if spec in waiting or (blocks is None and names_block(spec))
    )
    runs = resolve_runs(recipe, shape, blocks, records)
    tuned = resolve_tuned(recipe, shape, blocks, records)
    check_base_is_there(recipe, runs)
    tokenizer = load_tokenizer(recipe.model)
    imitates = not any(LOSSES[run.settings.loss].needs_pairs for run in runs if run.condition.trains)
    found = load(recipe.preferences, demonstrations=imitates)
    execution = resolve_execution(folder, recipe.training)
    recipe, habits = with_template(recipe, found.rows, tokenizer, execution.date)
    ends_turn = turn_end(found.rows, tokenizer, recipe.preferences, shape)
    fingerprints = fingerprints_of(
        recipe,
        shape,
        runs,
        tuned,
        found.digest,
        turn_end=ends_turn,
        tokenizer_of_adapter=of_adapter(tokenizer, recipe.model),
    )
    check_fresh(folder, fingerprints)
    parts, trees, bad, about = read_preferences(recipe, found, tokenizer, shape, folder, habits)
    check_records(recipe, folder, fingerprints, parts, beside)
    train, validation, held_out = needed_branches(
        runs,
        *(
            tuple(trees[row.row_id] for row in part)
            for part in (parts.train, parts.validation, parts.held_out)
        ),
    )
    check_validation(tuned, validation)
    check_visits(len(train), recipe.training.epochs)
    steps = plan_steps(len(train), recipe.training, recipe.preferences.seed)
    for run in (*runs, *(run for one in tuned for each in one.candidates for run in each.runs)):
        if run.condition.trains:
            try:
                phase_bounds(run.condition, len(steps))
                check_warmup(run, len(steps))
            except UserError as error:
                raise UserError(f"{error}{left_out(bad, found.total)}") from None
    prompts = prompts_of(recipe, parts.held_out, tokenizer, shape)
    check_judge(recipe.judge, [prompt.text for prompt in prompts], recipe.preferences.objective, scored)
    planned = Plan(
        recipe=recipe,
        folder=folder,
        shape=shape,
        blocks={} if blocks is None else blocks,
        runs=runs,
        parts=parts,
        train_trees=train,
        validation_trees=validation,
        held_out_trees=held_out,
        prompts=prompts,
        stop=stop_texts(recipe, parts.held_out),
        turn_end=ends_turn,
        steps=steps,
        bad=bad,
        preferences=about,
        execution=execution,
        tokenizer=tokenizer,
        fingerprints=fingerprints,
        unresolved=unresolved,
        tuned=tuned,
        partition_by=recipe.partition.by if blocks is None else None,
        brought=records_beside(recipe, folder, beside),
    )
    return with_choices(planned)
