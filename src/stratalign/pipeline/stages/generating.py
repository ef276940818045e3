"""The stage that answers: every held-out prompt by every run, in batches of prompts that all runs share."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stratalign.engine import JointEngine
from stratalign.generation import Answer, Prompt, answer_mixed, batches, divergence_from_base
from stratalign.models import AdapterBank
from stratalign.pipeline.answering import AnswerBatch, answered, begin_batches, end_batches
from stratalign.pipeline.fingerprints import add_fingerprints
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.stages.loading import attach_trained, load_base, make_engine, release
from stratalign.pipeline.stages.timings import timed
from stratalign.preferences import Branch, Tree
from stratalign.records import Progress, Response, append_jsonl
from stratalign.training import Run


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
        engine = make_engine(plan, loaded, bank, runs)
        progress("generation", total - left, total)
        for batch in missing:
            made = _answers(plan, engine, batch)
            append_jsonl(folder.responses, made)
            left -= len(made)
            progress("generation", total - left, total)
        end_batches(folder)
        del loaded, bank, engine
        release()


def _answers(plan: Plan, engine: JointEngine, batch: AnswerBatch) -> list[Response]:
    """One batch of answers, with their divergence from the base; in halves if a GPU's memory is too small for it."""
    settings = plan.recipe.generation
    keys = {
        run.id: (settings.seed, run.condition.sampling_seed, run.seed_of("sampling")) for run in batch.runs
    }
    try:
        made = answer_mixed(engine.bank, plan.tokenizer, batch.prompts, keys, settings, stop=plan.stop)
    except torch.OutOfMemoryError:
        if len(batch.runs) == 1:
            raise
        made = None
    if made is None:  # outside the handler, which holds what did not fit
        half = len(batch.runs) // 2
        return [
            response
            for runs in (batch.runs[:half], batch.runs[half:])
            for response in _answers(plan, engine, batch._replace(runs=runs))
        ]
    return [one for run in batch.runs for one in _responses(engine, run, batch.prompts, made[run.id])]


def _responses(
    engine: JointEngine, run: Run, prompts: Sequence[Prompt], answers: Sequence[Answer]
) -> list[Response]:
    trees = [
        Tree(prompt.prompt_id, prompt.cluster, prompt.ids, (Branch(own.tokens, 0),))
        for prompt, own in zip(prompts, answers, strict=True)
        if own.tokens
    ]
    measured = divergence_from_base(engine, run.id, trees)
    divergences = dict(zip((tree.row_id for tree in trees), measured, strict=True))
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
        for prompt, own in zip(prompts, answers, strict=True)
    ]
