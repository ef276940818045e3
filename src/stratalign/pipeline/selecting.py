"""Which records the conditions of a recipe are chosen by: found, read, held against the recipe they are used with."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stratalign.blocks import (
    Blocks,
    ConditionSpec,
    Signals,
    Site,
    diagnose_command,
    measured_partition,
    needs_record,
    partition,
    record_kind,
)
from stratalign.diagnostics import KINDS
from stratalign.errors import UserError, unknown_name
from stratalign.pipeline.fingerprints import Fingerprints, as_stored, diagnosed_from
from stratalign.preferences import Split
from stratalign.recipe import Recipe, load_recipe
from stratalign.records import MANIFEST, StudyFolder, read_json, read_record, refuse_link, write_bytes

RECORDS = "diagnostics"
"""The folder of a study that its records lie in."""


def selector_records(
    recipe: Recipe, folder: StudyFolder, beside: Path | None = None
) -> tuple[dict[str, Signals | None], tuple[ConditionSpec, ...]]:
    """Every record that a condition names, None for one that is not there; and the conditions that wait for one.

    Args:
        beside: here and below, the folder of the recipe's file, None of a recipe without one.
    """
    waiting = []
    found: dict[str, Signals | None] = {}
    for spec in recipe.specs():
        if not needs_record(spec):
            continue
        by = str(spec.selection["by"])
        file = record_file(by, folder, beside)
        _check_kind(by, file)
        found[by] = scores_record(file)["scores"] if file.is_file() else None
        if found[by] is None:
            waiting.append(spec)
    return found, tuple(waiting)


def study_blocks(
    recipe: Recipe, folder: StudyFolder, sites: Sequence[Site], beside: Path | None = None
) -> Blocks | None:
    """The study's blocks; None where they are made by a record that is not there.

    Raises:
        UserError: the partition does not fit the model, or its record does not.
    """
    settings = recipe.partition
    if settings.by is None:
        return partition(1 + max(site.layer for site in sites), settings.method, settings.blocks)
    file = record_file(settings.by, folder, beside)
    _check_kind(settings.by, file)
    return measured_partition(settings, sites, scores_record(file)) if file.is_file() else None


def record_file(by: str, folder: StudyFolder, beside: Path | None = None) -> Path:
    """The file of a record: in the study's folder, beside the recipe or the path as it is, the first that is there."""
    outside = Path(by).expanduser()
    own = own_record(by, folder, beside)
    return own or (outside if outside.is_file() else folder.path / by)


def own_record(by: str, folder: StudyFolder, beside: Path | None = None) -> Path | None:
    """The file of a record of the study's own: in its folder, else beside its recipe; None of one from elsewhere.

    Where the recipe lies in the working directory, a path other than diagnostics/NAME is no record beside it, but the
    user's path as it is.
    """
    path = Path(by).expanduser()
    inside = _lying_in(folder.path, path)
    if inside is not None or beside is None or path.is_absolute():
        return inside
    as_it_is = os.path.abspath(beside) == os.getcwd() and path.parent != Path(RECORDS)
    return None if as_it_is else _lying_in(beside, path)


def records_beside(recipe: Recipe, folder: StudyFolder, beside: Path | None) -> dict[str, Path]:
    """The records that are there beside the recipe alone: what the study's folder needs to stand by itself."""
    missing = [by for _, by in _chosen(recipe) if own_record(by, folder) is None]
    found = {by: own_record(by, folder, beside) for by in missing}
    return {by: file for by, file in found.items() if file is not None}


def bring_records(records: Mapping[str, Path], folder: StudyFolder) -> None:
    """Copy records from beside the recipe into the study's folder."""
    for by, file in records.items():
        inside = Path(os.path.normpath(by))
        for part in (*inside.parents[:-1], inside):
            refuse_link(folder.path / part)
        write_bytes(folder.path / by, file.read_bytes())


def check_records(
    recipe: Recipe, folder: StudyFolder, fingerprints: Fingerprints, parts: Split, beside: Path | None = None
) -> None:
    """Refuse a record of the study's own that was made from another model or other training rows.

    A record from elsewhere is the user's own choice: it may be of other preferences on purpose. One that was made
    without data is of any, and one without a fingerprint is the user's own.

    Raises:
        UserError: a record is stale.
    """
    made_by = _chosen(recipe)
    if not made_by:
        return
    preferences = diagnosed_from(fingerprints["preferences"], parts)
    wanted = as_stored({"model": fingerprints["model"], "preferences": preferences})
    for what, by in made_by:
        file = own_record(by, folder, beside)
        if file is None:
            continue
        stored = scores_record(file).get("fingerprint") or {}
        for key in wanted:
            if key in stored and stored[key] != wanted[key]:
                other = (
                    "another model" if key == "model" else "other training rows, or from rows read otherwise"
                )
                raise UserError(
                    f"{what} is chosen by the record {file}, which was made from {other}. Make it again, "
                    f"with the same --set: {diagnose_command(by, str(folder.path))}"
                )


def trained_by(folder: StudyFolder, file: Path) -> list[str]:
    """The trained conditions of a study that this record of its folder chose; all of them if it made the partition."""
    if not folder.manifest.is_file() or not folder.recipe.is_file():
        return []
    runs = read_record(folder.manifest, MANIFEST)["runs"].values()
    trained = {run.get("candidate_of", run["condition"]) for run in runs if "trained" in run}
    if not trained:
        return []
    stored = load_recipe(folder.recipe)

    def is_it(by: object) -> bool:
        own = None if by is None else own_record(str(by), folder)
        return own is not None and own.samefile(file)

    if is_it(stored.partition.by):
        return sorted(trained)
    chosen = {spec.name for spec in stored.specs() if needs_record(spec) and is_it(spec.selection["by"])}
    return sorted(chosen & trained)


def _chosen(recipe: Recipe) -> list[tuple[str, str]]:
    """What is chosen by a record, in words, and the record."""
    found = [
        (f"Condition {spec.name!r}", str(spec.selection["by"]))
        for spec in recipe.specs()
        if needs_record(spec)
    ]
    return found if recipe.partition.by is None else [*found, ("The partition", recipe.partition.by)]


def _lying_in(folder: Path, path: Path) -> Path | None:
    """The file of that path from a folder, if it is there and lies in it."""
    file = folder / path
    inside = Path(os.path.abspath(file)).is_relative_to(os.path.abspath(folder))
    return file if inside and file.is_file() else None


def _check_kind(by: str, file: Path) -> None:
    """A record that is not there must be one that a diagnosis could make.

    Raises:
        UserError: no diagnosis leaves a record of this name.
    """
    path = Path(by)
    made = path.parent.name == RECORDS and path.suffix == ".json" and record_kind(by) in KINDS
    if not made and not file.is_file():
        raise unknown_name("record", by, [f"{RECORDS}/{kind}.json" for kind in KINDS], key=record_kind)


def scores_record(file: Path) -> dict[str, Any]:
    """A record, as a diagnosis or the user wrote it: an object with `scores`, signal -> module -> number.

    Raises:
        UserError: the file is not a record.
    """
    read: Any = read_json(file)
    record: dict[str, Any] = read if isinstance(read, dict) else {}
    scores = record.get("scores")
    if not isinstance(scores, dict):
        raise UserError(
            f"{file} is not a record: it has no `scores`. Give one that `stratalign diagnose` wrote, or write "
            '{"scores": {SIGNAL: {MODULE: NUMBER, ...}}}.'
        )
    for signal, numbers in scores.items():
        if not isinstance(numbers, dict):
            raise UserError(
                f"{file}: scores.{signal} must have a number for each module, got {type(numbers).__name__}."
            )
        for module, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise UserError(f"{file}: scores.{signal}.{module} must be a finite number, got {value!r}.")
    return record
