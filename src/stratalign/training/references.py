"""Reference log-probabilities computed once and kept for other studies on the same base and data.

What is kept lies in the user's cache folder under a key of everything that it depends on: the bytes of the base's
files, every token and label, the arithmetic (device, precision, tokens per pass, library versions). Adapters, learning
rates, losses and seeds are no part of it, and a changed model or row has another key: nothing in there can be stale.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from stratalign.engine import JointEngine, for_each_pack
from stratalign.preferences import Tree
from stratalign.records import Progress, digest, silent, write_bytes


def stored_references(
    engine: JointEngine, trees: Sequence[Tree], circumstances: Mapping[str, Any], progress: Progress = silent
) -> Tensor:
    """The base's log-probabilities of every tree [trees, branches] in nats, float64, on the CPU.

    Args:
        circumstances: what the values depend on beside trees and library versions: the base's files and how it runs.
    """
    file = cache_folder() / "references" / f"{reference_key(trees, circumstances)}.safetensors"
    try:
        stored: Tensor = load_file(file)["reference"]
        return stored
    except (FileNotFoundError, SafetensorError, KeyError):
        pass  # not there, or cut off while it was written
    planned = engine.pack_tokens
    found = compute_references(engine, trees, progress)
    if engine.pack_tokens == planned:  # else the key does not say how they were computed
        write_bytes(file, save({"reference": found}))
    return found


@torch.no_grad()
def compute_references(engine: JointEngine, trees: Sequence[Tree], progress: Progress = silent) -> Tensor:
    """The same, computed; batches are cut from the trees alone, whatever runs the engine has."""
    rows: dict[int, Tensor] = {}

    def compute(_number: int, part: list[int]) -> None:
        reference = engine.base(engine.collate([trees[i] for i in part])).reference.cpu()
        rows.update(zip(part, reference, strict=True))
        progress("reference log-probabilities", len(rows), len(trees))

    for_each_pack(engine, trees, compute)
    return torch.stack([rows[i] for i in range(len(trees))])


def reference_key(trees: Sequence[Tree], circumstances: Mapping[str, Any]) -> str:
    """SHA-256 of all that the values depend on."""
    tokens = [[tree.prefix, [[branch.ids, branch.first_label] for branch in tree.branches]] for tree in trees]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return digest({"trees": tokens, "versions": versions, **circumstances})


def cache_folder() -> Path:
    """STRATALIGN_CACHE, or `stratalign` in the user's cache folder (XDG_CACHE_HOME, by default ~/.cache)."""
    named = os.environ.get("STRATALIGN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named).expanduser() if named else Path(base) / "stratalign"
