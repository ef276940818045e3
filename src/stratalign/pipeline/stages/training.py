"""The stage that trains what has no adapter yet, records held-out log-probabilities, and has everything proven.

Knows the order and what is missing; how a run is trained, chosen, adopted or proven is known elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stratalign.models import AdapterBank, LoadedModel, base_files
from stratalign.pipeline.adopting import adopt, choose
from stratalign.pipeline.checks import check_rows
from stratalign.pipeline.execution import begin_execution, settle_memory, stored_execution
from stratalign.pipeline.fingerprints import add_fingerprints
from stratalign.pipeline.manifest import Manifest
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.reading import write_bad_rows
from stratalign.pipeline.renaming import rename_runs
from stratalign.pipeline.selecting import bring_records
from stratalign.pipeline.stages.loading import attach_trained, load_base, make_engine, release
from stratalign.pipeline.stages.proving import prove
from stratalign.pipeline.stages.timings import note_training_time, timed
from stratalign.preferences import Tree
from stratalign.records import (
    LOGPROBS,
    SCHEMA,
    Progress,
    append_jsonl,
    keep_jsonl,
    read_jsonl,
    write_json,
    write_text,
)
from stratalign.training import Run, evaluate, read_checkpoint, stored_references, train, witnessed


def begin(plan: Plan) -> Manifest:
    """Set the folder up: records, recipe, execution, data account, run names; the manifest of the study."""
    folder = plan.folder
    begin_execution(folder, plan.execution)
    rename_runs(folder, [(run.condition.name, run.seed) for run in (*plan.runs, *plan.candidates)])
    bring_records(plan.brought, folder)
    write_text(folder.recipe, plan.recipe.to_yaml())
    write_json(folder.preferences, {"schema": SCHEMA, **plan.preferences})
    if plan.bad:
        write_bad_rows(folder, plan.bad)
    add_fingerprints(folder, {key: plan.fingerprints[key] for key in ("model", "preferences", "training")})
    return Manifest.open(folder, plan)


def train_stage(plan: Plan, progress: Progress) -> None:
    """Train what has no adapter, choose between candidates, record held-out log-probabilities, prove.

    Done: a run whose proof in the manifest holds or cannot tell, and whose held-out records are there; a candidate
    whose validation records are there. Trained: one whose adapter is saved and entered.
    """
    manifest = begin(plan)
    check_rows(plan)
    manifest.refuse_changed()
    pending, candidates = _pending(plan, manifest), _unmeasured(plan, manifest)
    if not pending and not candidates and not plan.waiting:
        return
    with timed(plan.folder, "train"):
        manifest.check_base(base_files(plan.recipe.model))
        starting = {_print_of(run) for run in (*plan.runs, *plan.candidates)} & plan.fingerprints.keys()
        add_fingerprints(plan.folder, {name: plan.fingerprints[name] for name in starting})
        loaded = load_base(plan)
        manifest.enter_batches("packed" if loaded.packs else "padded")
        trees = [*plan.train_trees, *plan.held_out_trees]
        bank = AdapterBank(loaded.model)
        tuned = {one.condition for one in plan.tuned}
        own = [run for run in pending if run.condition.name not in tuned]
        passes = _passes(plan, manifest, [*own, *candidates])
        training = [run for runs in passes for run in runs]
        for run in training:
            bank.attach(run.adapter)
        engine = make_engine(plan, loaded, bank, training, "training", progress)
        if training:  # else the plan would be one without adapters, for good
            together = [[run.id for run in runs] for runs in passes]
            settled = settle_memory(plan.folder, plan.execution, engine, trees, together)
            plan = replace(plan, execution=settled)
        left = len({run.seed_of("order") for run in training})
        total = max(len(passes), plan.passes - left + len(passes))
        for number, runs in enumerate(passes, start=total - len(passes) + 1):
            what = "training" if total == 1 else f"training, pass {number} of {total}"
            _train_together(plan, manifest, loaded, bank, runs, what, progress)
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
        release()
        if pending:
            prove(plan, manifest, pending, progress)


def _pending(plan: Plan, manifest: Manifest) -> list[Run]:
    """The runs that are reported, without those that wait for a choice, as far as they are not done."""
    recorded = Counter(row["run"] for row in read_jsonl(plan.folder.logprobs, LOGPROBS))
    complete = len(plan.held_out_trees)
    return [
        run
        for run in plan.runs
        if run.condition.name not in plan.waiting
        and not (manifest.settled(run.id) and recorded[run.id] == complete)
    ]


def _unmeasured(plan: Plan, manifest: Manifest) -> list[Run]:
    """The candidates that are not done."""
    if not plan.tuned:
        return []
    recorded = Counter(row["run"] for row in read_jsonl(plan.folder.validation, LOGPROBS))
    complete = len(plan.validation_trees)
    return [run for run in plan.candidates if not (manifest.trained(run.id) and recorded[run.id] == complete)]


def _passes(plan: Plan, manifest: Manifest, pending: Sequence[Run]) -> list[list[Run]]:
    """The runs that are still to be trained, in passes: an interrupted pass is finished by the same runs, and the runs
    of a pass see the pairs in one order."""
    todo = [run for run in pending if run.condition.trains and not manifest.trained(run.id)]
    found = read_checkpoint(plan.folder.checkpoint)
    begun = [run for run in todo if found is not None and run.id in found.states]
    rest: dict[int, list[Run]] = {}
    for run in todo:
        if run not in begun:
            rest.setdefault(run.seed_of("order"), []).append(run)
    return [runs for runs in (begun, *rest.values()) if runs]


def _train_together(
    plan: Plan,
    manifest: Manifest,
    loaded: LoadedModel,
    bank: AdapterBank,
    runs: Sequence[Run],
    what: str,
    progress: Progress,
) -> None:
    folder = plan.folder
    (order,) = {run.seed_of("order") for run in runs}
    engine = make_engine(plan, loaded, bank, runs, "training", progress)
    reference = None
    if plan.execution.reference == "stored":
        circumstances = {
            "base": manifest.files,
            "arithmetic": stored_execution(folder).arithmetic(loaded.anatomy),
        }
        reference = stored_references(engine, plan.train_trees, circumstances, progress)

    def named(said: str, done: float, total: int) -> None:
        progress(said.replace("training", what, 1), done, total)

    trained = train(
        engine,
        runs,
        plan.train_trees,
        plan.steps_of(order),
        log=folder.training,
        checkpoint=folder.checkpoint,
        checkpoint_every=plan.recipe.training.checkpoint_every,
        reference=reference,
        progress=named,
    )
    for run in runs:
        notes = {
            "schema": 1,
            "model": plan.recipe.model.model_dump(mode="json"),
            "run": run.id,
            "condition": run.condition.name,
            "seed": run.seed,
            "layers": list(run.condition.layers),
        }
        target = folder.adapters / run.id
        before = manifest.forget(run.id)
        bank.save(run.id, target, plan.recipe.model.base, plan.recipe.model.revision, notes)
        seen = witnessed(trained.witness, run.id, len(bank.parameters(run.id)))
        manifest.enter_trained(run.id, seen, before)
    folder.checkpoint.unlink(missing_ok=True)
    note_training_time(folder, [run.id for run in runs], trained.seconds)


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
    attach_trained(plan, bank, [run for run in runs if run.id not in bank.specs])
    names = [run.id for run in runs]
    stage = f"{what} log-probabilities"
    engine = make_engine(plan, loaded, bank, runs, stage, progress)

    def told(_what: str, done: float, total: int) -> None:
        progress(stage, done, total)

    records = list(evaluate(engine, names, trees, told))
    keep_jsonl(file, lambda row: row["run"] not in names, LOGPROBS)
    append_jsonl(file, records)


def _print_of(run: Run) -> str:
    return f"run {run.condition.name}@{run.seed}"
