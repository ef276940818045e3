"""Chooses between candidates on their validation records, and gives a tuned condition what its candidate trained.

The adapter, the steps and the times are copied under the condition's name, so that every later stage finds a run like
any other. Each step can be repeated: after an interruption the next start finishes what is left.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stratalign.pipeline.manifest import Manifest
from stratalign.pipeline.planned import Plan, with_choices
from stratalign.pipeline.tuning import tune
from stratalign.records import (
    ADAPTER_NOTES,
    LOGPROBS,
    STEPS,
    TIMINGS,
    LogProbRecord,
    StudyFolder,
    append_jsonl,
    keep_jsonl,
    read_jsonl,
    read_record,
    write_bytes,
    write_json,
)
from stratalign.training import Run


def choose(plan: Plan) -> Plan:
    """Write tuning.json from the records of all candidates; the plan with its choices."""
    records: dict[str, list[LogProbRecord]] = {run.id: [] for run in plan.candidates}
    for row in read_jsonl(plan.folder.validation, LOGPROBS):
        if row["run"] in records:
            records[row["run"]].append(LogProbRecord(**row))
    write_json(plan.folder.tuning, tune(plan.tuned, records))
    return replace(with_choices(plan), execution=plan.execution)


def adopt(plan: Plan, manifest: Manifest) -> None:
    """Give every tuned condition its candidate's adapter, unless it has it.

    Answers and held-out records of a candidate that was chosen before go first: what is stored under a condition's name
    is always of one candidate.
    """
    for run in plan.runs:
        candidate = plan.candidate_of(run)
        if candidate is None:
            continue
        if manifest.trained(run.id) and manifest.digest(run.id) == manifest.digest(candidate.id):
            continue
        before = manifest.forget(run.id)
        _drop(plan.folder.training, run.id)
        steps = [row for row in read_jsonl(plan.folder.training, STEPS) if row["run"] == candidate.id]
        append_jsonl(plan.folder.training, [row | {"run": run.id} for row in steps])
        _copy_adapter(plan.folder, candidate, run)
        _copy_times(plan.folder, candidate, run)
        manifest.enter_trained(run.id, manifest.witnessed(candidate.id), before)


def _drop(file: Path, run: str) -> None:
    if file.is_file():
        keep_jsonl(file, lambda row: row["run"] != run, STEPS)


def _copy_adapter(folder: StudyFolder, candidate: Run, run: Run) -> None:
    source, target = folder.adapters / candidate.id, folder.adapters / run.id
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        write_bytes(target / name, (source / name).read_bytes())
    notes = read_record(source / "stratalign.json", ADAPTER_NOTES)
    about = {"run": run.id, "condition": run.condition.name, "candidate": candidate.condition.name}
    write_json(target / "stratalign.json", notes | about)


def _copy_times(folder: StudyFolder, candidate: Run, run: Run) -> None:
    timings = read_record(folder.timings, TIMINGS)
    runs = timings.get("runs", {})
    if candidate.id in runs:
        runs[run.id] = runs[candidate.id]
        write_json(folder.timings, timings)
