"""Studies of which every record can be changed by hand, for recommendations and failure signatures.

Forty prompts, each its own cluster; a condition's score is base's plus what `gains` says, so that net win rates are
known: 30 wins and 10 losses are +0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fake_studies import BLOCKS, manifest

from stratalign.recipe import parse_recipe
from stratalign.records import (
    LogProbRecord,
    Response,
    Score,
    StepRecord,
    StudyFolder,
    append_jsonl,
    write_json,
    write_scores,
    write_text,
)

PROMPTS = 40
ALL = (1,) * PROMPTS
NONE = (0,) * PROMPTS
HALF = (1, -1) * (PROMPTS // 2)
MOST = (1,) * 30 + (-1,) * 10
"""30 wins, 10 losses: +0.5."""
FEW = (1,) * 14 + (-1,) * 9 + (0,) * 17
"""14 wins, 9 losses: +0.125, with 23 of 40 prompts that differ."""

WRITTEN: dict[str, Any] = {
    "base_again": {"block": "none", "sampling_seed": 1},
    "shuffled": {"block": "full", "labels": "shuffled"},
    "random": {"random": "mid", "seed": 1},
    "thin": {"block": "full", "parameters_like": "mid"},
    **{
        name: {"by": "diagnostics/significance.json", "keep": 0.2, "ranking": "shuffled", "seed": seed}
        for seed, name in enumerate(("drawn-1", "drawn-2", "drawn-3", "drawn-4", "drawn-5", "drawn-wide"))
    },
    "drawn-other": {"by": "diagnostics/gradients.json", "keep": 0.2, "ranking": "shuffled"},
    "chosen": {"by": "diagnostics/significance.json", "keep": 0.2},
    "other": {"by": "diagnostics/gradients.json", "keep": 0.2},
}
DRAWN = dict.fromkeys(("drawn-1", "drawn-2", "drawn-3", "drawn-4", "drawn-5", "drawn-other"), (0, 3, 6, 9))
LAYERS: dict[str, Sequence[int]] = {
    "base_again": [], "shuffled": range(12), "random": [1, 4, 6, 10], "thin": range(12), **DRAWN,
    "drawn-wide": range(12),
}  # fmt: skip


def answered_study(
    path: Path,
    gains: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    objective: Sequence[str] = ("fluency",),
    dimensions: Sequence[str] = ("fluency", "coherence"),
    steps: Callable[[str, int], Mapping[str, float]] = lambda run, at: {},
    pairs: Callable[[str, int], Mapping[str, float]] = lambda run, n: {},
    answers: Callable[[str, int], Mapping[str, Any]] = lambda run, n: {},
    scores: Callable[[str, str, int, float], tuple[float | None, str]] = lambda run, name, n, value: (
        value,
        "ok",
    ),
    judge: Mapping[str, Any] | None = None,
    preferences: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
    listed: bool = False,
    clusters: int = PROMPTS,
) -> Path:
    """A finished study in `path`.

    Args:
        path: its folder.
        gains: condition -> dimension -> what each prompt scores above the base; names of `WRITTEN` have its settings.
        objective: what the preferences are meant to move.
        dimensions: what was judged, higher is better.
        steps, pairs, answers, scores: changes of one record; each gets the run, and which of its records it is.
        judge: more keys of the judge's entry.
        preferences, training: changes of the recipe's sections.
        account: more keys of preferences.json; generation: of the recipe.
        listed: whether the recipe lists its conditions instead of mapping names to settings.
        clusters: into so many the prompts fall, one after another.
    """
    study = StudyFolder(path)
    names = ["base", *gains]
    own = {name: WRITTEN.get(name) for name in names}
    recipe = {
        "model": "tiny/model",
        "preferences": {
            "source": "owner/pairs",
            "objective": list(objective),
            "train": 500,
            **(preferences or {}),
        },
        "conditions": [name if value is None else {name: value} for name, value in own.items()]
        if listed
        else own,
        "training": {"learning_rate": 1e-4, "beta": 0.1, **(training or {})},
        "generation": {"max_new_tokens": 64, **(generation or {})},
    }
    write_text(study.recipe, parse_recipe(recipe).to_yaml())
    write_json(study.manifest, _manifest(names, training or {}))
    parts = {name: {"rows": 500, "clusters": 400} for name in ("train", "validation", "held_out", "unused")}
    rows = {"read": 1_000_000, "kept": 1_000_000, "bad": 0}
    write_json(study.preferences, {"rows": rows, "parts": parts, **(account or {})})
    found = [{"name": name, "unit": "points", "better": "higher", "about": ""} for name in dimensions]
    entry = {"judge": "j", "protocol": "p", "hash": "0", "dimensions": found, **(judge or {})}
    write_json(study.judges, {"schema": 1, "judges": [entry]})
    rows = []
    for run in names:
        for name in dimensions:
            for n, gain in enumerate(gains.get(run, {}).get(name, NONE[:PROMPTS])):
                value, state = scores(run, name, n, 3.0 + 0.5 * (n % 3) + gain)
                rows.append(
                    Score(f"p{n}", f"c{n * clusters // PROMPTS}", run, 0, "j", "p", name, 0, value, state)
                )
    write_scores(study.scores, rows)
    trained = [name for name in names if name != "base" and LAYERS.get(name, True)]
    append_jsonl(study.training, (_step(run, at, steps(run, at)) for run in trained for at in range(20)))
    append_jsonl(study.logprobs, (_pair(run, n, pairs(run, n)) for run in trained for n in range(PROMPTS)))
    append_jsonl(study.responses, (_answer(run, n, answers(run, n)) for run in names for n in range(PROMPTS)))
    write_json(
        study.timings,
        {"runs": {run: {"own_seconds": 60.0, "alone_estimated_seconds": 90.0} for run in trained}},
    )
    return path


def _manifest(names: Sequence[str], training: Mapping[str, Any]) -> dict[str, Any]:
    found = manifest(names)
    for name, entry in found["runs"].items():
        layers = [*LAYERS[name]] if name in LAYERS else [*BLOCKS.get(name, range(4, 8))]
        modules = [
            f"model.layers.{layer}.self_attn.{kind}" for layer in layers for kind in ("q_proj", "v_proj")
        ]
        rate = training.get("learning_rate", 1e-4)
        entry |= {
            "layers": layers,
            "modules": modules,
            "parameters": 2048 * len(layers) if name != "thin" else 2048 * 4,
            "labels": "shuffled" if name == "shuffled" else "given",
            "training": {"learning_rate": rate, "loss": "sigmoid", "beta": 0.1, "dropout": 0.0},
            "phases": [{"first_step": 0, "steps": 20, "modules": dict.fromkeys(modules, rate)}]
            if layers
            else [],
        }
    return found


def _step(run: str, at: int, changes: Mapping[str, float]) -> StepRecord:
    values: dict[str, Any] = {
        "loss": 0.69 - at / 100, "reward_chosen": 0.1, "reward_rejected": -0.1, "margin": 0.2, "accuracy": 0.7,
        "grad_norm": 1.0, "learning_rate": 1e-4, "tokens": 100,
    }  # fmt: skip
    return StepRecord(run=run, step=at, **values | changes)


def _pair(run: str, n: int, changes: Mapping[str, float]) -> LogProbRecord:
    """By default half of the pairs are ranked right, and chosen is as likely as under the base on average."""
    values: dict[str, Any] = {
        "chosen": -40.0 + (0.5 if n % 2 else -0.5), "rejected": -40.0, "base_chosen": -40.0, "base_rejected": -40.0,
        "tokens_chosen": 20, "tokens_rejected": 20,
    }  # fmt: skip
    return LogProbRecord(run, f"p{n}", f"c{n}", **values | changes)


def _answer(run: str, n: int, changes: Mapping[str, Any]) -> Response:
    values: dict[str, Any] = {
        "response": f"The answer of {run} to question {n}.", "tokens": 10, "finish": "stop",
        "kl_to_base": None if run == "base" else 0.5,
    }  # fmt: skip
    return Response(run, f"p{n}", f"c{n}", f"Question {n}?", sampling_seed=0, **values | changes)
