"""ILA's first stage: one run on every linear module, trained as any other, its loss on validation rows watched.

It is done when its adapter is saved under the fingerprint that it was trained with; interrupted, it goes on from its
checkpoint.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stratalign.blocks import Site
from stratalign.diagnostics import (
    SignificanceSettings,
    compare_important,
    describe_gate_step,
    gate_steps,
    gated_losses,
    minibatches,
)
from stratalign.engine import JointEngine
from stratalign.models import load_tensors
from stratalign.pipeline.fingerprints import as_stored
from stratalign.pipeline.planned import Plan
from stratalign.preferences import without_rejected
from stratalign.records import (
    DIAGNOSIS,
    LOOKED,
    STEPS,
    Progress,
    StudyFolder,
    append_jsonl,
    digest,
    read_jsonl,
    read_record,
    told,
    write_json,
)
from stratalign.training import train

LOOKS = 10
"""How often the validation loss is taken, at equal distances; and after the first hundredth."""

KEPT = (0.01, 0.25, 0.5, 0.75, 1.0)
"""Shares of the training after which the adapter is kept: those that the paper compares rankings at."""

WINDOWS = (0.1, 0.5, 0.9)
"""Shares of the training from which on some consecutive steps' adapters are kept, to compare gate steps."""

PAIRS = 3
"""Pairs of consecutive steps in each of these windows."""


def train_everywhere(
    plan: Plan, engine: JointEngine, settings: SignificanceSettings, progress: Progress
) -> dict[str, Any]:
    """Train the plan's only run, which is attached to the engine, or load it; leaves it as trained to the end.

    Returns:
        Validation loss by step, and `stable_from`: the first of these steps from which on the loss is stable; None if
        it still changes at the end, or nothing was watched. `gate_steps`: how far one step of the gates at t and one
        at t + 1 differ, before stability and after.
    """
    (run,) = plan.runs
    folder = plan.folder.diagnostics / "significance"
    last = stage_folder(plan.folder, 1.0)
    total = len(plan.steps)
    followed = {step for window in windows(total) for step in window}
    about = {"prints": plan.fingerprints, "threads": plan.execution.threads, "followed": sorted(followed)}
    made_from = digest(as_stored(about))
    notes = {"schema": 1, "model": plan.recipe.model.model_dump(mode="json"), "made_from": made_from}
    if not _is_of(folder, made_from):
        with told(folder):
            shutil.rmtree(folder, ignore_errors=True)
        write_json(folder / "stage.json", notes)
    if last.is_dir():
        engine.bank.load(run.id, last)
    else:
        looks = {math.ceil(total * share) for share in (0.01, *(i / LOOKS for i in range(1, LOOKS + 1)))}
        rows = plan.validation_trees
        if run.settings.loss == "sft":
            rows = tuple(map(without_rejected, rows))

        def after_step(step: int) -> None:
            if step in looks and rows:
                losses = gated_losses(engine, run.id, {"now": {}}, rows, run.settings.objective)["now"]
                append_jsonl(folder / "validation.jsonl", [{"step": step, "loss": sum(losses) / len(losses)}])
            names = [_percent(share) for share in KEPT if step == math.ceil(total * share)]
            for name in [*names, *([_step(step)] if step in followed else [])]:
                where = folder / "adapters" / name
                engine.bank.save(run.id, where, plan.recipe.model.base, plan.recipe.model.revision, notes)

        train(
            engine,
            [run],
            plan.train_trees,
            plan.steps,
            log=folder / "training.jsonl",
            checkpoint=folder / "checkpoint.safetensors",
            checkpoint_every=plan.recipe.training.checkpoint_every,
            after_step=after_step,
            progress=progress,
        )
        with told(folder):
            (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    curve = {row["step"]: row["loss"] for row in read_jsonl(folder / "validation.jsonl", LOOKED)}
    points = [{"step": step, "loss": curve[step]} for step in sorted(curve)]
    stable = stable_from(points, settings.epsilon)
    compared = []
    if "gate_steps" in settings.beside:
        compared = _gate_steps(plan, engine, settings, folder / "adapters", stable)
        engine.bank.load(run.id, last)
    return {
        "steps": total,
        "validation": points,
        "epsilon": settings.epsilon,
        "stable_from": stable,
        "gate_steps": compared,
        "adapters": [f"diagnostics/significance/adapters/{_percent(share)}" for share in KEPT],
    }


def stage_folder(folder: StudyFolder, share: float) -> Path:
    """Where the adapter is kept that has this share of the training, one of `KEPT`."""
    return folder.diagnostics / "significance" / "adapters" / _percent(share)


def windows(total: int) -> list[range]:
    """Stretches of consecutive steps, 1 to `total`, whose adapters are kept; none where there are no two steps."""
    starts = dict.fromkeys(max(1, min(math.ceil(total * share), total - PAIRS)) for share in WINDOWS)
    return [range(start, min(start + PAIRS, total) + 1) for start in starts if start < total]


def _gate_steps(
    plan: Plan, engine: JointEngine, settings: SignificanceSettings, folder: Path, stable: int | None
) -> list[dict[str, Any]]:
    """Theorem 3.1 as a measurement, at the gates and on the pairs that the scores' first step has."""
    (run,) = plan.runs
    modules = set(run.condition.modules)
    sites: list[Site] = [site for site in plan.shape.sites if site.name in modules]
    names = [site.name for site in sites]
    gate = 1 / (1 + math.exp(-settings.start))
    (trees,) = minibatches(plan.train_trees, settings.batch, 1, settings.seed)
    rates = {row["step"]: row["learning_rate"] for row in read_jsonl(folder.parent / "training.jsonl", STEPS)}
    found = []
    for window in windows(len(plan.steps)):
        states = [load_tensors(folder / _step(step)) for step in window]
        pairs = gate_steps(engine, run.id, sites, states, trees, run.settings.objective, gate)
        for step, pair in zip(window, pairs, strict=False):
            before, after = (
                dict(zip(names, (-slopes).tolist(), strict=True)) for slopes in (pair.before, pair.after)
            )
            found.append(
                {
                    "step": step,
                    "after_stability": None if stable is None else step >= stable,
                    "learning_rate": rates[step + 1],
                    **describe_gate_step(pair, names, gate),
                    "agreement": compare_important(before, after, settings.important),
                }
            )
    return found


def stable_from(points: Sequence[dict[str, Any]], epsilon: float) -> int | None:
    """The first step from which on every change of the loss is below `epsilon` times its whole change; None if the
    last one is not.

    ILA's first definition, epsilon-stable, at the steps that were looked at; in the paper epsilon is in units of the
    loss, which differ from loss to loss. A rate that falls to 0 makes any training stable at its end.
    """
    if len(points) < 2:
        return None
    losses = [point["loss"] for point in points]
    allowed = epsilon * (max(losses) - min(losses))
    first = len(points) - 1
    while first > 0 and abs(losses[first] - losses[first - 1]) < allowed:
        first -= 1
    return None if first == len(points) - 1 else int(points[first]["step"])


def _is_of(folder: Path, made_from: str) -> bool:
    stage = folder / "stage.json"
    return bool(read_record(stage, DIAGNOSIS).get("made_from") == made_from)


def _step(step: int) -> str:
    return f"step-{step}"


def _percent(share: float) -> str:
    return f"{round(100 * share)}-percent"
