"""The stages of a study: train and prove, generate, score, report. Each continues where it was interrupted.

A stage reads records, does what is missing and writes records; it redoes nothing that is done. What "done" means
stands at the top of each stage.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from stratalign.engine import UNPLANNED_TOKENS, JointEngine
from stratalign.errors import StudyFailure, UserError
from stratalign.generation import Answer, Prompt, answer_mixed, batches, divergence_from_base
from stratalign.models import AdapterBank, LoadedModel, base_files, load_model, load_tokenizer
from stratalign.pipeline.adopting import adopt, choose
from stratalign.pipeline.answering import AnswerBatch, answered, begin_batches, end_batches
from stratalign.pipeline.asking import ask_judges, base_of, has_judged
from stratalign.pipeline.execution import begin_execution, settle_memory
from stratalign.pipeline.fingerprints import add_fingerprints
from stratalign.pipeline.manifest import Manifest
from stratalign.pipeline.planning import Plan, write_bad_rows
from stratalign.pipeline.renaming import rename_runs
from stratalign.pipeline.scoring import TaskWork, score_answers, with_warning
from stratalign.preferences import Branch, Tree
from stratalign.records import (
    LogProbRecord,
    Progress,
    Response,
    StudyFolder,
    append_jsonl,
    digest,
    file_digest,
    keep_jsonl,
    read_json,
    read_jsonl,
    write_json,
    write_scores,
    write_text,
)
from stratalign.scorers import TaskRun
from stratalign.training import (
    Check,
    Proof,
    Run,
    base_unchanged,
    evaluate,
    read_checkpoint,
    reload_and_compare,
    saved,
    stored_references,
    train,
    witnessed,
)


def begin(plan: Plan) -> Manifest:
    """Set the folder up: recipe, execution, data account, run names; the manifest of the study."""
    folder = plan.folder
    begin_execution(folder, plan.execution)
    rename_runs(folder, [(run.condition.name, run.seed) for run in (*plan.runs, *plan.candidates)])
    write_text(folder.recipe, plan.recipe.to_yaml())
    write_json(folder.preferences, plan.preferences)
    if plan.bad:
        write_bad_rows(folder, plan.bad)
    add_fingerprints(folder, {key: plan.fingerprints[key] for key in ("model", "preferences", "training")})
    return Manifest.open(folder, plan)


def train_stage(plan: Plan, progress: Progress) -> None:
    """Train what has no adapter, choose between candidates, record held-out log-probabilities, prove.

    Done: a run whose manifest entry holds a proof and whose held-out records are there; a candidate whose validation
    records are there. Trained: one whose adapter is saved and entered.
    """
    manifest = begin(plan)
    pending, candidates = _pending(plan, manifest), _unmeasured(plan, manifest)
    if not pending and not candidates and not plan.waiting:
        return
    with _timed(plan.folder, "train"):
        manifest.check_base(base_files(plan.recipe.model))
        starting = {_print_of(run) for run in (*plan.runs, *plan.candidates)} & plan.fingerprints.keys()
        add_fingerprints(plan.folder, {name: plan.fingerprints[name] for name in starting})
        loaded = _load(plan)
        manifest.enter_batches("packed" if loaded.packs else "padded")
        trees = [*plan.train_trees, *plan.held_out_trees]
        settled = settle_memory(plan.folder, plan.execution, loaded.anatomy, trees, packed=loaded.packs)
        plan = replace(plan, execution=settled)
        bank = AdapterBank(loaded.model)
        tuned = {one.condition for one in plan.tuned}
        own = [run for run in pending if run.condition.name not in tuned]
        for cohort in _cohorts(plan, manifest, [*own, *candidates]):
            _train_cohort(plan, manifest, loaded, bank, cohort, progress)
        if candidates:
            rows = plan.validation_trees
            _record(plan, loaded, bank, candidates, rows, plan.folder.validation, "validation", progress)
        if candidates or plan.waiting:
            plan = choose(plan)
        manifest = Manifest.open(plan.folder, plan)
        adopt(plan, manifest)
        pending = _pending(plan, manifest)
        if pending:
            rows = plan.held_out_trees
            _record(plan, loaded, bank, pending, rows, plan.folder.logprobs, "held-out", progress)
        del loaded, bank
        _release()
        if pending:
            _prove(plan, manifest, pending, progress)


def _pending(plan: Plan, manifest: Manifest) -> list[Run]:
    """The runs that are reported, without those that wait for a choice, as far as they are not done."""
    recorded = Counter(row["run"] for row in read_jsonl(plan.folder.logprobs))
    complete = len(plan.held_out_trees)
    return [
        run
        for run in plan.runs
        if run.condition.name not in plan.waiting
        and not (manifest.proven(run.id) and recorded[run.id] == complete)
    ]


def _unmeasured(plan: Plan, manifest: Manifest) -> list[Run]:
    """The candidates that are not done."""
    if not plan.tuned:
        return []
    recorded = Counter(row["run"] for row in read_jsonl(plan.folder.validation))
    complete = len(plan.validation_trees)
    return [run for run in plan.candidates if not (manifest.trained(run.id) and recorded[run.id] == complete)]


def generate_stage(plan: Plan, progress: Progress) -> None:
    """Answer every held-out prompt with every run. Done: a batch whose answers are all in responses.jsonl."""
    folder = plan.folder
    total = len(plan.runs) * len(plan.prompts)
    if answered(folder).issuperset(AnswerBatch(plan.runs, plan.prompts).answers()):
        end_batches(folder)
        return
    add_fingerprints(folder, {"generation": plan.fingerprints["generation"]})
    with _timed(folder, "generate"):
        groups = batches(plan.prompts, plan.recipe.generation.batch_size)
        missing = begin_batches(folder, plan.runs, groups)
        left = sum(len(batch.runs) * len(batch.prompts) for batch in missing)
        loaded = _load(plan)
        bank = AdapterBank(loaded.model)
        behind = {run.id for batch in missing for run in batch.runs}
        runs = [run for run in plan.runs if run.id in behind]
        _attach_trained(plan, bank, runs)
        engine = _engine(plan, loaded, bank, runs)
        progress("generation", total - left, total)
        for batch in missing:
            made = _answers(plan, engine, batch)
            append_jsonl(folder.responses, made)
            left -= len(made)
            progress("generation", total - left, total)
        end_batches(folder)
        del loaded, bank, engine
        _release()


def judge_stage(plan: Plan, progress: Progress, batch: bool = False) -> None:
    """Ask the judges what they have not judged, score all answers and held-out pairs, ask every run the recipe's tasks.

    The table is always made whole and replaced at once, so never stale; judgements, and what scorers gave, are kept
    under digests of the texts and of who judged. Where judging has to stop, what is judged is in the table.
    """
    folder = plan.folder
    with _timed(folder, "judge"):
        seeds = {run.id: run.seed for run in plan.runs}
        order = {run.id: i for i, run in enumerate(plan.runs)}
        answers = [Response(**row) for row in read_jsonl(folder.responses)]
        pairs = [LogProbRecord(**row) for row in read_jsonl(folder.logprobs)]
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
        bank = AdapterBank(_load(plan).model)
        _attach_trained(plan, bank, plan.runs)
        return bank, load_tokenizer(plan.recipe.model)

    return TaskWork([TaskRun(run.id, run.seed, identity(run)) for run in plan.runs], load)


def _cohorts(plan: Plan, manifest: Manifest, pending: Sequence[Run]) -> list[list[Run]]:
    """The runs that are still to be trained, in passes: an interrupted pass is finished by the same runs."""
    todo = [run for run in pending if run.condition.trains and not manifest.trained(run.id)]
    found = read_checkpoint(plan.folder.checkpoint)
    begun = [run for run in todo if found is not None and run.id in found.states]
    rest = [run for run in todo if run not in begun]
    return [cohort for cohort in (begun, rest) if cohort]


def _train_cohort(
    plan: Plan,
    manifest: Manifest,
    loaded: LoadedModel,
    bank: AdapterBank,
    cohort: Sequence[Run],
    progress: Progress,
) -> None:
    folder = plan.folder
    for run in cohort:
        bank.attach(run.adapter)
    engine = _engine(plan, loaded, bank, cohort)
    reference = None
    if plan.execution.reference == "stored":
        circumstances = {
            "base": manifest.files,
            "arithmetic": plan.execution.arithmetic(loaded.anatomy),
        }
        reference = stored_references(engine, plan.train_trees, circumstances, progress)
    trained = train(
        engine,
        cohort,
        plan.train_trees,
        plan.steps,
        log=folder.training,
        checkpoint=folder.checkpoint,
        checkpoint_every=plan.recipe.training.checkpoint_every,
        reference=reference,
        progress=progress,
    )
    for run in cohort:
        notes = {
            "schema": 1,
            "model": plan.recipe.model.model_dump(mode="json"),
            "run": run.id,
            "condition": run.condition.name,
            "seed": run.seed,
            "layers": list(run.condition.layers),
        }
        target = folder.adapters / run.id
        bank.save(run.id, target, plan.recipe.model.base, plan.recipe.model.revision, notes)
        saved_as = file_digest(target / "adapter_model.safetensors")
        manifest.enter_trained(
            run.id, saved_as, witnessed(trained.witness, run.id, len(bank.parameters(run.id)))
        )
    folder.checkpoint.unlink(missing_ok=True)
    _note_training_time(folder, [run.id for run in cohort], trained.seconds)


def _record(
    plan: Plan,
    loaded: LoadedModel,
    bank: AdapterBank,
    runs: Sequence[Run],
    trees: Sequence[Tree],
    file: Path,
    what: str,
    progress: Progress,
) -> None:
    """Log-probabilities of held-out or validation rows under runs: their tensors are in memory or, trained earlier, on
    disk."""
    _attach_trained(plan, bank, [run for run in runs if run.id not in bank.specs])
    names = [run.id for run in runs]
    engine = _engine(plan, loaded, bank, runs)

    def told(_what: str, done: int, total: int) -> None:
        progress(f"{what} log-probabilities", done, total)

    records = list(evaluate(engine, names, trees, told))
    keep_jsonl(file, lambda row: row["run"] not in names)
    append_jsonl(file, records)


def _prove(plan: Plan, manifest: Manifest, pending: Sequence[Run], progress: Progress) -> None:
    folder = plan.folder
    progress("proof", 0, 1)
    recorded: dict[str, list[LogProbRecord]] = {run.id: [] for run in pending}
    for row in read_jsonl(folder.logprobs):
        if row["run"] in recorded:
            recorded[row["run"]].append(LogProbRecord(**row))
    folders: dict[str, Path | None] = {
        run.id: folder.adapters / run.id if run.condition.trains else None for run in pending
    }
    reproduced = reload_and_compare(
        plan.recipe.model,
        folders,
        plan.held_out_trees,
        recorded,
        dtype=plan.execution.dtype,
        device=plan.execution.torch_device,
    )
    unchanged = base_unchanged(plan.recipe.model, manifest.files)
    failed: list[str] = []
    for run in pending:
        checks: dict[str, Check] = {}
        path = folders[run.id]
        if path is not None:
            checks |= manifest.witnessed(run.id)
            checks |= saved(path, run.condition.modules, manifest.digest(run.id))
        checks |= {"reproduced": reproduced[run.id], "base_unchanged": unchanged}
        proof = Proof(checks)
        manifest.enter_proof(run.id, proof)
        failed += [f"{run.id}: {name}: {check.detail}" for name, check in checks.items() if not check.holds]
    _release()
    progress("proof", 1, 1)
    if failed:
        raise StudyFailure(
            f"{len(failed)} of the checks that prove what was trained do not hold; see {folder.manifest}.\n  "
            + "\n  ".join(failed[:10])
        )


def _answers(plan: Plan, engine: JointEngine, batch: AnswerBatch) -> list[Response]:
    """One batch of answers, with their divergence from the base; in halves if a GPU's memory is too small for it."""
    settings = plan.recipe.generation
    keys = {run.id: (settings.seed, run.condition.sampling_seed, run.seed) for run in batch.runs}
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


def _load(plan: Plan) -> LoadedModel:
    loaded = load_model(
        plan.recipe.model,
        dtype=plan.execution.dtype,
        device=plan.execution.torch_device,
        attention=plan.execution.attention,
    )
    return loaded if plan.execution.batches == "packed" else loaded.padded()


def _engine(plan: Plan, loaded: LoadedModel, bank: AdapterBank, runs: Sequence[Run]) -> JointEngine:
    firsts = {run.id: run.first_layer(plan.shape.n_layers) for run in runs}
    execution = plan.execution
    return JointEngine(
        loaded.anatomy,
        bank,
        firsts,
        checkpointing=bool(execution.checkpointing),
        pack_tokens=execution.pack_tokens or UNPLANNED_TOKENS,
    )


def _attach_trained(plan: Plan, bank: AdapterBank, runs: Sequence[Run]) -> None:
    """Attach runs that were trained earlier, with the tensors that lie on disk.

    Raises:
        StudyFailure: an adapter's file is not the one that training saved.
    """
    manifest = Manifest.open(plan.folder, plan)
    for run in runs:
        bank.attach(run.adapter)
        if not run.condition.trains:
            continue
        file = plan.folder.adapters / run.id / "adapter_model.safetensors"
        if file_digest(file) != manifest.digest(run.id):
            raise StudyFailure(
                f"{file} has changed since it was trained. Restore it, or delete its folder to train anew."
            )
        bank.load(run.id, file.parent)


def _print_of(run: Run) -> str:
    return f"run {run.condition.name}@{run.seed}"


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _timed(folder: StudyFolder, stage: str) -> Iterator[None]:
    """Add the block's wall time to the stage's in timings.json."""
    before = time.perf_counter()
    yield
    timings = _timings(folder)
    stages = timings.setdefault("stages", {})
    stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - before
    write_json(folder.timings, timings)


def _note_training_time(folder: StudyFolder, runs: Sequence[str], seconds: Mapping[str, float]) -> None:
    """Seconds of each run: its own work, the base pass that all shared, and both together as an estimate of
    what the run would have taken alone."""
    timings = _timings(folder)
    shared = seconds.get("shared", 0.0)
    for run in runs:
        own = seconds.get(run, 0.0)
        timings.setdefault("runs", {})[run] = {
            "own_seconds": own,
            "shared_seconds": shared,
            "alone_estimated_seconds": own + shared,
        }
    timings["checkpoint_seconds"] = timings.get("checkpoint_seconds", 0.0) + seconds.get("checkpoints", 0.0)
    write_json(folder.timings, timings)


def _timings(folder: StudyFolder) -> dict[str, Any]:
    import platform

    stored: dict[str, Any] = read_json(folder.timings) if folder.timings.is_file() else {"schema": 1}
    return stored | {"host": platform.node()}
