"""A study folder with five conditions, four controls and two protocols, of plausible noise."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fake_studies import full_study, manifest

from stratalign.records import Score, StudyFolder, write_json, write_scores, write_text

RECIPE = """\
model: tiny/model
preferences: {source: pairs.jsonl, objective: [Claim_Accuracy]}
conditions:
  base:
  full:
  local:
  mid:
  global:
  base_again: {block: none, sampling_seed: 1}
  shuffled: {block: full, labels: shuffled}
  random: {random: mid, seed: 1}
  thin: {block: full, parameters_like: mid}
"""
JUDGED = (
    "grammar",
    "coherence",
    "topic",
    "claim_accuracy",
    "instruction",
    "conciseness",
    "safety",
    "overall",
)
MEASURED = {"reward_accuracy": "higher", "repetition": "lower", "length": None, "kl_to_base": None}
EFFECTS: dict[str, dict[str, float]] = {
    "full": {"claim_accuracy": 0.9, "coherence": -0.6, "safety": -0.25, "overall": 0.3, "repetition": 0.5},
    "local": {"grammar": 0.1},
    "mid": {"claim_accuracy": 1.0, "topic": -0.2, "reward_accuracy": 1.0},
    "global": {"claim_accuracy": 0.3},
    "shuffled": {"conciseness": 0.6},
    "random": {"claim_accuracy": 0.5},
    "thin": {"claim_accuracy": 0.6},
}
"""How far a condition moves a dimension, in standard deviations of its noise; 0 where nothing stands."""


def controlled_study(
    path: Path, effects: Mapping[str, Mapping[str, float]] = EFFECTS, prompts: int = 200
) -> Path:
    """A finished study whose judged protocol is `microworld`; `text` stands beside it."""
    study = StudyFolder(full_study(path, list(conditions())))
    write_text(study.recipe, RECIPE)
    write_json(study.manifest, controlled_manifest())
    write_json(
        study.judges,
        {
            "judges": [
                _judge("microworld", dict.fromkeys(JUDGED, "higher")),
                _judge("text", MEASURED),
            ]
        },
    )
    write_scores(study.scores, _scores(effects, prompts))
    return path


def conditions() -> Sequence[str]:
    return ("base", "full", "local", "mid", "global", "base_again", "shuffled", "random", "thin")


def controlled_manifest() -> dict[str, Any]:
    found = manifest(conditions())
    runs = found["runs"]
    runs["base_again"] |= {"layers": [], "targets": [], "parameters": 0, "rank": 16}
    runs["shuffled"] |= {"layers": list(range(12)), "labels": "shuffled", "parameters": 2048 * 12}
    runs["random"] |= {"layers": [1, 4, 6, 10]}
    # mid has 4 layers x 2,048 parameters at rank 16; all 12 layers at rank 5 have 12 x 128 x 5.
    runs["thin"] |= {"layers": list(range(12)), "rank": 5, "parameters": 12 * 128 * 5}
    return found


def _judge(name: str, better: Mapping[str, str | None]) -> dict[str, Any]:
    dimensions = [
        {"name": dimension, "unit": "share", "better": direction, "about": ""}
        for dimension, direction in better.items()
    ]
    return {"judge": name, "protocol": name, "hash": "0" * 64, "dimensions": dimensions}


def _scores(effects: Mapping[str, Mapping[str, float]], prompts: int) -> list[Score]:
    noise = random.Random(11)
    rows = []
    for condition in conditions():
        for n in range(prompts):
            for protocol, names in (("microworld", JUDGED), ("text", tuple(MEASURED))):
                for name in names:
                    value = round(noise.gauss(effects.get(condition, {}).get(name, 0.0), 1), 3)
                    rows.append(
                        Score(f"p{n}", f"c{n}", condition, 0, protocol, protocol, name, 0, value, "ok")
                    )
    return rows
