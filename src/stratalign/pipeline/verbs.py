"""The verbs that work on a recipe: plan, study, and its stages one by one. The only file that wires the stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stratalign.judging import Estimate, LabelFiles
from stratalign.pipeline.asking import calibrate_judge as calibration_of
from stratalign.pipeline.asking import check_keys
from stratalign.pipeline.asking import estimate_judging as estimate_of
from stratalign.pipeline.asking import label_template as labels_of
from stratalign.pipeline.planned import Plan, with_choices
from stratalign.pipeline.planning import make_plan
from stratalign.pipeline.stages import generate_stage, judge_stage, train_stage
from stratalign.recipe import Recipe, load_recipe
from stratalign.records import Progress, StudyFolder, locked, silent
from stratalign.reporting import report

if TYPE_CHECKING:
    from stratalign.judging.calibrating import Calibration

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
    if isinstance(recipe, Recipe):
        return make_plan(recipe, Path("studies/study" if out is None else out))
    file = Path(recipe)
    folder = Path("studies") / file.stem if out is None else Path(out)
    return make_plan(load_recipe(file, changes), folder, beside=file.parent)


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
    recipe: Source,
    changes: Sequence[str] = (),
    out: str | Path | None = None,
    progress: Progress = silent,
    *,
    batch: bool = False,
) -> StudyFolder:
    """Train and answer what is missing, ask the judges what they have not judged, then score all answers.

    Args:
        recipe: a recipe file, or a `Recipe`.
        changes: `key.path=value` changes to a recipe file.
        out: the study's folder.
        progress: told how far each stage is.
        batch: ask through the server's batch interface, at its price and in its time, and wait for it.

    Raises:
        UserError: see `plan`; or no judge can be asked, or `judge.max_cost` is reached: what is judged is kept.
        StudyFailure: too many texts failed one after the other.
    """
    planned = _ready(recipe, changes, out)
    return _run([train_stage, generate_stage, partial(judge_stage, batch=batch)], planned, progress)


def estimate_judging(
    recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None
) -> dict[str, Estimate]:
    """What judging the answers of a study would take, by judge: calls, tokens, cost, minutes. Asks nobody.

    Raises:
        UserError: see `plan`; or the protocol asks no model, or there are no answers yet.
    """
    return estimate_of(plan(recipe, changes, out))


def calibrate_judge(
    recipe: Source,
    changes: Sequence[str] = (),
    out: str | Path | None = None,
    progress: Progress = silent,
    *,
    count: int = 50,
) -> Calibration:
    """Have the judge score `count` of a study's answers twice, and its protocol's anchor example once.

    Raises:
        UserError: see `plan`; or the protocol asks no model, there are no answers yet, or judging had to stop.
    """
    planned = _ready(recipe, changes, out)
    with locked(planned.folder.path):
        return calibration_of(planned, count, progress)


def label_template(
    recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None, *, items: int = 100
) -> LabelFiles:
    """Write a blind table of `items` answers for people to score; `judge.labels` reads it back.

    Raises:
        UserError: see `plan`; or the protocol asks no model, there are no answers yet, or the table is there already.
    """
    return labels_of(plan(recipe, changes, out), items)


def study(
    recipe: Source, changes: Sequence[str] = (), out: str | Path | None = None, progress: Progress = silent
) -> StudyFolder:
    """The whole study: train, prove, generate, score, compare, report. Run again, it continues.

    Returns:
        The study's folder; `.results` is results.json, `.report` is report.html.
    """
    planned = _ready(recipe, changes, out)
    return _run([train_stage, generate_stage, judge_stage, _report_stage], planned, progress)


def _ready(recipe: Source, changes: Sequence[str], out: str | Path | None) -> Plan:
    """A plan whose judges can be asked, as far as that can be told without asking."""
    planned = plan(recipe, changes, out)
    check_keys(planned.recipe.judge)
    return planned


def _run(
    stages: Sequence[Callable[[Plan, Progress], None]], planned: Plan, progress: Progress
) -> StudyFolder:
    planned.check_resolved()
    for note in planned.recipe.notes:
        progress(note, 0, 0)
    with locked(planned.folder.path):
        for stage in stages:
            stage(with_choices(planned), progress)
    return planned.folder


def _report_stage(planned: Plan, progress: Progress) -> None:
    progress("report", 0, 1)
    report([planned.folder.path])
    progress("report", 1, 1)
