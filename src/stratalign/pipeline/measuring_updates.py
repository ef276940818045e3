"""What is measured where there is no one subject: weights, the updates of several runs, stages of a training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stratalign.diagnostics import (
    DeltaSettings,
    GradientSettings,
    LowRank,
    Update,
    WeightSettings,
    measure_deltas,
    measure_stages,
    measure_weights,
    relative_sizes,
)
from stratalign.errors import UserError
from stratalign.models import PREFIX, load_tensors, read_difference, weight_norm
from stratalign.pipeline.bench import Bench
from stratalign.pipeline.subjects import Subject
from stratalign.records import Progress


def weights(bench: Bench, _settings: WeightSettings, progress: Progress) -> dict[str, Any]:
    """The signal-to-noise ratio of every module's weight."""
    return measure_weights(bench.loaded.model, bench.sites, bench.plan.blocks, progress)


def deltas(bench: Bench, _settings: DeltaSettings, progress: Progress) -> dict[str, Any]:
    """The updates of each subject. Scores are those of the one subject, or of every run under its own name."""
    model = bench.loaded.model
    norms = {site.name: weight_norm(model, site.name) for site in bench.sites}
    found: dict[str, Any] = {}
    for number, subject in enumerate(bench.subjects):
        updates, others = _updates(bench, subject)
        modules = [site for site in bench.sites if site.name in updates]
        measured = measure_deltas(updates.__getitem__, modules, norms, bench.plan.blocks, subject.name)
        found[subject.name] = measured | {"not_in_linear_modules": others}
        progress("deltas", number + 1, len(bench.subjects))
    scores = {name: relative_sizes(measured) for name, measured in found.items()}
    if len(scores) == 1:
        scores = {"relative": next(iter(scores.values()))}
    who = next(iter(found)) if len(found) == 1 else f"{len(found)} runs"
    return {"subject": who, "runs": found, "scores": scores}


def _updates(bench: Bench, subject: Subject) -> tuple[dict[str, Update], dict[str, float]]:
    """Module -> update; and what else of a checkpoint differs, by how much relative to itself."""
    if subject.tuned is not None:
        names = [site.name for site in bench.sites]
        difference = read_difference(bench.loaded.model, names, subject.tuned)
        return dict(difference.updates), difference.others
    if subject.folder is None:
        raise UserError(
            "The base has no update. Name a trained run (--run), an adapter (--adapter) or a checkpoint (--tuned)."
        )
    tensors = load_tensors(subject.folder)
    scale = subject.adapter.alpha / subject.adapter.rank
    pairs = {
        name: [tensors[f"{PREFIX}{name}.lora_{part}.weight"] for part in "AB"]
        for name in subject.adapter.modules
    }
    return {name: LowRank(a, b, scale) for name, (a, b) in pairs.items()}, {}


def stages(bench: Bench, settings: GradientSettings, progress: Progress) -> dict[str, Any]:
    """Gradients at the base and at every adapter that a training kept."""
    plan = bench.plan
    for subject in bench.subjects:
        bench.attach_subject(replace(subject, adapter=replace(subject.adapter, run=subject.name)))
    names = [subject.name for subject in bench.subjects]
    shares = [subject.share_of_training or 0.0 for subject in bench.subjects]
    found = measure_stages(
        bench.engine(names[0], 0, share=0.5, beside=names[1:]),
        dict(zip(names, shares, strict=True)),
        bench.sites,
        plan.blocks,
        plan.train_trees,
        plan.recipe.training.objective,
        settings,
        seed=plan.recipe.preferences.seed,
        progress=progress,
    )
    return {"subject": f"base and {len(names) - 1} stages of a training", **found}
