"""Proofs of what was trained: every check of every run, entered in the manifest before any that fails is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stratalign.errors import StudyFailure
from stratalign.pipeline.manifest import Manifest
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.stages.loading import release
from stratalign.records import LOGPROBS, LogProbRecord, Progress, read_jsonl
from stratalign.training import Check, Proof, Run, base_unchanged, reload_and_compare, saved


def prove(plan: Plan, manifest: Manifest, pending: Sequence[Run], progress: Progress) -> None:
    """Reload the base and every adapter from disk, and hold them against what was recorded.

    Raises:
        StudyFailure: a check does not hold.
    """
    folder = plan.folder
    progress("proof", 0, 1)
    recorded: dict[str, list[LogProbRecord]] = {run.id: [] for run in plan.runs}
    for row in read_jsonl(folder.logprobs, LOGPROBS):
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
        _rivals(plan, manifest, recorded),
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
        failed += [
            f"{run.id}: {name}: {check.detail}" for name, check in checks.items() if check.holds is False
        ]
    release()
    progress("proof", 1, 1)
    if failed:
        raise StudyFailure(
            f"{len(failed)} of the checks that prove what was trained do not hold; see {folder.manifest}.\n  "
            + "\n  ".join(failed[:10])
        )


def _rivals(plan: Plan, manifest: Manifest, recorded: Mapping[str, Sequence[object]]) -> dict[str, list[str]]:
    """Run -> the other runs that it must be told from: all that trained, but for those whose adapter has the very same
    bytes, where nothing can be mistaken."""
    trained = [
        run.id for run in plan.runs if run.condition.trains and recorded[run.id] and manifest.trained(run.id)
    ]
    return {
        one: [other for other in trained if manifest.digest(other) != manifest.digest(one)] for one in trained
    }
