"""What the diagnoses that read activations are given: the pairs, the pooled states, and labels for probes."""

from __future__ import annotations

from typing import Any

from stratalign.diagnostics import (
    PatchingSettings,
    ProbeSettings,
    SimilaritySettings,
    draw_rows,
    measure_patching,
    measure_probes,
    measure_similarity,
    pooled_states,
    world_tasks,
)
from stratalign.errors import UserError
from stratalign.pipeline.bench import Bench
from stratalign.pipeline.probe_labels import labelled
from stratalign.preferences import Preference, Tree, as_text
from stratalign.records import Progress


def similarity(bench: Bench, settings: SimilaritySettings, progress: Progress) -> dict[str, Any]:
    """States of the base, and of the subject beside it where one is named."""
    plan, run = bench.plan, bench.subject.adapter.run
    bench.attach_subject()
    engine = bench.engine(run, 0)
    trees = draw_rows(plan.train_trees, settings.pairs, plan.recipe.preferences.seed)
    base = pooled_states(engine, None, trees, progress)
    return measure_similarity(
        base,
        pooled_states(engine, run, trees, progress) if bench.subject.given else None,
        [tree.cluster for tree in trees],
        bench.sites,
        plan.blocks,
        settings,
        seed=plan.recipe.preferences.seed,
    )


def probes(bench: Bench, settings: ProbeSettings, progress: Progress) -> dict[str, Any]:
    """States of the subject, and the labels that there are for its pairs: the micro-world's, and the user's."""
    plan, run = bench.plan, bench.subject.adapter.run
    bench.attach_subject()
    engine = bench.engine(run, 0)
    trees = draw_rows(plan.train_trees, settings.pairs, plan.recipe.preferences.seed)
    rows = {row.row_id: row for row in plan.parts.train}
    drawn = [rows[tree.row_id] for tree in trees]
    tasks = list(world_tasks([as_text(row.prompt) for row in drawn], [_responses(row) for row in drawn]))
    if settings.labels is not None:
        tasks.append(labelled(settings.labels, drawn))
    return measure_probes(
        pooled_states(engine, run, trees, progress),
        [_prompt_length(tree) for tree in trees],
        [tree.cluster for tree in trees],
        tasks,
        bench.sites,
        plan.blocks,
        settings,
        seed=plan.recipe.preferences.seed,
        progress=progress,
    )


def patching(bench: Bench, settings: PatchingSettings, progress: Progress) -> dict[str, Any]:
    """The subject, patched with the base.

    Raises:
        UserError: nothing trained is named.
    """
    plan, subject = bench.plan, bench.subject
    if not subject.given:
        raise UserError(
            "Patching is between the base and something trained: name a run of the study with --run, or an adapter "
            "folder with --adapter."
        )
    bench.attach_subject()
    modules = set(subject.adapter.modules)
    own = [site for site in bench.sites if site.name in modules]
    return measure_patching(
        bench.engine(subject.adapter.run, 0),
        subject.adapter.run,
        own,
        plan.blocks,
        plan.shape.n_layers,
        draw_rows(plan.train_trees, settings.pairs, plan.recipe.preferences.seed),
        settings,
        seed=plan.recipe.preferences.seed,
        progress=progress,
    )


def _responses(row: Preference) -> list[str]:
    return [as_text(text) for text in (row.chosen, row.rejected) if text is not None]


def _prompt_length(tree: Tree) -> int:
    return len(tree.prefix) + tree.branches[0].first_label
