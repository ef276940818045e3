"""What somebody needs to make a study again: recipe, command, versions, hashes. Pure; knows nothing of pages.

The report is made to be sent on: of paths only the last part is shown, of web addresses no user, password or query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from stratalign.records import digest
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.results import public_name

COMMAND = "stratalign study recipe.yaml --out study && stratalign report study"


class Named(NamedTuple):
    name: str
    value: str


class Reproducing(NamedTuple):
    """`recipe` is YAML text, shortened as said above; `hashes` and `versions` are name and value."""

    recipe: str
    command: str
    versions: tuple[Named, ...]
    hashes: tuple[Named, ...]


def reproducing(records: StudyRecords) -> Reproducing:
    """From the recipe, the environment, the manifest and the judges."""
    return Reproducing(
        recipe=yaml.safe_dump(shareable(records.recipe), sort_keys=False, allow_unicode=True)
        if records.recipe
        else "",
        command=COMMAND,
        versions=_versions(records),
        hashes=_hashes(records),
    )


def recipe_hash(records: StudyRecords) -> str:
    """SHA-256 of the recipe's values; comments and layout do not count."""
    return digest(_plain(records.recipe))


def shareable(value: Any) -> Any:
    """A setting without what tells of somebody's machine or is a secret."""
    if isinstance(value, Mapping):
        return {str(key): shareable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [shareable(part) for part in value]
    if not isinstance(value, str):
        return value if isinstance(value, (bool, int, float, type(None))) else str(value)
    if "://" in value:
        return _address(value)
    return public_name(value)


def _address(value: str) -> str:
    try:
        parts = urlsplit(value)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(an address)"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{re.sub(r'[?#].*', '', parts.path)}"


def _versions(records: StudyRecords) -> tuple[Named, ...]:
    environment, execution = records.environment, records.execution
    packages = environment.get("packages")
    found = [Named("Python", str(environment["python"]))] if environment.get("python") else []
    if isinstance(packages, Mapping):
        found += [Named(str(name), str(version)) for name, version in packages.items()]
    found += [
        Named(name, str(source[key]))
        for name, source, key in (
            ("processor", environment, "processor"),
            ("GPU", environment, "gpu"),
            ("device", execution, "device"),
            ("precision", execution, "precision"),
            ("attention", execution, "attention"),
            ("batches", execution, "batches"),
            ("threads", execution, "threads"),
        )
        if source.get(key) is not None
    ]
    return tuple(found)


def _hashes(records: StudyRecords) -> tuple[Named, ...]:
    found = [Named("recipe", recipe_hash(records))] if records.recipe else []
    if records.preferences.get("digest"):
        found.append(Named("preference rows", str(records.preferences["digest"])))
    model = records.manifest.get("model") or {}
    found += [Named(f"base: {name}", str(value)) for name, value in (model.get("files") or {}).items()]
    found += [
        Named(f"protocol {judge.get('protocol', '')}", str(judge["hash"]))
        for judge in records.judges
        if judge.get("hash")
    ]
    for run, entry in (records.manifest.get("runs") or {}).items():
        trained = entry.get("trained") if isinstance(entry, Mapping) else None
        if isinstance(trained, Mapping) and trained.get("adapter_sha256"):
            found.append(Named(f"adapter {run}", str(trained["adapter_sha256"])))
    return tuple(found)


def _plain(value: Any) -> Any:
    """As JSON can carry it: YAML also knows dates."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if isinstance(value, (str, bool, int, float, type(None))) else str(value)
