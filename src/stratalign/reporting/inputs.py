"""Reads a study's folder, finished or not, and says what is not there yet. Computes nothing.

Whatever is missing is an empty record and a sentence in `missing`; the report shows both. Only a folder that
is no study at all, or a record that is damaged, is the user's error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stratalign.blocks import (
    Added,
    BoundarySettings,
    ConditionSpec,
    ProfileSettings,
    added_conditions,
    expand_conditions,
)
from stratalign.errors import UserError
from stratalign.records import (
    DIAGNOSIS,
    ENVIRONMENT,
    JUDGES,
    LOGPROBS,
    MANIFEST,
    MAPPING,
    PREFERENCES,
    RECIPE,
    RESPONSES,
    SEEDS_VARY,
    STEPS,
    TIMINGS,
    TUNING,
    VARIES,
    Score,
    Standing,
    StrictLoader,
    StudyFolder,
    changed_files,
    read_jsonl,
    read_record,
    read_scores,
    refuse_foreign,
    standing_of,
)


@dataclass(frozen=True)
class StudyRecords:
    """Everything that the report reads of one study. `missing` has one sentence per record that is not there; `added`
    are the conditions that the recipe's profile and boundaries stand for, none while the model's depth is unknown;
    `changed` are the runs whose adapter has other bytes now than when it was trained."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    training: tuple[Mapping[str, Any], ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] = ()
    responses: tuple[Mapping[str, Any], ...] = ()
    scores: tuple[Score, ...] = ()
    judges: tuple[Mapping[str, Any], ...] = ()
    preferences: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    execution: Mapping[str, Any] = field(default_factory=dict)
    adapter_bytes: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    diagnoses: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuning: Mapping[str, Any] = field(default_factory=dict)
    added: tuple[Added, ...] = ()
    changed: frozenset[str] = frozenset()

    def standing(self, run: str) -> Standing | None:
        """Where a run's proof stands today; None where none has been made."""
        entry = (self.manifest.get("runs") or {}).get(run)
        proof = entry.get("proof") if isinstance(entry, Mapping) else None
        return standing_of(proof, changed=run in self.changed)

    @property
    def seeds_vary(self) -> tuple[str, ...]:
        """What the study's seeds vary, by the names of `VARIES`; a recipe that does not say so varied the default."""
        written = self.recipe.get("seeds_vary")
        listed = written if isinstance(written, list) else SEEDS_VARY
        return tuple(name for name in VARIES if name in listed)

    @property
    def one_order(self) -> bool:
        """Whether all runs see the pairs in one order."""
        return "order" not in self.seeds_vary or len(list(self.recipe.get("seeds") or ())) < 2


def study_folder(folder: Path) -> StudyFolder:
    """The layout of `folder`.

    Raises:
        UserError: it is not a study's, or holds a link or something else that no study holds.
    """
    study = StudyFolder(folder)
    refuse_foreign(study)
    if not study.recipe.is_file() and not study.manifest.is_file():
        kind = "has neither recipe.yaml nor manifest.json" if folder.is_dir() else "is not a folder"
        raise UserError(
            f"{folder} is not a study: it {kind}. Give the folder that a study was written to with --out."
        )
    return study


def read_study(folder: Path) -> StudyRecords:
    """The records in `folder`.

    Raises:
        UserError: the folder is not a study's, or one of its records is damaged.
    """
    study = study_folder(folder)
    absent = [
        f"{path.name} is not there yet: {without}"
        for path, without in _described(study).items()
        if not path.is_file()
    ]
    recipe = _recipe(study.recipe)
    if not study.tuning.is_file() and any(spec.tune for spec in _specs(recipe)):
        absent.append(
            "tuning.json is not there yet: nothing has been chosen for the conditions that are tuned."
        )
    manifest = read_record(study.manifest, MANIFEST)
    changed = {
        run: files
        for run, entry in (manifest.get("runs") or {}).items()
        if isinstance(entry, Mapping) and (files := changed_files(study, run, entry))
    }
    absent += [
        f"{run}: {files[0]} has changed since it was trained. Restore it, or delete {study.adapters.name}/{run} and "
        "run the study again."
        for run, files in changed.items()
    ]
    diagnoses = sorted(study.diagnostics.glob("*.json"))
    read = StudyRecords(
        recipe=recipe,
        manifest=manifest,
        training=tuple(read_jsonl(study.training, STEPS)),
        logprobs=tuple(read_jsonl(study.logprobs, LOGPROBS)),
        responses=tuple(read_jsonl(study.responses, RESPONSES)),
        scores=tuple(read_scores(study.scores)),
        judges=tuple(read_record(study.judges, JUDGES).get("judges", ())),
        preferences=read_record(study.preferences, PREFERENCES),
        timings=read_record(study.timings, TIMINGS),
        environment=read_record(study.environment, ENVIRONMENT),
        execution=read_record(study.execution, MAPPING),
        adapter_bytes=_adapter_bytes(study.adapters),
        missing=tuple(absent),
        tuning=read_record(study.tuning, TUNING),
        diagnoses={path.stem: read_record(path, DIAGNOSIS) for path in diagnoses},
        added=_added(recipe, manifest),
        changed=frozenset(changed),
    )
    check_rows(study, read)
    return of_recipe(read)


def of_recipe(records: StudyRecords) -> StudyRecords:
    """The records of the runs that the recipe still names.

    A study that has grown smaller (fewer conditions or seeds than before) keeps what it has on disk, in case it
    grows again; its report is that of the smaller study. Judging scores the recipe's runs alone, so that what has
    scores always stays. Where the recipe names no conditions, nothing is left out.
    """
    specs = _specs(records.recipe)
    written = {spec.name for spec in specs}
    seeds = [str(seed) for seed in records.recipe.get("seeds") or ()]
    if not written:
        return records
    written |= {one.name for one in records.added}
    entries = records.manifest.get("runs") or {}
    lines = (*records.training, *records.logprobs, *records.responses)
    runs = {*entries, *(str(row["run"]) for row in lines)}

    def named(run: str) -> bool:
        condition, _, after = run.partition("@")
        seed = str((entries.get(run) or {}).get("seed", after))
        return condition in written and (not seeds or not seed or seed in seeds)

    kept = {run for run in runs if named(run)} | {score.run for score in records.scores}
    manifest = {"runs": {run: entry for run, entry in entries.items() if run in kept}} if entries else {}
    return replace(
        records,
        tuning=_tuning(specs, records.tuning),
        manifest={**records.manifest, **manifest},
        training=tuple(row for row in records.training if row["run"] in kept),
        logprobs=tuple(row for row in records.logprobs if row["run"] in kept),
        responses=tuple(row for row in records.responses if row["run"] in kept),
    )


def _specs(recipe: Mapping[str, Any]) -> list[ConditionSpec]:
    """A recipe's conditions, lists of values expanded; empty where none can be read."""
    written = recipe.get("conditions")
    if not written:
        return []
    listed = (
        [written] if isinstance(written, Mapping) else [one for one in written if isinstance(one, Mapping)]
    )
    given = {name: settings or {} for one in listed for name, settings in one.items()}
    keys = sorted({str(key) for settings in given.values() for key in settings})
    try:
        return expand_conditions(written, keys, recipe.get("tune"))
    except UserError:  # not written by a study: nothing can be said of what it planned
        return []


def _tuning(specs: Sequence[ConditionSpec], stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of tuning.json, the conditions that the recipe still tunes."""
    known = stored.get("conditions", {})
    kept = {spec.name: known[spec.name] for spec in specs if spec.tune is not None and spec.name in known}
    if not kept:
        return {}
    orders = [
        one for one in stored["orders"] if {row["condition"] for row in one["tuned"]["order"]} <= kept.keys()
    ]
    return {**stored, "conditions": kept, "orders": orders}


def _added(recipe: Mapping[str, Any], manifest: Mapping[str, Any]) -> tuple[Added, ...]:
    """The conditions that `profile` and `boundaries` stand for; none where a record does not say, or says what no
    study wrote."""
    layers, blocks = (manifest.get("model") or {}).get("layers"), manifest.get("partition") or {}
    profile, boundaries = recipe.get("profile"), recipe.get("boundaries")
    if not isinstance(layers, int) or not isinstance(blocks, Mapping):
        return ()
    try:
        return tuple(
            added_conditions(
                None if profile is None else ProfileSettings.model_validate(profile),
                None if boundaries is None else BoundarySettings.model_validate(boundaries),
                layers,
                {str(name): sorted(numbers) for name, numbers in blocks.items()},
            )
        )
    except (ValidationError, UserError, TypeError):
        return ()


def _described(study: StudyFolder) -> dict[Path, str]:
    """Each record, and what the report cannot show without it."""
    return {
        study.recipe: "the order of the conditions and the objective are unknown.",
        study.manifest: "layers, parameters and the proof of targeting are unknown.",
        study.preferences: "how the preference rows were read and split is unknown.",
        study.training: "there are no loss curves.",
        study.logprobs: "there is no accuracy on held-out rows.",
        study.responses: "there are no answers to show.",
        study.scores: "nothing has been judged, so no condition is compared with base.",
        study.judges: "units of the scores, and which direction is better, are unknown.",
        study.timings: "times are unknown.",
    }


def _adapter_bytes(adapters: Path) -> dict[str, int]:
    """Run -> size of its adapter's tensors on disk, in bytes."""
    return {
        path.parent.name: path.stat().st_size for path in sorted(adapters.glob("*/adapter_model.safetensors"))
    }


def _recipe(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        written = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RECIPE.damaged(str(path), f"it is not YAML ({' '.join(str(error).split())})") from None
    return RECIPE.checked(written, str(path))


def check_rows(study: StudyFolder, read: StudyRecords) -> None:
    """Refuse rows of a run, a judge or a prompt that the study does not have: left out, they would change results in
    silence.

    Raises:
        UserError: there is one.
    """
    _check_runs(study, read)
    _check_judges(study, read)
    _check_prompts(study, read)


def _check_runs(study: StudyFolder, read: StudyRecords) -> None:
    runs = read.manifest.get("runs") or {}
    named = {
        study.training: {row["run"] for row in read.training},
        study.logprobs: {row["run"] for row in read.logprobs},
        study.responses: {row["run"] for row in read.responses},
        study.scores: {score.run for score in read.scores},
    }
    for file, found in named.items():
        if runs and found - runs.keys():
            raise UserError(
                f"{file} has rows of the run {min(found - runs.keys())!r}, which {study.manifest.name} does not have. "
                "Restore the file, or delete these lines and run the study again."
            )
    chosen = read.tuning.get("conditions")
    lost = {entry["condition"] for entry in runs.values() if "tuned" in entry} - (chosen or {}).keys()
    if chosen is not None and lost:
        raise UserError(f"{study.tuning} lacks the condition {min(lost)!r}, which was tuned. {TUNING.advice}")


def _check_judges(study: StudyFolder, read: StudyRecords) -> None:
    known = {
        (judge["judge"], judge["protocol"], dimension["name"])
        for judge in read.judges
        for dimension in judge["dimensions"]
    }
    unknown = {(score.judge, score.protocol, score.dimension) for score in read.scores} - known
    if known and unknown:
        judge, protocol, dimension = min(unknown)
        raise UserError(
            f"{study.scores} has scores of {dimension!r} by {judge} ({protocol}), which {study.judges.name} does not "
            "have. Restore both files, or run the study again, which makes them anew."
        )


def _check_prompts(study: StudyFolder, read: StudyRecords) -> None:
    held_out = _prompts(study.logprobs, read.logprobs)
    tasks = {judge["judge"] for judge in read.judges if judge.get("kind") == "tasks"}
    asked = {
        study.responses: _prompts(study.responses, read.responses),
        study.scores: {score.prompt_id for score in read.scores if score.judge not in tasks},
    }
    for file, found in asked.items():
        if held_out and found - held_out:
            raise UserError(
                f"{file} has rows of the prompt {min(found - held_out)!r}, which {study.logprobs.name} does not have. "
                "Restore the file, or delete these lines and run the study again."
            )


def _prompts(file: Path, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """All prompts of a line file. Runs are answered and measured in one order, so that of two runs one has all prompts
    of the other."""
    of_run: dict[str, set[str]] = {}
    for row in rows:
        of_run.setdefault(row["run"], set()).add(row["prompt_id"])
    largest: tuple[str, set[str]] = ("", set())
    for run, prompts in sorted(of_run.items(), key=lambda one: len(one[1])):
        lost = sorted(largest[1] - prompts)
        if lost:
            raise UserError(
                f"{file} has the prompt {lost[0]!r} under {largest[0]} and not under {run}, which has others. Restore "
                "the file, or delete the lines of both prompts and run the study again."
            )
        largest = run, prompts
    return largest[1]
