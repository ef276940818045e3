"""The training that the profile's diagnosis reads: every window, every random draw and the full model in one pass.

It goes through the training room and leaves no adapters: what the record needs is read from them where they are.
Interrupted, it goes on from its checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stratalign.blocks import ProfileSettings, added_conditions
from stratalign.diagnostics import FULL, describe_profile, hold_back, run_losses
from stratalign.engine import JointEngine
from stratalign.models import AdapterBank
from stratalign.pipeline.fingerprints import as_stored
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.resolving import resolve_runs
from stratalign.records import DIAGNOSIS, Progress, digest, read_record, told, write_json
from stratalign.training import Run, plan_steps, train


def profile_of_training_pairs(
    plan: Plan,
    bank: AdapterBank,
    make_engine: Callable[[Mapping[str, int]], JointEngine],
    settings: ProfileSettings,
    progress: Progress,
) -> dict[str, Any]:
    """Train on three quarters of the training clusters, read the rest, and describe what the windows' losses say.

    Args:
        plan: with one run, whose settings and kinds of modules all windows take over.
        make_engine: an engine for runs that are attached, by the lowest layer of each.
    """
    (pattern,) = plan.runs
    added = [one for one in added_conditions(settings, None, plan.shape.n_layers, plan.blocks) if one.layers]
    runs = _runs(plan, {one.name: list(one.layers) for one in added})
    parts = hold_back(plan.train_trees, settings.seed)
    steps = plan_steps(len(parts.train), pattern.settings, plan.recipe.preferences.seed)
    folder = plan.folder.diagnostics / "profile"
    _begin(folder, {"prints": plan.fingerprints, "threads": plan.execution.threads, "runs": _made_of(runs)})
    for run in runs:
        bank.attach(run.adapter)
    engine = make_engine({run.id: run.first_layer(plan.shape.n_layers) for run in runs})
    train(
        engine,
        runs,
        parts.train,
        steps,
        log=folder / "training.jsonl",
        checkpoint=folder / "checkpoint.safetensors",
        checkpoint_every=plan.recipe.training.checkpoint_every,
        progress=progress,
    )
    losses = run_losses(engine, [run.id for run in runs], parts.read, pattern.settings.objective, progress)
    modules = set(pattern.condition.modules)
    layers = {
        kind: {one.name: one.layers for one in added if one.kind == kind} for kind in ("window", "draw")
    }
    found = describe_profile(
        losses,
        [tree.cluster for tree in parts.read],
        layers["window"],
        layers["draw"],
        [site for site in plan.shape.sites if site.name in modules],
    )
    with told(folder):
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    trained = {"pairs": len(parts.train), "clusters": len({tree.cluster for tree in parts.train})}
    return {"trained": {**trained, "steps": len(steps)}, **found}


def _runs(plan: Plan, layers: Mapping[str, Sequence[int]]) -> tuple[Run, ...]:
    """A run for each set of layers, under the settings of the plan's only condition."""
    (written,) = plan.recipe.specs()
    conditions = {
        name: {"block": "full"} if name == FULL else {"layers": list(own)} for name, own in layers.items()
    }
    recipe = plan.recipe.model_copy(
        update={"conditions": {name: own | dict(written.overrides) for name, own in conditions.items()}}
    )
    return resolve_runs(recipe, plan.shape, plan.blocks)


def _begin(folder: Path, made_from: Mapping[str, Any]) -> None:
    """Leave nothing in the folder that was made from something else."""
    stage, wanted = folder / "stage.json", digest(as_stored(dict(made_from)))
    if read_record(stage, DIAGNOSIS).get("made_from") == wanted:
        return
    with told(folder):
        shutil.rmtree(folder, ignore_errors=True)
    write_json(stage, {"schema": 1, "made_from": wanted})


def _made_of(runs: Sequence[Run]) -> dict[str, Any]:
    return {run.id: list(run.condition.modules) for run in runs}
