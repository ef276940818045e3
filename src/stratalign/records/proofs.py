"""Where the proof of a run stands, and whether its adapter is still the one that was proven.

A proof is made once, when training ends; an adapter's files can change at any time after. Whoever shows a proof or uses
a study's adapter asks here, so that "proven" is never said of other bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from stratalign.errors import StudyFailure
from stratalign.records.files import read_record
from stratalign.records.folder import StudyFolder
from stratalign.records.keys import file_digest
from stratalign.records.shapes import MANIFEST

Outcome = Literal["holds", "fails", "cannot tell"]
Standing = Literal["proven", "cannot tell", "failed", "changed"]

STANDINGS: dict[Standing, str] = {
    "proven": "proven",
    "cannot tell": "not proven: cannot be told in this precision",
    "failed": "not proven: a check failed",
    "changed": "not proven: changed since it was proven",
}
"""Each standing as a person reads it."""

HASHED = {"adapter_model.safetensors": "adapter_sha256", "adapter_config.json": "config_sha256"}
"""The files that say what an adapter does, and where the manifest keeps the digest of each. Manifests of older studies
have the first one only."""


def standing_of(proof: object, *, changed: bool) -> Standing | None:
    """How a manifest's proof reads today; None where none has been made.

    Args:
        proof: the entry `proof` of a run in the manifest.
        changed: whether the run's adapter has other bytes now, see `changed_files`.
    """
    if not isinstance(proof, Mapping):
        return None
    if changed:
        return "changed"
    if proof.get("proven"):
        return "proven"
    checks = proof.get("checks")
    found = {outcome_of(check) for check in checks.values()} if isinstance(checks, Mapping) else set()
    # what is not proven although nothing says why has failed
    return "cannot tell" if "cannot tell" in found and "fails" not in found else "failed"


def outcome_of(check: object) -> Outcome | None:
    """What one check of a manifest's proof came to; None where it was not made. "Cannot tell" is stored as null."""
    if not isinstance(check, Mapping):
        return None
    held = check.get("holds", False)
    return "cannot tell" if held is None else "holds" if held else "fails"


def changed_files(folder: StudyFolder, run: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of a run's adapter whose bytes are not those that training saved.

    A file that is not there is not named: a folder can be copied without its adapters, and be reported on.

    Args:
        folder: the study's.
        run: the run's id.
        entry: what the manifest has of it.
    """
    trained = entry.get("trained")
    kept = trained if isinstance(trained, Mapping) else {}
    return tuple(
        name
        for name, key in HASHED.items()
        if key in kept
        and (file := folder.adapters / run / name).exists()
        and not (file.is_file() and file_digest(file) == kept[key])
    )


def adapter_digests(adapter: Path) -> dict[str, str]:
    """What the manifest keeps of an adapter that was just saved."""
    return {key: file_digest(adapter / name) for name, key in HASHED.items()}


def refuse_changed(adapter: Path) -> None:
    """Refuse an adapter folder of a study whose files are not those that training saved; any other folder passes.

    Raises:
        StudyFailure: a file has changed.
    """
    place = adapter.absolute()
    study = StudyFolder(place.parent.parent)
    if place.parent != study.adapters or not study.manifest.is_file():
        return
    entry = (read_record(study.manifest, MANIFEST).get("runs") or {}).get(place.name) or {}
    changed = changed_files(study, place.name, entry)
    if changed:
        raise StudyFailure(
            f"{adapter / changed[0]} has changed since it was trained: its SHA-256 is not the one in {study.manifest}. "
            "Restore it, or delete its folder and run `stratalign train` to train it anew."
        )
