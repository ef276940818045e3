"""A small finished study with a record of every kind: tuned, judged by a server, scored by a function, diagnosed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import stratalign as sa

sys.path.insert(0, str(Path(__file__).parents[1] / "judging"))
from fake_server import NAMES, FakeServer

SCORER = """
def score(prompts, responses):
    return {"size": [len(one) for one in responses]}
score.dimensions = {"size": {"better": "lower", "unit": "letters"}}
"""


def whole_recipe(beside: Path, server: FakeServer, recipe: Callable[..., dict[str, Any]]) -> Path:
    """The recipe's file, in a folder that is on the path for modules."""
    (beside / "whole_scores.py").write_text(SCORER)
    protocol = {
        "id": "three",
        "kind": "single",
        "scale": [1, 5],
        "max_tokens": 400,
        "dimensions": [{"name": name, "about": name} for name in NAMES],
        "system": "Judge by {dimensions}. Reply with a JSON array of dimension and score.",
        "user": "{prompt}\n---\n{response}",
    }
    (beside / "three.yaml").write_text(yaml.safe_dump(protocol))
    judge = {
        "protocol": str(beside / "three.yaml"),
        "base_url": server.url,
        "model": "fake-judge",
        "backoff": 0.01,
    }
    written = recipe(
        conditions={
            "base": None,
            "mid": None,
            "global": {"block": "global", "tune": {"learning_rate": [5e-4, 2e-3]}},
        },
        judge=judge,
        scorers=[{"function": "whole_scores:score", "name": "mine"}],
    )
    file = beside / "recipe.yaml"
    file.write_text(yaml.safe_dump(written))
    return file


def whole_study(file: Path, out: Path) -> Path:
    """The study of the recipe, finished."""
    sa.study(file, out=out)
    sa.diagnose("weights", file, out=out)
    sa.report([out])
    return out
