"""Fingerprints: what each stored result depends on, so that a change which would make it stale is refused.

A fingerprint is a small mapping of names to values, stored in full, so that a refusal can show the difference.
Additions (a condition, a seed) bring new fingerprints and leave the stored ones alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stratalign.errors import UserError
from stratalign.records import StudyFolder, read_json, write_json

Fingerprints = dict[str, dict[str, Any]]


def check_fresh(folder: StudyFolder, wanted: Fingerprints) -> None:
    """Compare what is asked with what the stored results were made from.

    Raises:
        UserError: a stored result would be stale; nothing was changed.
    """
    if folder.manifest.is_file() and not folder.fingerprints.is_file():
        raise UserError(
            f"{folder.fingerprints} is missing, so nobody can tell what the results in that folder were made from. "
            "Restore it, or name a new folder with --out."
        )
    stored: Fingerprints = read_json(folder.fingerprints) if folder.fingerprints.is_file() else {}
    alike: dict[tuple[str, str], list[str]] = {}  # a learning rate changes in every module at once
    for stage, values in wanted.items():
        for key, before, now in _changes(stored[stage], as_stored(values)) if stage in stored else ():
            alike.setdefault((stage, f"was {_short(before)}, now {_short(now)}"), []).append(key)
    differences = [
        f"{stage}: {keys[0]}{f' (and {len(keys) - 1} more)' if len(keys) > 1 else ''} {change}"
        for (stage, change), keys in alike.items()
    ]
    if differences:
        shown = "\n  ".join(differences[:10]) + (
            f"\n  and {len(differences) - 10} more" if len(differences) > 10 else ""
        )
        raise UserError(
            f"{folder.path} holds results that this change would make stale. Nothing was touched.\n  {shown}\n"
            "Name a new folder with --out, or take the change back. Adding conditions or seeds is always possible."
        )


def add_fingerprints(folder: StudyFolder, new: Fingerprints) -> None:
    """Store the fingerprints of results that are about to be made."""
    stored: Fingerprints = read_json(folder.fingerprints) if folder.fingerprints.is_file() else {}
    merged = stored | {stage: as_stored(values) for stage, values in new.items()}
    if merged != stored:
        write_json(folder.fingerprints, dict(sorted(merged.items())))


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*before, *now]):
        place = f"{path}.{key}" if path else str(key)
        old, new = before.get(key, "not set"), now.get(key, "not set")
        if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            old, new = dict(enumerate(old)), dict(enumerate(new))
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, place)
        elif old != new:
            yield place, old, new


def as_stored(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists, keys strings."""
    if isinstance(value, Mapping):
        return {str(key): as_stored(item) for key, item in value.items()}
    return [as_stored(item) for item in value] if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
