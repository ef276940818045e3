"""The stage that answers: every held-out prompt by every run, in batches of prompts that all runs share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from stratalign.engine import JointEngine
from stratalign.generation import Answer, AnswerLimit, Prompt, answer_mixed, batches, divergence_from_base
from stratalign.models import AdapterBank
from stratalign.pipeline.answering import AnswerBatch, answered, begin_batches, end_batches
from stratalign.pipeline.execution import note_out_of_memory, stored_execution
from stratalign.pipeline.fingerprints import add_fingerprints
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.stages.loading import attach_trained, load_base, make_engine, release
from stratalign.pipeline.stages.timings import timed
from stratalign.preferences import Branch, Tree
from stratalign.records import Progress, Response, append_jsonl
from stratalign.training import Run

GENERATING, MEASURING = "generation", "divergence from the base"


def generate_stage(plan: Plan, progress: Progress) -> None:
    """Answer every held-out prompt with every run. Done: a batch whose answers are all in responses.jsonl."""
    folder = plan.folder
    total = len(plan.runs) * len(plan.prompts)
    if answered(folder).issuperset(AnswerBatch(plan.runs, plan.prompts).answers()):
        end_batches(folder)
        return
    add_fingerprints(folder, {"generation": plan.fingerprints["generation"]})
    with timed(folder, "generate"):
        groups = batches(plan.prompts, plan.recipe.generation.batch_size)
        missing = begin_batches(folder, plan.runs, groups)
        left = sum(len(batch.runs) * len(batch.prompts) for batch in missing)
        loaded = load_base(plan)
        bank = AdapterBank(loaded.model)
        behind = {run.id for batch in missing for run in batch.runs}
        runs = [run for run in plan.runs if run.id in behind]
        attach_trained(plan, bank, runs)
        engine = make_engine(plan, loaded, bank, runs, MEASURING, progress)
        answering = _Answering(plan, engine, progress, total - left, total)
        for batch in missing:
            append_jsonl(folder.responses, answering.of(batch))
        end_batches(folder)
        del loaded, bank, engine, answering
        release()


class _Answering:
    """Answers batch by batch, with their divergence from the base; both are stages in what is said of the progress."""

    def __init__(self, plan: Plan, engine: JointEngine, progress: Progress, done: int, total: int) -> None:
        self.plan = plan
        self.engine = engine
        self.progress = progress
        self.made = self.measured = done
        self.total = total
        note = note_out_of_memory(plan.folder, progress, GENERATING, "answers")
        self.limit = AnswerLimit(stored_execution(plan.folder).answers, note)
        progress(GENERATING, done, total)
        progress(MEASURING, done, total)

    def of(self, batch: AnswerBatch) -> list[Response]:
        """The batch's answers, run by run."""
        runs = {run.id: run for run in batch.runs}
        settings = self.plan.recipe.generation

        def make(names: Sequence[str], prompts: Sequence[Prompt]) -> list[tuple[Run, Prompt, Answer]]:
            keys = {
                name: (settings.seed, runs[name].condition.sampling_seed, runs[name].seed_of("sampling"))
                for name in names
            }
            found = answer_mixed(
                self.engine.bank,
                self.plan.tokenizer,
                prompts,
                keys,
                settings,
                stop=self.plan.stop_at,
                watch=self._watch,
            )
            self.made += len(names) * len(prompts)
            self.progress(GENERATING, self.made, self.total)
            pairs = ((name, zip(prompts, found[name], strict=True)) for name in names)
            return [(runs[name], prompt, own) for name, answers in pairs for prompt, own in answers]

        made = self.limit.make(make, list(runs), batch.prompts)
        return [
            response
            for run, rows in groupby(made, key=lambda row: row[0])
            for response in self._measured(run, [(prompt, own) for _, prompt, own in rows])
        ]

    def _watch(self, token: int, ended: int, going: int) -> None:
        """Rows that have ended count as answers, the others by their share of the tokens that they may have."""
        most = self.plan.recipe.generation.max_new_tokens
        if not going or token == most:
            return  # the batch is over, which `make` says
        done = self.made + ended + going * token / most
        self.progress(f"{GENERATING}: token {token:,} of at most {most:,}", done, self.total)

    def _measured(self, run: Run, answers: Sequence[tuple[Prompt, Answer]]) -> list[Response]:
        trees = [
            Tree(prompt.prompt_id, prompt.cluster, prompt.ids, (Branch(own.tokens, 0),))
            for prompt, own in answers
            if own.tokens
        ]
        found = divergence_from_base(self.engine, run.id, trees)
        self.measured += len(answers)
        self.progress(MEASURING, self.measured, self.total)
        divergences = dict(zip((tree.row_id for tree in trees), found, strict=True))
        return [
            Response(
                run=run.id,
                prompt_id=prompt.prompt_id,
                cluster=prompt.cluster,
                prompt=prompt.text,
                response=own.text,
                tokens=len(own.tokens),
                finish=own.finish,
                sampling_seed=run.condition.sampling_seed,
                kl_to_base=divergences.get(prompt.prompt_id),
            )
            for prompt, own in answers
        ]
