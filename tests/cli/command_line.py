"""Calls the command line within this process, and says what a refusal must look like."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import yaml

from stratalign.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments: object) -> Outcome:
    """`stratalign ARGUMENTS`: its exit code, and everything that it or a library below it printed."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["stratalign", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _logs_to(err),
    ):
        try:
            main()
            code = 0
        except SystemExit as left:
            code = left.code
    return Outcome(code, out.getvalue(), err.getvalue())


def refusal(*arguments: object, lines: int = 1) -> str:
    """The message of a call that must be refused as the user's mistake: exit code 2 and this message alone."""
    done = call(*arguments)
    assert done.code == 2, done
    said = [line for line in done.err.splitlines() if not line.startswith("This recipe runs code: ")]
    assert said[0].startswith("Error: "), done.err
    assert "Traceback" not in done.err
    assert len(said) == lines, done.err
    return "\n".join(said).removeprefix("Error: ")


def write_recipe(file: Path, model: object, source: object, **changes: Any) -> Path:
    """A study of two runs and two steps; keyword arguments replace top-level keys, mappings key by key."""
    recipe: dict[str, Any] = {
        "model": str(model),
        "preferences": {"source": str(source), "train": 6, "validation": 0, "held_out": 4},
        "conditions": ["base", "mid"],
        "training": {
            "learning_rate": 1e-3,
            "batch_size": 3,
            "gradient_accumulation": 1,
            "rank": 4,
            "alpha": 8,
        },
        "generation": {"max_new_tokens": 4, "batch_size": 4},
    }
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(recipe.get(key), dict)
        recipe[key] = recipe[key] | value if both else value
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return file


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file's bytes, and every folder, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@contextlib.contextmanager
def _logs_to(stream: io.StringIO):
    """Libraries keep the stderr that they found when they were imported; a user sees what they log there."""
    with contextlib.ExitStack() as stack:
        for name in ("transformers", "huggingface_hub", "datasets", "peft"):
            for handler in logging.getLogger(name).handlers:
                if isinstance(handler, logging.StreamHandler):
                    stack.callback(handler.setStream, handler.setStream(stream) or handler.stream)
        yield
