"""plan(recipe): every check that needs no weights, and everything that follows from the recipe.

A plan reads the configuration, the tokenizer and the preferences; it writes nothing except the list of bad rows
that an error message points to. What it returns is what `run` works through, without surprises.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from stratalign.blocks import (
    Blocks,
    ConditionSpec,
    cost_of,
    cost_of_full,
    describe_layers,
    diagnose_command,
    names_block,
    needs_record,
    scores_by,
)
from stratalign.errors import StudyFailure, UserError
from stratalign.generation import Prompt
from stratalign.judging import check_judge, compares_with_base, judged_dimensions
from stratalign.losses import LOSSES
from stratalign.models import ModelShape, inspect_model, load_tokenizer
from stratalign.pipeline.execution import Execution, resolve_execution
from stratalign.pipeline.fingerprints import Fingerprints, check_fresh
from stratalign.pipeline.resolving import check_validation, resolve_runs, resolve_tuned
from stratalign.pipeline.scoring import check_scorers
from stratalign.pipeline.selecting import check_records, selector_records, study_blocks
from stratalign.pipeline.tuning import Tuned, choices
from stratalign.preferences import (
    Asked,
    BadRow,
    Preference,
    Preferences,
    Split,
    Tree,
    as_text,
    check_bad,
    describe,
    leaks,
    load,
    prompt_ids,
    split,
    tokenize,
    without_rejected,
)
from stratalign.recipe import Recipe
from stratalign.records import StudyFolder, append_jsonl, read_json, told
from stratalign.training import (
    LOSS_KEYS,
    SHARED_KEYS,
    MicroBatch,
    Run,
    TrainingSettings,
    phase_bounds,
    plan_steps,
)


@dataclass(frozen=True)
class Plan:
    """A recipe with everything that follows from it.

    `runs` are what is answered for, judged and reported. One of a tuned condition has its candidate's values once that
    is chosen; until then it stands for its name, layers and seed.
    """

    recipe: Recipe
    folder: StudyFolder
    shape: ModelShape
    blocks: Blocks
    runs: tuple[Run, ...]
    parts: Split
    train_trees: tuple[Tree, ...]
    validation_trees: tuple[Tree, ...]
    held_out_trees: tuple[Tree, ...]
    prompts: tuple[Prompt, ...]
    stop: tuple[str, ...]
    steps: list[list[MicroBatch]]
    bad: tuple[BadRow, ...]
    preferences: dict[str, Any]
    execution: Execution
    tokenizer: PreTrainedTokenizerBase
    fingerprints: Fingerprints
    unresolved: tuple[ConditionSpec, ...] = ()
    """Conditions chosen by a record that is not there yet, or that name a block of a partition made by one."""
    partition_by: str | None = None
    """The record that the partition waits for."""
    tuned: tuple[Tuned, ...] = ()
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Of tuned conditions, the candidate that was chosen, if one was."""

    @property
    def candidates(self) -> tuple[Run, ...]:
        """The runs that are trained and measured on validation, and no more."""
        return tuple(run for one in self.tuned for each in one.candidates for run in each.runs)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Tuned conditions of which no candidate is chosen yet."""
        return tuple(one.condition for one in self.tuned if one.condition not in self.chosen)

    def candidate_of(self, run: Run) -> Run | None:
        """The candidate's run that this one is, under the condition's name; None of a run that is trained itself."""
        name = self.chosen.get(run.condition.name)
        return next(
            (one for one in self.candidates if (one.condition.name, one.seed) == (name, run.seed)), None
        )

    @property
    def shares_of_full(self) -> dict[str, dict[str, float]]:
        """Run -> its shares of what training every layer costs with the recipe's targets and rank: of the parameters,
        and of the arithmetic of a step (`blocks/budgets.py` has the model)."""
        training = self.recipe.training
        sites = self.shape.sites
        full = cost_of_full(sites, training.targets, training.rank)
        found = {}
        for run in (*self.runs, *self.candidates):
            chosen = set(run.condition.modules)
            cost = cost_of(sites, [site for site in sites if site.name in chosen], run.condition.rank)
            found[run.id] = dict(zip(("parameters", "arithmetic"), cost.of(full), strict=True))
        return found

    def describe(self) -> dict[str, Any]:
        """The plan in numbers and names; what `stratalign plan --json` prints."""
        shares = self.shares_of_full
        return {
            "out": str(self.folder.path),
            "model": {
                "name": self.recipe.model.base,
                "model_type": self.shape.model_type,
                "layers": self.shape.n_layers,
                "parameters": self.shape.parameters,
                "proven": self.shape.proven,
            },
            "partition": {name: list(layers) for name, layers in self.blocks.items()},
            "partition_by": self.partition_by,
            "preferences": self.preferences,
            "steps": len(self.steps),
            "execution": {
                key: getattr(self.execution, key)
                for key in (
                    "device",
                    "precision",
                    "pack_tokens",
                    "checkpointing",
                    "bytes_per_token",
                    "reference",
                )
            },
            "runs": {
                run.id: {
                    "condition": run.condition.name,
                    "seed": run.seed,
                    "layers": list(run.condition.layers),
                    "targets": list(run.condition.targets),
                    "modules": len(run.condition.modules),
                    "rank": run.condition.rank,
                    "parameters": run.condition.parameters,
                    "of_full": shares[run.id],
                    "labels": run.condition.labels,
                    "phases": len(run.condition.phases),
                }
                | self._told_of_tuning(run)
                for run in self.runs
            },
            "candidates": {
                run.id: {
                    "condition": one.condition,
                    "seed": run.seed,
                    **each.values,
                    "rank": run.condition.rank,
                    "parameters": run.condition.parameters,
                }
                for one in self.tuned
                for each in one.candidates
                for run in each.runs
            },
            "unresolved": {spec.name: dict(spec.selection) for spec in self.unresolved},
        }

    def _told_of_tuning(self, run: Run) -> dict[str, Any]:
        one = next((one for one in self.tuned if one.condition == run.condition.name), None)
        if one is None:
            return {}
        name = self.chosen.get(one.condition)
        values = next((dict(each.values) for each in one.candidates if each.name == name), None)
        unknown = {"rank": None, "parameters": None} if values is None and "rank" in one.grid.values else {}
        about = {"by": one.grid.by, "candidates": len(one.candidates), "chosen": name, "values": values}
        return {**unknown, "tuned": about}

    def check_resolved(self) -> None:
        """Raise a UserError, with the command to run, if a condition waits for a record."""
        for spec in self.unresolved:
            if needs_record(spec):
                scores_by(spec.name, spec.selection, {})
            raise UserError(
                f"Condition {spec.name!r} names a block of a partition by the record {self.partition_by}, which is not "
                f"there yet. Make it first: {diagnose_command(str(self.partition_by))}"
            )


def make_plan(recipe: Recipe, out: Path) -> Plan:
    """Check a recipe against its model, its data and the folder that it would write to.

    Raises:
        UserError: anything that would stop the study later, or make stored results stale.
    """
    folder = StudyFolder(out)
    check_writable(out)
    judged_dimensions(recipe.judge)
    scored = [dimension.name for scorer in check_scorers(recipe) for dimension in scorer.dimensions]
    shape = inspect_model(recipe.model)
    _check_length(recipe, shape)
    blocks = study_blocks(recipe, folder, shape.sites)
    records, waiting = selector_records(recipe, folder)
    unresolved = tuple(
        spec for spec in recipe.specs() if spec in waiting or (blocks is None and names_block(spec))
    )
    runs = resolve_runs(recipe, shape, blocks, records)
    tuned = resolve_tuned(recipe, shape, blocks, records)
    if compares_with_base(recipe.judge) and not any(run.condition.name == "base" for run in runs):
        raise UserError(
            f"The protocol {recipe.judge.protocol!r} shows each answer beside base's, but no condition is named base. "
            "Add base to conditions, or use another protocol."
        )
    tokenizer = load_tokenizer(recipe.model)
    imitates = not any(LOSSES[run.settings.loss].needs_pairs for run in runs if run.condition.trains)
    found = load(recipe.preferences, demonstrations=imitates)
    fingerprints = _fingerprints(recipe, shape, runs, tuned, found.digest)
    check_fresh(folder, fingerprints)
    check_records(recipe, folder, fingerprints)
    parts, trees, bad, about = read_preferences(recipe, found, tokenizer, folder)
    train, validation, held_out = _needed_branches(
        runs,
        *(
            tuple(trees[row.row_id] for row in part)
            for part in (parts.train, parts.validation, parts.held_out)
        ),
    )
    check_validation(tuned, validation)
    steps = plan_steps(len(train), recipe.training, recipe.preferences.seed)
    for run in (*runs, *(run for one in tuned for each in one.candidates for run in each.runs)):
        if run.condition.trains:
            phase_bounds(run.condition, len(steps))
            _check_warmup(run, len(steps))
    prompts = tuple(
        Prompt(
            row.row_id,
            row.cluster,
            as_text(row.prompt),
            tuple(prompt_ids(row, tokenizer, recipe.preferences)),
        )
        for row in parts.held_out
    )
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
        steps=steps,
        bad=bad,
        preferences=about,
        execution=resolve_execution(folder, recipe.training),
        tokenizer=tokenizer,
        fingerprints=fingerprints,
        unresolved=unresolved,
        tuned=tuned,
        partition_by=recipe.partition.by if blocks is None else None,
    )
    return with_choices(planned)


def with_choices(plan: Plan) -> Plan:
    """The plan with what tuning.json says of its candidates."""
    if not plan.tuned:
        return plan
    stored = read_json(plan.folder.tuning) if plan.folder.tuning.is_file() else {}
    chosen = choices(plan.tuned, stored)
    runs = {run.id: run for run in plan.runs}
    for one in plan.tuned:
        standing = one.become(chosen[one.condition]) if one.condition in chosen else one.standing
        runs |= {run.id: run for run in standing}
    return replace(plan, runs=tuple(runs.values()), chosen=chosen)


def _check_length(recipe: Recipe, shape: ModelShape) -> None:
    if shape.longest is not None and recipe.training.max_length > shape.longest:
        raise UserError(
            f"training.max_length is {recipe.training.max_length}, but beyond {shape.longest} tokens the rotary "
            f"embedding of the model in {shape.folder} follows the longest sequence of a batch, so that a pair's "
            f"log-probability would depend on the others. Set training.max_length to {shape.longest} or less."
        )


def _check_warmup(run: Run, steps: int) -> None:
    """The first step of a warm-up has rate 0 and moves nothing; LoRA's A gets a gradient only once B has moved."""
    if run.settings.warmup > 0 and steps < 3:
        raise UserError(
            f"With training.warmup: {run.settings.warmup:g} the first of {steps} optimizer steps has a learning rate "
            f"of 0, and the rest are too few to train condition {run.condition.name!r}. Give more pairs or epochs, "
            "smaller batches, or training.warmup: 0."
        )


def check_writable(out: Path) -> None:
    """Raise a UserError unless `out` can be made and written to; leaves nothing behind."""
    with told(out):
        parent = next(path for path in [out, *out.absolute().parents] if path.exists())
    if not parent.is_dir():
        raise UserError(f"Cannot write to {out}: {parent} is a file. Name another folder with --out.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"Cannot write to {parent}: permission denied. Name another folder with --out.")
    probe = parent / f".stratalign-{os.getpid()}"
    with told(parent):
        try:
            probe.write_bytes(b"x" * 4096)
        finally:
            probe.unlink(missing_ok=True)


def read_preferences(
    recipe: Recipe, found: Preferences, tokenizer: PreTrainedTokenizerBase, folder: StudyFolder
) -> tuple[Split, dict[str, Tree], tuple[BadRow, ...], dict[str, Any]]:
    """The parts of the preferences, the trees of all their rows by name, bad rows, and an account of all this."""
    settings = recipe.preferences
    tokenized = tokenize(found.rows, tokenizer, settings, recipe.training.max_length, recipe.training.on_long)
    bad = (*found.bad, *tokenized.bad)
    if bad and (len(bad) > settings.max_bad * found.total or len(bad) == found.total):
        write_bad_rows(folder, bad)
    check_bad(bad, found.total, settings, folder.bad_rows, found.columns)
    trees = {tree.row_id: tree for tree in tokenized.trees}
    parts = split([row for row in found.rows if row.row_id in trees], settings)
    if not parts.held_out:
        raise UserError(
            "preferences.held_out is 0, but the proof and the verdict need held-out rows. Ask for at least 1."
        )
    if leaks(parts):
        raise StudyFailure(f"The split leaks the clusters {', '.join(leaks(parts)[:5])}. Please report this.")
    return parts, trees, bad, describe(parts, found, tokenized.bad)


def _needed_branches(
    runs: Sequence[Run], train: tuple[Tree, ...], validation: tuple[Tree, ...], held_out: tuple[Tree, ...]
) -> tuple[tuple[Tree, ...], tuple[Tree, ...], tuple[Tree, ...]]:
    """Trees of one batch have as many branches as each other, and no more than some condition learns from.

    Validation and held-out pairs keep both responses, so that preferences can be measured whatever was trained.

    Raises:
        UserError: labels are to be shuffled where nothing is rejected.
    """
    trained = [run for run in runs if run.condition.trains]
    shuffling = next((run.id for run in trained if run.condition.labels == "shuffled"), None)
    if any(len(tree.branches) == 1 for tree in (*train, *validation, *held_out)):
        if shuffling is not None:
            raise UserError(
                f"Condition {shuffling!r} shuffles labels, but the preferences hold demonstrations, which have no "
                "rejected response to exchange. Leave it out, or give pairs."
            )
        alone = [tuple(map(without_rejected, part)) for part in (train, validation, held_out)]
        return alone[0], alone[1], alone[2]
    if trained and shuffling is None and all(run.settings.loss == "sft" for run in trained):
        return tuple(map(without_rejected, train)), validation, held_out
    return train, validation, held_out


def write_bad_rows(folder: StudyFolder, bad: Sequence[BadRow]) -> None:
    """Replace bad_rows.jsonl with these rows."""
    with told(folder.bad_rows):
        folder.bad_rows.unlink(missing_ok=True)
    append_jsonl(folder.bad_rows, bad)


def stop_texts(recipe: Recipe, rows: Sequence[Preference | Asked]) -> tuple[str, ...]:
    """The texts that end an answer to these prompts."""
    if recipe.generation.stop != "auto":
        return tuple(recipe.generation.stop)
    kinds = Counter(row.kind for row in rows)
    return ("\n\nHuman:",) if kinds["transcript"] and recipe.preferences.template == "raw" else ()


def _without_effect(settings: TrainingSettings) -> list[str]:
    """Settings of losses that the run's own does not read, or that are 0, which is as if there were no such setting."""
    reads = LOSSES[settings.loss].reads
    return [key for key in LOSS_KEYS if key not in reads or not getattr(settings, key)]


def _fingerprints(
    recipe: Recipe, shape: ModelShape, runs: Sequence[Run], tuned: Sequence[Tuned], digest: str
) -> Fingerprints:
    """What each stored result depends on. Of a tuned condition the values do not count: they are chosen, and may be
    chosen anew when the grid grows."""
    grids = {one.condition: one.grid for one in tuned}
    training = recipe.training.model_dump(mode="json")
    free = ("checkpoint_every", "checkpointing", "reference")  # change no result beyond rounding
    shared = {key: training[key] for key in SHARED_KEYS if key not in free}
    data = recipe.preferences.model_dump(mode="json", exclude={"objective", "max_bad", "source"})
    prints: Fingerprints = {
        "model": {**recipe.model.model_dump(mode="json"), "type": shape.model_type, "layers": shape.n_layers},
        "preferences": {
            **data,
            "digest": digest,
            **{k: training[k] for k in ("max_length", "on_long")},
        },
        "training": shared,
        "generation": recipe.generation.model_dump(mode="json"),
    }
    for run in (*runs, *(run for one in tuned for each in one.candidates for run in each.runs)):
        if run.condition.name in grids:
            prints[f"run {run.condition.name}@{run.seed}"] = {
                "layers": describe_layers(run.condition.layers),
                "tuned by": grids[run.condition.name].by,
            }
            continue
        prints[f"run {run.condition.name}@{run.seed}"] = {
            "layers": describe_layers(run.condition.layers),
            "phases": [{"steps": p.steps, "learning_rate": dict(p.modules)} for p in run.condition.phases],
            "rank": run.condition.rank,
            "labels": run.condition.labels,
            "sampling_seed": run.condition.sampling_seed,
            "training": {
                key: value
                for key, value in run.settings.model_dump(mode="json").items()
                if key
                not in (*SHARED_KEYS, "learning_rate", "targets", "rank", *_without_effect(run.settings))
            },
        }
    return prints
