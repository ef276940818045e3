"""Studies as a language-model judge leaves them: sixteen dimensions in six categories, scored 1 to 5 or not at all.

Deterministic noise; nothing in them was computed by a model. Sizes are the caller's: a few prompts for a test, the
paper's 4 models x 5 conditions x 1,000 prompts for measuring.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fake_studies import PARTS, manifest, step

from stratalign.records import Response, StudyFolder, append_jsonl, write_json, write_text

MODELS = ("Llama-2-7b", "Llama-3.1-8B", "Qwen2.5-7B", "Qwen3-8B")
CONDITIONS = ("base", "full", "local", "mid", "global")
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "language": ("Grammar", "Fluency", "Conciseness", "TokenRobustness"),
    "logic": ("CoherenceLogic", "TopicCoherence"),
    "content": ("Factuality", "KnowledgeDepth", "CrossDomain"),
    "task": ("InstructionFollowing", "Helpfulness", "Creativity"),
    "safety": ("Safety", "EthicsSensitivity", "Bias"),
    "overall": ("Overall",),
}
"""Names like those of the packaged protocol; only their number and their categories matter here."""
DIMENSIONS = tuple(name for names in CATEGORIES.values() for name in names)
EFFECTS = {"full": 0.35, "local": 0.2, "mid": 0.3, "global": 0.05}
"""How far a condition moves the objective, in points of the scale."""
STATES = ("invalid", "truncated", "blocked", "failed")
TEXT = (
    "shade brim straw felt sun rain warm light wide narrow good plain common choice people often wear some of these "
    "because they last and keep heat away while others look fine yet cost more than most"
)


def likert_studies(
    path: Path, models: Sequence[str] = MODELS, prompts: int = 40, words: int = 40
) -> list[Path]:
    """One study folder for each model, all on the same prompts and under the same protocol."""
    return [likert_study(path / model, model, prompts, words, at) for at, model in enumerate(models)]


def likert_study(
    path: Path,
    model: str = MODELS[0],
    prompts: int = 40,
    words: int = 40,
    seed: int = 0,
    protocol: str = "likert-16",
) -> Path:
    """A finished study of `model`; about one answer in fifty has no valid judgement.

    Args:
        path: the study's folder.
        model: its name.
        prompts: held-out prompts, three to a cluster.
        words: the length of an answer.
        seed: of the noise; the prompts do not depend on it.
        protocol: the judge's protocol.
    """
    study, noise = StudyFolder(path), random.Random(seed)
    listed = ", ".join(CONDITIONS)
    write_text(
        study.recipe,
        f"model: lab/{model}\npreferences:\n  source: lab/dialogues\n  objective: [Overall]\n  held_out: {prompts}\n"
        f"conditions: [{listed}]\njudge: {{protocol: {protocol}, model: judge-large}}\n",
    )
    write_json(study.manifest, manifest(CONDITIONS, name=f"lab/{model}"))
    write_json(study.judges, {"schema": 1, "judges": [judge(protocol)]})
    write_json(study.preferences, {"rows": {"read": 12000, "kept": 11000, "bad": 1000}, "parts": PARTS})
    append_jsonl(study.training, (step(run, at, 0.69 - at * EFFECTS[run] / 500 + noise.gauss(0, 0.01))
                                  for at in range(60) for run in CONDITIONS[1:]))  # fmt: skip
    append_jsonl(
        study.responses, (_response(run, at, words, noise) for run in CONDITIONS for at in range(prompts))
    )
    write_text(study.scores, _scores(prompts, protocol, seed, noise))
    write_json(
        study.timings,
        {"runs": {run: _times(run, seed) for run in CONDITIONS[1:]}, "stages": {"train": 900.0}},
    )
    return path


def judge(protocol: str = "likert-16") -> dict[str, Any]:
    """The entry of judges.json: what decides, its scale and its dimensions."""
    dimensions = [
        {
            "name": name,
            "unit": "points",
            "better": "higher",
            "about": f"what {name} means",
            "category": category,
        }
        for category, names in CATEGORIES.items()
        for name in names
    ]
    return {
        "judge": "judge-large", "protocol": protocol, "hash": f"{len(protocol):064x}", "dimensions": dimensions,
        "kind": "judge", "model": "judge-large", "host": "example.org", "scale": [1, 5], "anchor": 3,
    }  # fmt: skip


def _response(run: str, at: int, words: int, noise: random.Random) -> Response:
    known = TEXT.split()
    text = " ".join(noise.choice(known) for _ in range(words)) + "."
    prompt = f"Which hat number {at} shades best?"
    return Response(
        run, f"r{at:06d}", f"c{at // 3}", prompt, text, words, "stop", 42, 0.0 if run == "base" else 1.0
    )


def _scores(prompts: int, protocol: str, seed: int, noise: random.Random) -> str:
    """scores.csv, written row by row: a list of 80,000 records would be the costliest part of a test."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["prompt_id", "cluster", "run", "seed", "judge", "protocol", "dimension", "repeat", "value", "state"]
    )
    for run in CONDITIONS:
        for at in range(prompts):
            state = noise.choice(STATES) if noise.random() < 0.02 else "ok"
            easy = 2.6 + 0.15 * seed + noise.gauss(0, 0.7)
            for index, name in enumerate(DIMENSIONS):
                effect = EFFECTS.get(run, 0.0) * (1 if name == "Overall" else (index % 5 - 1) / 3)
                value = min(5, max(1, round(easy + effect + noise.gauss(0, 0.6))))
                row = [f"r{at:06d}", f"c{at // 3}", run, 0, "judge-large", protocol, name, 0]
                writer.writerow([*row, float(value) if state == "ok" else "", state])
    return buffer.getvalue()


def _times(run: str, seed: int) -> dict[str, float]:
    own = {"full": 600.0, "local": 560.0, "mid": 380.0, "global": 200.0}[run] * (1 + seed / 10)
    return {"own_seconds": own, "shared_seconds": 310.0, "alone_estimated_seconds": own + 310.0}
