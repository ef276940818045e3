"""What each kind of diagnosis is given, and the function that measures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from stratalign.blocks import ProfileSettings, Site
from stratalign.diagnostics import (
    GradientSettings,
    SignificanceSettings,
    gradient_signals,
    measure_gradients,
    measure_significance,
)
from stratalign.models import Difference
from stratalign.pipeline.bench import Bench
from stratalign.pipeline.measuring_states import patching, probes, similarity
from stratalign.pipeline.measuring_updates import deltas, stages, weights
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.reading import read_preferences
from stratalign.pipeline.stage_one import train_everywhere
from stratalign.pipeline.window_training import profile_of_training_pairs
from stratalign.preferences import Tree, load, without_rejected
from stratalign.records import Progress


def gradients(bench: Bench, settings: GradientSettings, progress: Progress) -> dict[str, Any]:
    if settings.stages:
        return stages(bench, settings, progress)
    plan = bench.plan
    bench.attach_subject()
    run = bench.subject.adapter.run
    engine = bench.engine(run, 0, share=0.5)  # taps keep the modules' inputs beside what autograd keeps
    sources = {plan.recipe.preferences.source: plan.train_trees} | {
        source: _other_trees(plan, source) for source in settings.against
    }
    measured = measure_gradients(
        engine,
        run,
        bench.sites,
        plan.blocks,
        sources,
        plan.recipe.training.objective,
        settings,
        seed=plan.recipe.preferences.seed,
        progress=progress,
    )
    return {**measured, "scores": gradient_signals(next(iter(measured["sources"].values())))}


def significance(bench: Bench, settings: SignificanceSettings, progress: Progress) -> dict[str, Any]:
    plan = bench.plan
    training = difference = None
    if not bench.subject.given:
        run = plan.runs[0].id
        bench.bank.attach(plan.runs[0].adapter)
        engine = bench.engine(run, 0, training=True)
        training = train_everywhere(plan, engine, settings, progress)
        modules = set(plan.runs[0].condition.modules)
    else:
        run = bench.subject.adapter.run
        difference = bench.attach_subject()
        modules = set(bench.bank.specs[run].modules)
        engine = bench.engine(run, min(site.layer for site in bench.sites if site.name in modules))
    others = plan.validation_trees or plan.train_trees
    if plan.recipe.training.loss == "sft":
        others = tuple(map(without_rejected, others))
    found = measure_significance(
        engine,
        run,
        [site for site in bench.sites if site.name in modules],
        plan.blocks,
        plan.train_trees,
        others,
        plan.recipe.training.objective,
        settings,
        progress,
    )
    looked_at = {} if training is None else {"subject": run}
    return {
        **looked_at,
        "training": training,
        "difference": None if difference is None else _told(difference, bench.sites),
        "losses_of": "validation" if plan.validation_trees else "train",
        **found,
    }


def profile(bench: Bench, settings: ProfileSettings, progress: Progress) -> dict[str, Any]:
    return profile_of_training_pairs(bench.plan, bench.bank, bench.joint_engine, settings, progress)


def _told(difference: Difference, sites: Sequence[Site]) -> dict[str, Any]:
    """What of a checkpoint is gated, and what differs beside and is not: the base's is taken there."""
    return {
        "gated": len(difference.updates),
        "unchanged": [site.name for site in sites if site.name not in difference.updates],
        "not_gated": difference.others,
    }


def _other_trees(plan: Plan, source: str) -> tuple[Tree, ...]:
    """Training pairs of another source, read as the recipe's own are."""
    settings = plan.recipe.preferences.model_copy(update={"source": source})
    recipe = plan.recipe.model_copy(update={"preferences": settings})
    found = load(settings, demonstrations=plan.recipe.training.loss == "sft")
    parts, trees, _bad, _about = read_preferences(recipe, found, plan.tokenizer, plan.shape, plan.folder)
    return tuple(trees[row.row_id] for row in parts.train)


MEASURED: dict[str, Callable[[Bench, Any, Progress], dict[str, Any]]] = {
    "gradients": gradients,
    "significance": significance,
    "weights": weights,
    "deltas": deltas,
    "similarity": similarity,
    "probes": probes,
    "patching": patching,
    "profile": profile,
}
