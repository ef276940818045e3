"""Which records the conditions of a recipe are chosen by: found, read, held against the recipe they are used with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stratalign.blocks import ConditionSpec, Signals, diagnose_command
from stratalign.errors import UserError
from stratalign.pipeline.fingerprints import Fingerprints, as_stored
from stratalign.recipe import Recipe
from stratalign.records import StudyFolder, read_json


def selector_records(
    recipe: Recipe, folder: StudyFolder
) -> tuple[dict[str, Signals | None], tuple[ConditionSpec, ...]]:
    """Every record that a condition names, None for one that is not there; and the conditions that wait for one."""
    waiting = []
    found: dict[str, Signals | None] = {}
    for spec in recipe.specs():
        if "by" not in spec.selection:
            continue
        by = str(spec.selection["by"])
        file = record_file(by, folder)
        found[by] = _signals(file) if file.is_file() else None
        if found[by] is None:
            waiting.append(spec)
    return found, tuple(waiting)


def record_file(by: str, folder: StudyFolder) -> Path:
    """The file of a record: in the study's folder or, if nothing is there, the path as it is."""
    inside, outside = folder.path / by, Path(by).expanduser()
    return outside if outside.is_file() and not inside.is_file() else inside


def check_records(recipe: Recipe, folder: StudyFolder, fingerprints: Fingerprints) -> None:
    """Refuse a record of the study's own folder that was made from another model or other preferences.

    A record from elsewhere is the user's own choice: it may be of other preferences on purpose. One that was made
    without data is of any.

    Raises:
        UserError: a record is stale.
    """
    for spec in recipe.specs():
        by = spec.selection.get("by")
        if by is None or not (folder.path / by).is_file():
            continue
        stored = read_json(folder.path / by)["fingerprint"]
        for key in ("model", "preferences"):
            if key in stored and stored[key] != as_stored(fingerprints[key]):
                raise UserError(
                    f"Condition {spec.name!r} is chosen by the record {folder.path / by}, which was made from another "
                    f"{key} section. Make it again: {diagnose_command(by)}"
                )


def _signals(file: Path) -> Signals:
    """The numbers that a record holds for selectors.

    Raises:
        UserError: the file is no record of a diagnosis.
    """
    record: Any = read_json(file)
    if not isinstance(record, dict) or not {"kind", "fingerprint", "scores"} <= set(record):
        raise UserError(f"{file} is no record of a diagnosis. Give one that `stratalign diagnose` wrote.")
    signals: Signals = record["scores"]
    return signals
