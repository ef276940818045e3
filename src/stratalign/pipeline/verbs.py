"""The verbs that work on a recipe: plan, study, and its stages one by one. The only file that wires the stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from stratalign.pipeline.planning import Plan, make_plan
from stratalign.pipeline.stages import generate_stage, judge_stage, train_stage
from stratalign.recipe import Recipe, load_recipe
from stratalign.records import Progress, StudyFolder, locked, silent
from stratalign.reporting import report

Source = str | Path | Recipe


def plan(recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None) -> Plan:
    """Every check that needs no weights, and what would be trained; changes nothing.

    Args:
        recipe: a recipe file, or a `Recipe`.
        changes: `key.path=value` changes to a recipe file.
        out: the study's folder; `studies/<name of the recipe file>` if not given.

    Raises:
        UserError: the recipe, the model, the data or the folder has a problem that can be mended.
    """
    read = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    name = "study" if isinstance(recipe, Recipe) else Path(recipe).stem
    return make_plan(read, Path(out) if out is not None else Path("studies") / name)


def train(
    recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None, progress: Progress = silent
) -> StudyFolder:
    """Train every run that has no proven adapter yet, and prove it.

    Raises:
        UserError: see `plan`; or another process is working in the folder.
        StudyFailure: a loss is not finite, or a proof does not hold.
    """
    return _run([train_stage], plan(recipe, changes, out), progress)


def generate(
    recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None, progress: Progress = silent
) -> StudyFolder:
    """Train what is missing, then answer every held-out prompt with every run."""
    return _run([train_stage, generate_stage], plan(recipe, changes, out), progress)


def judge(
    recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None, progress: Progress = silent
) -> StudyFolder:
    """Train and answer what is missing, then score all answers."""
    return _run([train_stage, generate_stage, judge_stage], plan(recipe, changes, out), progress)


def study(
    recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None, progress: Progress = silent
) -> StudyFolder:
    """The whole study: train, prove, generate, score, compare, report. Run again, it continues.

    Returns:
        The study's folder; `.results` is results.json, `.report` is report.html.
    """
    return _run(
        [train_stage, generate_stage, judge_stage, _report_stage], plan(recipe, changes, out), progress
    )


def _run(
    stages: Sequence[Callable[[Plan, Progress], None]], planned: Plan, progress: Progress
) -> StudyFolder:
    planned.check_resolved()
    with locked(planned.folder.path):
        for stage in stages:
            stage(planned, progress)
    return planned.folder


def _report_stage(planned: Plan, progress: Progress) -> None:
    progress("report", 0, 1)
    report([planned.folder.path])
    progress("report", 1, 1)
