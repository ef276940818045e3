"""plan(recipe): every check that needs no weights, and everything that follows from the recipe.

A plan reads the configuration, the tokenizer and the preferences; it writes nothing except the list of bad rows
that an error message points to. What it returns is what `run` works through, without surprises.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from stratalign.blocks import (
    Blocks,
    ConditionSpec,
    Signals,
    describe_layers,
    modules_by,
    partition,
    resolve_condition,
)
from stratalign.errors import StudyFailure, UserError
from stratalign.generation import Prompt
from stratalign.judging import check_judge, compares_with_base, judged_dimensions
from stratalign.losses import LOSSES
from stratalign.models import ModelShape, inspect_model, load_tokenizer
from stratalign.pipeline.execution import Execution, resolve_execution
from stratalign.pipeline.fingerprints import Fingerprints, check_fresh
from stratalign.pipeline.scoring import check_scorers
from stratalign.pipeline.selecting import check_records, selector_records
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
from stratalign.records import StudyFolder, append_jsonl, told
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
    """A recipe with everything that follows from it."""

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
    """Conditions chosen by a record that is not there yet."""

    def describe(self) -> dict[str, Any]:
        """The plan in numbers and names; what `stratalign plan --json` prints."""
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
                    "labels": run.condition.labels,
                    "phases": len(run.condition.phases),
                }
                for run in self.runs
            },
            "unresolved": {spec.name: dict(spec.selection) for spec in self.unresolved},
        }

    def check_resolved(self) -> None:
        """Raise a UserError, with the command to run, if a condition waits for a record."""
        for spec in self.unresolved:
            modules_by(spec.name, spec.selection, {})


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
    blocks = partition(shape.n_layers, recipe.partition.method, recipe.partition.blocks)
    records, unresolved = selector_records(recipe, folder)
    runs = resolve_runs(recipe, shape, blocks, records)
    if compares_with_base(recipe.judge) and not any(run.condition.name == "base" for run in runs):
        raise UserError(
            f"The protocol {recipe.judge.protocol!r} shows each answer beside base's, but no condition is named base. "
            "Add base to conditions, or use another protocol."
        )
    tokenizer = load_tokenizer(recipe.model)
    imitates = not any(LOSSES[run.settings.loss].needs_pairs for run in runs if run.condition.trains)
    found = load(recipe.preferences, demonstrations=imitates)
    fingerprints = _fingerprints(recipe, shape, runs, found.digest)
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
    steps = plan_steps(len(train), recipe.training, recipe.preferences.seed)
    for run in runs:
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
    return Plan(
        recipe=recipe,
        folder=folder,
        shape=shape,
        blocks=blocks,
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
    )


def resolve_runs(
    recipe: Recipe, shape: ModelShape, blocks: Blocks, records: Mapping[str, Signals | None] | None = None
) -> tuple[Run, ...]:
    """Every condition under every seed, resolved to exact modules; those that wait for a record are left out.

    Args:
        records: the records that conditions name, None for one that is not there.
    """
    runs: list[Run] = []
    known = {} if records is None else records
    there = {by: signals for by, signals in known.items() if signals is not None}
    for spec in recipe.all_specs(shape.n_layers, blocks):
        if spec.selection.get("by") in known.keys() - there.keys():
            continue
        settings = recipe.settings_of(spec)
        condition = resolve_condition(
            spec,
            shape.sites,
            blocks,
            learning_rate=settings.learning_rate,
            targets=settings.targets,
            rank=settings.rank,
            records=there,
        )
        if condition.rank != settings.rank:
            settings = settings.overridden({"rank": condition.rank})
        for seed in recipe.seeds:
            name = spec.name if len(recipe.seeds) == 1 else f"{spec.name}@{seed}"
            runs.append(Run(name, condition, seed, settings))
    return tuple(runs)


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


def _fingerprints(recipe: Recipe, shape: ModelShape, runs: Sequence[Run], digest: str) -> Fingerprints:
    """What each stored result depends on."""
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
    for run in runs:
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
