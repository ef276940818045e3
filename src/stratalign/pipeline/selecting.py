"""Which records the conditions of a recipe are chosen by: found, read, held against the recipe they are used with."""

from __future__ import annotations

from collections.abc import Sequence
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
from stratalign.recipe import Recipe
from stratalign.records import StudyFolder, read_json

RECORDS = "diagnostics"
"""The folder of a study that its records lie in."""


def selector_records(
    recipe: Recipe, folder: StudyFolder
) -> tuple[dict[str, Signals | None], tuple[ConditionSpec, ...]]:
    """Every record that a condition names, None for one that is not there; and the conditions that wait for one."""
    waiting = []
    found: dict[str, Signals | None] = {}
    for spec in recipe.specs():
        if not needs_record(spec):
            continue
        by = str(spec.selection["by"])
        file = record_file(by, folder)
        _check_kind(by, file)
        found[by] = _record(file)["scores"] if file.is_file() else None
        if found[by] is None:
            waiting.append(spec)
    return found, tuple(waiting)


def study_blocks(recipe: Recipe, folder: StudyFolder, sites: Sequence[Site]) -> Blocks | None:
    """The study's blocks; None where they are made by a record that is not there.

    Raises:
        UserError: the partition does not fit the model, or its record does not.
    """
    settings = recipe.partition
    if settings.by is None:
        return partition(1 + max(site.layer for site in sites), settings.method, settings.blocks)
    file = record_file(settings.by, folder)
    _check_kind(settings.by, file)
    return measured_partition(settings, sites, _record(file)) if file.is_file() else None


def record_file(by: str, folder: StudyFolder) -> Path:
    """The file of a record: in the study's folder or, if nothing is there, the path as it is."""
    inside, outside = folder.path / by, Path(by).expanduser()
    return outside if outside.is_file() and not inside.is_file() else inside


def check_records(recipe: Recipe, folder: StudyFolder, fingerprints: Fingerprints, parts: Split) -> None:
    """Refuse a record of the study's own folder that was made from another model or other training rows.

    A record from elsewhere is the user's own choice: it may be of other preferences on purpose. One that was made
    without data is of any.

    Raises:
        UserError: a record is stale.
    """
    made_by = [
        (f"Condition {spec.name!r}", str(spec.selection["by"]))
        for spec in recipe.specs()
        if needs_record(spec)
    ]
    if recipe.partition.by is not None:
        made_by.append(("The partition", recipe.partition.by))
    if not made_by:
        return
    preferences = diagnosed_from(fingerprints["preferences"], parts)
    wanted = as_stored({"model": fingerprints["model"], "preferences": preferences})
    for what, by in made_by:
        if not (folder.path / by).is_file():
            continue
        stored = read_json(folder.path / by)["fingerprint"]
        for key in wanted:
            if key in stored and stored[key] != wanted[key]:
                other = (
                    "another model" if key == "model" else "other training rows, or from rows read otherwise"
                )
                raise UserError(
                    f"{what} is chosen by the record {folder.path / by}, which was made from {other}. Make it again, "
                    f"with the same --set: {diagnose_command(by, str(folder.path))}"
                )


def _check_kind(by: str, file: Path) -> None:
    """A record that is not there must be one that a diagnosis could make.

    Raises:
        UserError: no diagnosis leaves a record of this name.
    """
    path = Path(by)
    made = path.parent.name == RECORDS and path.suffix == ".json" and record_kind(by) in KINDS
    if not made and not file.is_file():
        raise unknown_name("record", by, [f"{RECORDS}/{kind}.json" for kind in KINDS], key=record_kind)


def _record(file: Path) -> dict[str, Any]:
    """A record as a diagnosis wrote it.

    Raises:
        UserError: the file is no record of a diagnosis.
    """
    record: Any = read_json(file)
    if not isinstance(record, dict) or not {"kind", "fingerprint", "scores"} <= set(record):
        raise UserError(f"{file} is no record of a diagnosis. Give one that `stratalign diagnose` wrote.")
    return record
