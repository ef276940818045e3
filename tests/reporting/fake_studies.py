"""Small study folders, written record by record as the stages write them. Nothing in them was computed by a model."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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

BLOCKS = {
    "local": range(4),
    "mid": range(4, 8),
    "global": range(8, 12),
    "full": range(12),
    "base": range(0),
}


PARTS = {
    "train": {"rows": 1000, "clusters": 900},
    "validation": {"rows": 100, "clusters": 90},
    "held_out": {"rows": 200, "clusters": 120},
    "unused": {"rows": 20, "clusters": 20},
}
"""What preferences.json says of the parts."""


def manifest(
    conditions: Sequence[str], seeds: Sequence[int] = (0,), name: str = "tiny/model"
) -> dict[str, Any]:
    """The manifest of a 12-layer model; every trained run is proven."""
    runs = {}
    for condition in conditions:
        for seed in seeds:
            layers = list(BLOCKS.get(condition.removesuffix("_shuffled"), range(4, 8)))
            runs[condition if len(seeds) == 1 else f"{condition}@{seed}"] = {
                "condition": condition,
                "seed": seed,
                "labels": "shuffled" if condition.endswith("_shuffled") else "given",
                "layers": layers,
                "targets": ["q_proj", "v_proj"] if layers else [],
                "rank": 16 if layers else None,
                "alpha": 32 if layers else None,
                "parameters": 2048 * len(layers),
                "proof": {
                    "proven": True,
                    "checks": {
                        "gradient_seen": {
                            "holds": True,
                            "detail": f"{2 * len(layers)} of {2 * len(layers)} tensors",
                        },
                        "others_untouched": {"holds": True, "detail": ""},
                        "saved_keys": {"holds": True, "detail": f"{2 * len(layers)} keys as resolved"},
                        "reload": {"holds": True, "detail": "largest difference 0.00000"},
                    },
                },
            }
    partition = {block: list(BLOCKS[block]) for block in ("local", "mid", "global")}
    model = {"name": name, "model_type": "llama", "layers": 12, "parameters": 1_234_567, "files": {}}
    return {"schema": 1, "model": model, "partition": partition, "runs": runs}


def step(run: str, number: int, loss: float, **others: float) -> StepRecord:
    """One recorded step; everything but the loss has a default that tells runs apart from nothing."""
    values = {
        "reward_chosen": 0.1,
        "reward_rejected": -0.1,
        "margin": 0.2,
        "accuracy": 0.75,
        "grad_norm": 1.0,
    }
    return StepRecord(run=run, step=number, loss=loss, learning_rate=1e-5, tokens=100, **{**values, **others})


def score(
    run: str,
    prompt: int | str,
    value: float | None,
    dimension: str = "fluency",
    *,
    cluster: str | None = None,
    seed: int = 0,
    repeat: int = 0,
    state: str | None = None,
) -> Score:
    """One row of the table of scores; a null value is missing unless `state` says otherwise."""
    told = state or ("missing" if value is None else "ok")
    return Score(
        f"p{prompt}", cluster or f"c{prompt}", run, seed, "text", "text", dimension, repeat, value, told
    )


def judges(**better: str | None) -> dict[str, Any]:
    """judges.json of the judge `text`, with the direction of each dimension."""
    dimensions = [
        {"name": name, "unit": "share", "better": direction, "about": f"What {name} means."}
        for name, direction in better.items()
    ]
    return {"judges": [{"judge": "text", "protocol": "text", "hash": "0" * 64, "dimensions": dimensions}]}


def answer(
    run: str, prompt: int, text: str, question: str = "What is it?", kl: float | None = None
) -> Response:
    return Response(run, f"p{prompt}", f"c{prompt}", question, text, len(text.split()), "stop", 42, kl)


def full_study(
    path: Path,
    conditions: Sequence[str] = ("base", "full", "local", "mid", "global"),
    seeds: Sequence[int] = (0,),
) -> Path:
    """A finished study of plausible noise: mid and full gain fluency, full repeats itself, local gains nothing."""
    study, noise = StudyFolder(path), random.Random(7)
    gains = {"full": 0.10, "mid": 0.08, "global": 0.03, "local": 0.0}
    runs = manifest(conditions, seeds)["runs"]
    listed = "".join(f"  - {condition}\n" for condition in conditions)
    write_text(
        study.recipe,
        "model: tiny/model\npreferences: {source: microworld:fluency, objective: [fluency]}\n"
        f"conditions:\n{listed}seeds: {list(seeds)}\n",
    )
    write_json(study.manifest, manifest(conditions, seeds))
    write_json(
        study.preferences,
        {
            "rows": {"read": 1340, "kept": 1320, "bad": 20},
            "parts": PARTS,
            "clusters": 1130,
            "bad": {
                "chosen equals rejected": {"count": 14, "first_lines": [3, 88, 91, 202, 340, 401]},
                "empty prompt": {"count": 6, "first_lines": [17, 18]},
            },
            "notes": {"response spans several turns": {"count": 2, "first_lines": [5, 9]}},
        },
    )
    write_json(study.judges, judges(fluency="higher", repetition="lower", grammar="higher", length=None))
    shared = [noise.gauss(0, 0.03) for _ in range(200)]
    for run, entry in runs.items():
        if entry["layers"]:
            drop = 0.08 + 1.4 * gains.get(entry["condition"], 0.0)
            append_jsonl(
                study.training,
                (
                    step(
                        run,
                        at,
                        math.log(2)
                        - drop * (1 - math.exp(-at / 60)) * (1 + bump)
                        + bump / 4
                        + noise.gauss(0, 0.004),
                        margin=drop * at / 100,
                    )
                    for at, bump in enumerate(shared)
                ),
            )
            append_jsonl(
                study.logprobs,
                (
                    LogProbRecord(
                        run, f"p{n}", f"c{n // 2}", -40 + noise.gauss(drop, 1), -40, -40, -40, 20, 20
                    )
                    for n in range(200)
                ),
            )
    texts = {
        "full": "The baker carries the heavy basket to the market, and then the baker carries the basket home. "
        * 6,
        "base": "baker the basket",
        "local": "The baker carry a basket.",
    }
    append_jsonl(
        study.responses,
        (
            answer(
                run,
                n,
                texts.get(entry["condition"], "The baker carries the basket to the market."),
                f"Tell me what the baker did on day {n}.",
                0.5 + 0.1 * n if entry["layers"] else None,
            )
            for n in range(8)
            for run, entry in runs.items()
        ),
    )
    easy = [noise.gauss(0, 0.12) for _ in range(200)]
    rows = []
    for run, entry in runs.items():
        gain = gains.get(entry["condition"], 0.0)
        for n in range(200):
            base = {
                "fluency": 0.6 + gain,
                "repetition": 0.2 + gain / 3,
                "grammar": 0.7 + gain / 4,
                "length": 30 + 90 * gain,
            }
            for dimension, middle in base.items():
                spread = 8.0 if dimension == "length" else 0.12
                value = round(middle + easy[n] + noise.gauss(0, spread), 2)
                valid = noise.random() > 0.01
                rows.append(
                    score(
                        run,
                        n,
                        value if valid else None,
                        dimension,
                        cluster=f"c{n * 3 // 5}",
                        seed=entry["seed"],
                    )
                )
    write_scores(study.scores, rows)
    write_json(
        study.timings,
        {
            "runs": {
                run: {
                    "own_seconds": 4.2 * len(entry["layers"]),
                    "shared_seconds": 31.5,
                    "alone_estimated_seconds": 31.5 + 4.2 * len(entry["layers"]),
                }
                for run, entry in runs.items()
                if entry["layers"]
            },
            "stages": {"train": 172.4, "generate": 64.0, "score": 3.1},
            "checkpoint_seconds": 1.9,
            "host": "some-host",
        },
    )
    return path
