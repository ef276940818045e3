"""The stage that scores: answers and held-out pairs by every judge and scorer, and the recipe's tasks for every run."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from stratalign.errors import StudyFailure, UserError
from stratalign.models import AdapterBank, load_tokenizer
from stratalign.pipeline.asking import ask_judges, base_of, has_judged
from stratalign.pipeline.manifest import Manifest
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.scoring import TaskWork, score_answers, with_warning
from stratalign.pipeline.stages.loading import attach_trained, load_base
from stratalign.pipeline.stages.timings import timed
from stratalign.records import (
    LOGPROBS,
    RESPONSES,
    LogProbRecord,
    Progress,
    Response,
    digest,
    read_jsonl,
    write_json,
    write_scores,
)
from stratalign.scorers import TaskRun
from stratalign.training import Run


def judge_stage(plan: Plan, progress: Progress, batch: bool = False) -> None:
    """Ask the judges what they have not judged, score all answers and held-out pairs, ask every run the recipe's tasks.

    The table is always made whole and replaced at once, so never stale; judgements, and what scorers gave, are kept
    under digests of the texts and of who judged. Where judging has to stop, what is judged is in the table.
    """
    folder = plan.folder
    with timed(folder, "judge"):
        seeds = {run.id: run.seed for run in plan.runs}
        order = {run.id: i for i, run in enumerate(plan.runs)}
        answers = [Response(**row) for row in read_jsonl(folder.responses, RESPONSES)]
        pairs = [LogProbRecord(**row) for row in read_jsonl(folder.logprobs, LOGPROBS)]
        bases = base_of(plan.runs)
        stopped: UserError | StudyFailure | None = None
        try:
            ask_judges(plan.recipe.judge, answers, bases, folder.judgements, progress, batch)
        except (UserError, StudyFailure) as error:
            stopped = error
            if folder.scores.exists() and not has_judged(
                plan.recipe.judge, answers, bases, folder.judgements
            ):
                raise  # a judge that never said anything does not replace what others said
        scores, judges = score_answers(
            plan.recipe,
            answers,
            {row.row_id: row for row in plan.parts.held_out},
            seeds,
            bases,
            folder.judgements,
            folder.scorers,
            dtype=plan.execution.dtype,
            device=plan.execution.torch_device,
            logprobs=pairs,
            tasks=_task_work(plan),
            progress=progress,
        )
        scores.sort(key=lambda s: (order[s.run], s.protocol, s.judge, s.dimension, s.prompt_id, s.repeat))
        judges = [with_warning(one, plan.recipe.model.base, plan.shape.model_type) for one in judges]
        write_json(folder.judges, {"schema": 1, "judges": judges})
        write_scores(folder.scores, scores)
        progress("scoring", len(scores), len(scores))
        if stopped is not None:
            raise stopped


def _task_work(plan: Plan) -> TaskWork:
    """What tasks are asked of: every run, on the base that the study began with."""
    manifest = Manifest.open(plan.folder, plan)

    def identity(run: Run) -> str:
        adapter = manifest.digest(run.id) if run.condition.trains else None
        return digest([manifest.files, adapter, plan.execution.precision])

    def load() -> tuple[AdapterBank, PreTrainedTokenizerBase]:
        bank = AdapterBank(load_base(plan).model)
        attach_trained(plan, bank, plan.runs)
        return bank, load_tokenizer(plan.recipe.model)

    return TaskWork([TaskRun(run.id, run.seed, identity(run)) for run in plan.runs], load)
