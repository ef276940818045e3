"""diagnose: make the record of a diagnosis. Plans, loads, attaches what is to be looked at, and hands it on.

A record says in full what it was made from. If that is what is asked for again, it stands; else it is made anew.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from stratalign.blocks import PartitionSettings
from stratalign.diagnostics import (
    KINDS,
    compare_important,
)
from stratalign.errors import UserError, unknown_name
from stratalign.models import (
    AdapterBank,
    base_files,
    load_model,
)
from stratalign.pipeline.bench import Bench
from stratalign.pipeline.fingerprints import as_stored
from stratalign.pipeline.measuring import MEASURED
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.planning import make_plan
from stratalign.pipeline.probe_labels import labels_file
from stratalign.pipeline.selecting import scores_record, trained_by
from stratalign.pipeline.subjects import Subject, find_subject, kept_stages, trained_runs, training_of
from stratalign.recipe import Recipe, load_recipe
from stratalign.records import (
    DIAGNOSIS,
    SCHEMA,
    SEEDS_VARY,
    Progress,
    file_digest,
    locked,
    read_record,
    silent,
    write_json,
)

STAGE_ONE = "all-linear-modules"
"""The condition that a diagnosis plans with; ILA's first stage trains it."""

_SUBJECTS = ("run", "adapter", "tuned")
_LOOKED_AT = {*_SUBJECTS, "stages"}
"""Settings that say what is looked at; the record has the subjects' digests in their place."""

_WITHOUT_DATA = ("weights",)
"""Kinds whose record depends on the model alone, and stays when preferences or training change."""

DIGITS = 8
"""Significant digits of the numbers in a record."""


@dataclass(frozen=True)
class Diagnosis:
    """The record of a diagnosis, the file that holds it, and how it agrees with another one, where that was asked."""

    kind: str
    path: Path
    record: dict[str, Any]
    agreement: dict[str, Any] | None = None


def diagnose(
    kind: str,
    recipe: str | Path | Recipe,
    changes: tuple[str, ...] | list[str] = (),
    out: str | Path | None = None,
    progress: Progress = silent,
    *,
    compare: str | Path | None = None,
    **options: Any,
) -> Diagnosis:
    """Make the record OUT/diagnostics/<kind>.json, or take the one that is there, if it was made from the same.

    Args:
        kind: a name in `KINDS`.
        recipe: a recipe file, or a `Recipe`.
        changes: `key.path=value` changes to a recipe file.
        out: the study's folder; `studies/<name of the recipe file>` if not given.
        compare: for significance, another record of it: how far the important modules agree.
        options: settings of this kind in place of the recipe's, such as run="mid" or pairs=64. With another run or
            adapter to look at, the record is <kind>@<its name>.json.

    Raises:
        UserError: an unknown kind or option, a run that is not trained, what `plan` refuses, or the record that is
            there chose conditions that are trained.
    """
    if kind not in KINDS:
        raise unknown_name("diagnosis", kind, KINDS)
    read = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    name = "study" if isinstance(recipe, Recipe) else Path(recipe).stem
    settings = _with_options(kind, getattr(read.diagnostics, kind), options)
    if compare is not None and kind != "significance":
        raise UserError(
            f"Only records of significance are compared, not those of {kind}. Leave --compare out."
        )
    other = None if compare is None else _comparable(Path(compare))
    planned = _plan(read, Path(out) if out is not None else Path("studies") / name, settings)
    with locked(planned.folder.path):
        subjects, label = _subjects(kind, planned, settings)
        at = "" if label is None else f"@{label}"
        path = planned.folder.diagnostics / f"{kind}{at}.json"
        wanted = as_stored(_fingerprint(kind, planned, subjects, settings))
        record = read_record(path, DIAGNOSIS)
        if record.get("fingerprint") != wanted:
            _check_replaceable(planned, path)
            record = _made(kind, planned, subjects, settings, wanted, progress)
            write_json(path, record)
    agreement = None if other is None else compare_records(record, other)
    return Diagnosis(kind, path, record, agreement)


def compare_records(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """How far two records of significance agree on what is important, beside chance.

    Raises:
        UserError: they are about different modules.
    """
    share = one["settings"]["important"]
    return compare_important(one["scores"]["score"], other["scores"]["score"], share)


def _comparable(file: Path) -> Mapping[str, Any]:
    """The record to compare with; read before anything is trained.

    Raises:
        UserError: the file is missing or no record of significance.
    """
    if not file.is_file():
        raise UserError(
            f"{file} does not exist. Give --compare a record that `stratalign diagnose significance` wrote."
        )
    record = scores_record(file)
    if record.get("kind") != "significance" or not record["scores"].get("score"):
        raise UserError(
            f"{file} is a record of {record.get('kind')!r}. Give --compare one that "
            "`stratalign diagnose significance` wrote."
        )
    return record


def _with_options(kind: str, settings: BaseModel, options: Mapping[str, Any]) -> Any:
    known = type(settings).model_fields
    given = {key: value for key, value in options.items() if value is not None and value != []}
    for key in given:
        if key not in known:
            raise unknown_name(f"option of diagnose {kind}", key, known)
    try:
        return type(settings).model_validate(settings.model_dump() | given)
    except ValidationError as error:
        (first, *_) = error.errors()
        raise UserError(
            f"diagnostics.{kind}.{'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}."
        ) from None


def _plan(recipe: Recipe, out: Path, settings: Any) -> Plan:
    """A plan whose only condition trains every linear module: ILA's first stage, and the check of all the rest.

    A partition by a record is not used here, or the record that makes it would depend on itself: its blocks are even.
    """
    rate = recipe.training.learning_rate
    everywhere: dict[str, Any] = {"block": "full", "targets": ["linear"]}
    if isinstance(rate, dict):
        everywhere["learning_rate"] = max(rate.values())
    changed: dict[str, Any] = {
        "conditions": {STAGE_ONE: everywhere},
        "tune": None,
        "profile": None,
        "boundaries": None,
        "seeds": [getattr(settings, "seed", 0)],
        "seeds_vary": list(SEEDS_VARY),
    }
    if recipe.partition.by is not None:
        changed["partition"] = PartitionSettings(blocks=recipe.partition.blocks)
    return make_plan(recipe.model_copy(update=changed), out)


def _check_replaceable(plan: Plan, path: Path) -> None:
    """What is trained in the folder keeps the record that chose it.

    Raises:
        UserError: another record would take its place.
    """
    trained = trained_by(plan.folder, path) if path.is_file() else []
    if trained:
        raise UserError(
            f"{path} chose conditions that are trained there ({', '.join(trained)}), and this diagnosis would be "
            "another. Nothing was touched. Name another folder with --out, or take the change back."
        )


def _subjects(kind: str, plan: Plan, settings: Any) -> tuple[tuple[Subject, ...], str | None]:
    """What is looked at, and what tells its record from that of the base, or of all runs.

    Raises:
        UserError: see `find_subject`, `trained_runs`, `kept_stages`; options that exclude each other.
    """
    named = {key: getattr(settings, key, None) for key in _SUBJECTS}
    if getattr(settings, "stages", False):
        if any(named.values()) or settings.against:
            raise UserError(
                "Stages are the base's and one training's. Leave --run, --adapter and --against out."
            )
        return kept_stages(plan), "stages"
    if kind == "deltas" and not any(named.values()):
        return trained_runs(plan), None
    subject = find_subject(plan, *named.values())
    return (subject,), subject.label


def _fingerprint(kind: str, plan: Plan, subjects: Sequence[Subject], settings: BaseModel) -> dict[str, Any]:
    """Everything that a record depends on."""
    execution = plan.execution
    arithmetic = {
        "device": execution.device,
        "precision": execution.precision,
        "threads": execution.threads,
    }
    digests = {subject.name: subject.digest for subject in subjects}
    alone = {
        "kind": kind,
        "model": plan.fingerprints["model"],
        "files": base_files(plan.recipe.model),
        "partition": {name: list(layers) for name, layers in plan.blocks.items()},
        "settings": settings.model_dump(mode="json", exclude=_LOOKED_AT),
        "arithmetic": arithmetic,
    }
    if kind in _WITHOUT_DATA:
        return alone
    return {
        **alone,
        **training_of(plan),
        "subject": digests if len(digests) > 1 else subjects[0].digest,
        **_labels(settings),
    }


def _labels(settings: Any) -> dict[str, str]:
    """What the user's labels for probes hold, where there are some."""
    if getattr(settings, "labels", None) is None:
        return {}
    return {"labels": file_digest(labels_file(settings.labels))}


def _made(
    kind: str,
    plan: Plan,
    subjects: tuple[Subject, ...],
    settings: Any,
    fingerprint: dict[str, Any],
    progress: Progress,
) -> dict[str, Any]:
    torch.set_num_threads(plan.execution.threads)
    execution = plan.execution
    loaded = load_model(
        plan.recipe.model,
        dtype=execution.dtype,
        device=execution.torch_device,
        attention=execution.attention,
    )
    loaded = loaded if execution.batches == "packed" else loaded.padded()
    bench = Bench(plan, subjects, loaded, AdapterBank(loaded.model))
    subject = bench.subject
    data = {"loss": plan.recipe.training.loss, "source": plan.recipe.preferences.source}
    data = {} if kind in _WITHOUT_DATA else data
    about = {
        "schema": SCHEMA,
        "kind": kind,
        "model": plan.recipe.model.base,
        "subject": subject.label or subject.name,
        **data,
        "partition": {name: list(layers) for name, layers in plan.blocks.items()},
        "settings": settings.model_dump(mode="json"),
    }
    found = MEASURED[kind](bench, settings, progress)
    return rounded({**about, **found, "fingerprint": fingerprint})  # type: ignore[no-any-return]


def rounded(value: Any) -> Any:
    """Numbers to `DIGITS` significant digits; what is not finite becomes None, which JSON can say."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, (list, tuple)) else value
