"""Rebuilds what ships with the micro-world: the base model and its record, and the preference sets."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from stratalign.microworld import Scores, people, requests, verify
from stratalign.microworld_build.pretraining import Pretraining, pretrain, save, weights_digest
from stratalign.microworld_build.sampling import preference_sets, sample
from stratalign.records import Progress, silent, write_json, write_text

FIRST_STEPS = 20


def first_steps(settings: Pretraining) -> dict[str, Any]:
    """Losses of the first steps, and the digest of the weights after them: what a rebuild can be checked by."""
    model, losses = pretrain(settings, stop_after=FIRST_STEPS)
    return {"losses": losses, "weights_sha256": weights_digest(model), "machine": machine()}


def machine() -> dict[str, str]:
    """What the bits of a training run depend on."""
    return {
        "torch": torch.__version__,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "processor": _processor(),
    }


def build_base(folder: Path, settings: Pretraining | None = None, progress: Progress = silent) -> None:
    """Pretrain the base model from nothing and write it, with its record `built.json`."""
    settings = settings or Pretraining()
    started = first_steps(settings)
    model, losses = pretrain(
        settings, progress=lambda step, _loss, _model: progress("pretraining", step, settings.steps)
    )
    folder.mkdir(parents=True, exist_ok=True)
    save(model, folder)
    record = {
        "schema": 1,
        "settings": asdict(settings),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "first_steps": started,
        "last_loss": mean(losses[-100:]),
        "weights_sha256": weights_digest(model),
    }
    write_json(folder / "built.json", record)


def build_preferences(base: Path, folder: Path, progress: Progress = silent) -> None:
    """Sample answers of the base, label them and write every preference set; beside them what the base scores."""
    asked = requests()
    answers = sample(base, asked, progress=progress)
    for name, rows in preference_sets(asked, answers, progress).items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(folder / f"{name}.jsonl", lines)
    write_json(folder / "base_scores.json", {"schema": 1, "means": base_scores(asked, answers)})


def base_scores(asked: Mapping[str, Any], answers: Mapping[str, list[str]]) -> dict[str, dict[str, float]]:
    """Mean of every dimension over all sampled answers, for each part of the people."""
    known = people()
    by_part: dict[str, list[Scores]] = {}
    for key, request in asked.items():
        part = known[request.person].part
        by_part.setdefault(part, []).extend(verify(request, text, known) for text in answers[key])
    return {
        part: {name: mean(getattr(one, name) for one in scores) for name in Scores._fields}
        for part, scores in sorted(by_part.items())
    }


def _processor() -> str:
    """The processor's model; empty where the system does not tell."""
    file = Path("/proc/cpuinfo")
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
