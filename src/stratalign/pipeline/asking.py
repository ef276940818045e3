"""Asking the language models that judge a study, and what can be known of it before: cost, a calibration, labels.

Knows a plan's runs and answers; how a judge is asked is the judging room's. What calls servers is imported where it
is needed: the client's library takes most of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stratalign.errors import UserError
from stratalign.judging import (
    Estimate,
    Headway,
    JudgeSettings,
    LabelFiles,
    api_key,
    asks_a_model,
    estimate,
    load_protocol,
    model_judges,
    write_label_template,
)
from stratalign.judging.readings import scores_from
from stratalign.pipeline.checks import check_rows
from stratalign.pipeline.planned import Plan
from stratalign.records import RESPONSES, Progress, Response, read_jsonl
from stratalign.training import Run

if TYPE_CHECKING:
    from stratalign.judging.calibrating import Calibration
    from stratalign.judging.tally import Tally

BASE = "base"


def base_of(runs: Sequence[Run]) -> dict[str, str]:
    """For every run the run of base under its seed; itself where the study has no base."""
    bases = {run.seed: run.id for run in runs if run.condition.name == BASE}
    return {run.id: bases.get(run.seed, run.id) for run in runs}


def check_keys(settings: JudgeSettings) -> None:
    """Make sure, before anything is trained for it, that every judge that needs a key has one.

    Raises:
        UserError: an environment variable is not set.
    """
    if asks_a_model(settings):
        for judge in model_judges(settings):
            api_key(judge.settings)


def ask_judges(
    settings: JudgeSettings,
    responses: Sequence[Response],
    bases: Mapping[str, str],
    store: Path,
    progress: Progress,
    batch: bool = False,
) -> list[Tally]:
    """Ask every judge about what it has not judged yet; nothing where the protocol asks no model.

    Raises:
        UserError, StudyFailure: judging had to stop; what was judged is in the store.
    """
    if not asks_a_model(settings):
        return []
    from stratalign.judging.batches import judge_in_batches
    from stratalign.judging.running import judge_rows

    tallies = []
    for judge in model_judges(settings):
        rows = judge.rows([one for one in responses if one.run in bases], bases)
        what = f"judging by {judge.name}"

        def tell(headway: Headway, what: str = what) -> None:
            progress(f"{what}: {headway.account()}", headway.done, headway.total)

        if batch:
            tally = judge_in_batches(judge.settings, judge.protocol, rows, store)
        else:
            tally = judge_rows(judge.settings, judge.protocol, rows, store, progress=tell)
        tallies.append(tally)
    return tallies


def has_judged(
    settings: JudgeSettings, responses: Sequence[Response], bases: Mapping[str, str], store: Path
) -> bool:
    """Whether the first judge has a valid judgement of any of the answers."""
    judge = model_judges(settings)[0]
    rows = judge.rows([one for one in responses if one.run in bases], bases)
    return any(one.state == "ok" for one in scores_from(store, judge.settings, judge.protocol, rows))


def estimate_judging(plan: Plan) -> dict[str, Estimate]:
    """What judging the answers that the study has would take, by judge; asks nobody.

    Raises:
        UserError: the protocol asks no model, or there are no answers yet.
    """
    answers = _answers(plan)
    bases = base_of(plan.runs)
    return {
        judge.name: estimate(
            judge.settings, judge.protocol, judge.rows(answers, bases), plan.folder.judgements
        )
        for judge in model_judges(plan.recipe.judge)
    }


def calibrate_judge(plan: Plan, count: int, progress: Progress) -> Calibration:
    """Judge `count` answers twice, and the protocol's anchor example, to see what the first judge is like.

    Raises:
        UserError: the protocol asks no model, there are no answers yet, or judging had to stop.
    """
    from stratalign.judging.calibrating import calibrate

    answers = _answers(plan)
    judge = model_judges(plan.recipe.judge)[0]

    def tell(headway: Headway) -> None:
        progress(f"calibrating {judge.name}: {headway.account()}", headway.done, headway.total)

    return calibrate(
        judge.settings,
        judge.protocol,
        judge.rows(answers, base_of(plan.runs)),
        plan.folder.judgements,
        anchor=judge.protocol.anchor_case,
        count=count,
        progress=tell,
    )


def label_template(plan: Plan, items: int, path: Path | None = None) -> LabelFiles:
    """A blind table in which people score `items` of the study's answers, `labels/labels.csv` if no path is given.

    Raises:
        UserError: the protocol asks no model, there are no answers yet, or a file is there already.
    """
    answers = _answers(plan)
    seeds = {run.id: run.seed for run in plan.runs}
    protocol = load_protocol(plan.recipe.judge.protocol)
    return write_label_template(path or plan.folder.labels / "labels.csv", answers, seeds, protocol, items)


def _answers(plan: Plan) -> list[Response]:
    settings = plan.recipe.judge
    if not asks_a_model(settings):
        raise UserError(
            f"The protocol {settings.protocol!r} asks no language model. Set judge.protocol to likert-16, hardened, "
            "pairwise or a YAML file, and name judge.base_url and judge.model."
        )
    check_rows(plan)
    runs = {run.id for run in plan.runs}
    found = [Response(**row) for row in read_jsonl(plan.folder.responses, RESPONSES) if row["run"] in runs]
    if not found:
        raise UserError(
            f"{plan.folder.path} holds no answers yet. Run `stratalign generate` with this recipe first."
        )
    return found
