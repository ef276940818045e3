"""Digests of values and files, and seeds drawn from keys: the same on every machine and in every process."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

VARIES = {
    "init": "the initialisation",
    "order": "the order of the pairs",
    "sampling": "the sampling of the answers",
}
"""What the seed of a run may draw, in words, by its name in the recipe's `seeds_vary`."""

SEEDS_VARY = ("init", "sampling")
"""What it draws unless the recipe says otherwise."""


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON of `value` (keys sorted, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _sha256(file)
        )


def keyed_seed(*parts: object) -> int:
    """A 63-bit seed drawn from `parts`: the same on every machine, process and version of Python."""
    raw = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(raw[:8], "big") >> 1


def _sha256(file: Any) -> str:
    """For Python 3.10, which has no hashlib.file_digest."""
    state = hashlib.sha256()
    while chunk := file.read(1 << 20):
        state.update(chunk)
    return state.hexdigest()
