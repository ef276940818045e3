"""Fixtures of the whole project: tiny random models with a tokenizer, and the shipped transcripts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_models import TRANSCRIPTS, make_tokenizer, random_model, small_recipe


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tiny matrices are slower on several threads, and bits do not depend on the machine's cores."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or left in the user's cache folder."""
    monkeypatch.setenv("STRATALIGN_CACHE", str(tmp_path / "user cache"))


@pytest.fixture(scope="session")
def transcripts() -> Path:
    """About thirty hh-rlhf style pairs that ship with the project."""
    return TRANSCRIPTS


@pytest.fixture(scope="session")
def hh_rlhf() -> Path:
    """A real hh-rlhf file, named by STRATALIGN_HH_RLHF; tests that want it skip without it."""
    name = os.environ.get("STRATALIGN_HH_RLHF")
    if not name or not Path(name).is_file():
        pytest.skip("set STRATALIGN_HH_RLHF to a file of real hh-rlhf rows")
    return Path(name)


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a tiny random model folder: `make_model("llama", layers=6, seed=0)`; the same call gives the same folder."""
    made: dict[tuple[Any, ...], Path] = {}

    def make(kind: str = "llama", layers: int = 6, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
        key = (kind, layers, seed, dtype)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{kind}-{layers}")
            tokenizer = make_tokenizer()
            torch.manual_seed(seed)
            random_model(kind, layers, len(tokenizer)).to(dtype).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture
def recipe(make_model: Callable[..., Path], transcripts: Path) -> Callable[..., dict[str, Any]]:
    """`recipe(seeds=[0, 1])`: the small recipe on a random Llama and the shipped transcripts, as a mapping."""
    return lambda **changes: {**small_recipe(make_model("llama"), transcripts), **changes}
