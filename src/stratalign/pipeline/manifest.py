"""manifest.json: for every run its exact modules and parameters, and the proof of what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stratalign.errors import StudyFailure
from stratalign.records import (
    LOGPROBS,
    MANIFEST,
    RESPONSES,
    StudyFolder,
    adapter_digests,
    keep_jsonl,
    read_jsonl,
    read_record,
    refuse_changed,
    standing_of,
    write_json,
)
from stratalign.training import Check, Proof, Run, phase_bounds

if TYPE_CHECKING:
    from stratalign.pipeline.planned import Plan


RESULTS = ("trained", "proof")


class Manifest:
    """The manifest of one study; every change is written at once."""

    def __init__(self, folder: StudyFolder, content: dict[str, Any]) -> None:
        self._folder = folder
        self._content = content

    @classmethod
    def open(cls, folder: StudyFolder, plan: Plan) -> Manifest:
        """The stored manifest with an entry for every run of the plan; runs that the plan lacks stay as they are, and
        tuned conditions that wait for a choice.

        A tuned condition's results are those of one candidate: where another is chosen now, they are forgotten.
        """
        stored = read_record(folder.manifest, MANIFEST)
        earlier = stored.get("runs", {})
        told, shares = _tuning(plan), plan.shares_of_full
        runs = {}
        for run in (*plan.runs, *plan.candidates):
            if run.condition.name in plan.waiting:
                continue
            before, about = earlier.get(run.id, {}), told.get(run.id, {})
            same = before.get("tuned") == about.get("tuned")
            runs[run.id] = (
                _entry(run, len(plan.steps), shares[run.id]) | about | (_results(before) if same else {})
            )
        content = {
            "schema": 1,
            "model": {
                **plan.recipe.model.model_dump(mode="json"),
                "name": plan.recipe.model.base,
                "model_type": plan.shape.model_type,
                "layers": plan.shape.n_layers,
                "parameters": plan.shape.parameters,
                "files": stored.get("model", {}).get("files", {}),
                "batches": stored.get("model", {}).get("batches"),
            },
            "partition": {name: list(layers) for name, layers in plan.blocks.items()},
            "seeds_vary": list(plan.recipe.seeds_vary),
            "runs": runs | {run: entry for run, entry in earlier.items() if run not in runs},
        }
        manifest = cls(folder, content)
        manifest._write()
        return manifest

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the base's files when the study began."""
        files: dict[str, str] = self._content["model"]["files"]
        return files

    def check_base(self, files: Mapping[str, str]) -> None:
        """Enter the base's files, or make sure that they are the ones entered before.

        Raises:
            StudyFailure: the base has changed since the study began.
        """
        if not self.files:
            self._content["model"]["files"] = dict(files)
            self._write()
        changed = sorted(name for name in {*files, *self.files} if files.get(name) != self.files.get(name))
        if changed:
            raise StudyFailure(
                f"The base model has changed since this study began ({', '.join(changed)}), so new runs would not be "
                "comparable with the stored ones. Restore it, or name a new folder with --out."
            )

    def enter_batches(self, layout: str) -> None:
        """Note which layout this model trains in: packed rows, or padded ones where it does not take those."""
        self._content["model"]["batches"] = layout
        self._write()

    def trained(self, run: str) -> bool:
        return "trained" in self._content["runs"][run] and self._adapter_exists(run)

    def settled(self, run: str) -> bool:
        """Whether the run is proven, or its proof said that it cannot be told; and its adapter is there."""
        entry = self._content["runs"][run]
        standing = standing_of(entry.get("proof"), changed=False)
        return standing in ("proven", "cannot tell") and (not entry["modules"] or self._adapter_exists(run))

    def refuse_changed(self) -> None:
        """Refuse to go on with adapters that are not those that were trained.

        Raises:
            StudyFailure: a file of one of them has changed.
        """
        for run in self._content["runs"]:
            refuse_changed(self._folder.adapters / run)

    def digest(self, run: str) -> str:
        """SHA-256 of the adapter's file as it was saved."""
        digest: str = self._content["runs"][run]["trained"]["adapter_sha256"]
        return digest

    def witnessed(self, run: str) -> dict[str, Check]:
        """What the witness saw while the run trained."""
        return {
            name: Check(**check) for name, check in self._content["runs"][run]["trained"]["witnessed"].items()
        }

    def forget(self, run: str) -> str | None:
        """Forget what is known of a run's adapter, which is about to be replaced; gives back its digest."""
        entry = self._content["runs"][run]
        before: str | None = entry.get("trained", {}).get("adapter_sha256")
        for key in RESULTS:
            entry.pop(key, None)
        self._write()
        return before

    def enter_trained(self, run: str, checks: Mapping[str, Check], before: str | None) -> None:
        """Enter what the witness saw while the run trained, and the digests of the adapter that was just saved.

        Log-probabilities and answers of a replaced adapter go first, unless its digest, `before`, is the new one's.
        """
        digests = adapter_digests(self._folder.adapters / run)
        if digests["adapter_sha256"] != before:
            for file, kind in {
                self._folder.logprobs: LOGPROBS,
                self._folder.validation: LOGPROBS,
                self._folder.responses: RESPONSES,
            }.items():
                if any(row["run"] == run for row in read_jsonl(file, kind)):
                    keep_jsonl(file, lambda row: row["run"] != run, kind)
        self._content["runs"][run]["trained"] = {
            **digests,
            "witnessed": {name: asdict(check) for name, check in checks.items()},
        }
        self._write()

    def enter_proof(self, run: str, proof: Proof) -> None:
        self._content["runs"][run]["proof"] = proof.to_json()
        self._write()

    def _adapter_exists(self, run: str) -> bool:
        return (self._folder.adapters / run / "adapter_model.safetensors").is_file()

    def _write(self) -> None:
        write_json(self._folder.manifest, self._content)


def _entry(run: Run, steps: int, of_full: Mapping[str, float]) -> dict[str, Any]:
    condition, settings = run.condition, run.settings
    bounds = phase_bounds(condition, steps) if condition.trains else [0]
    return {
        "condition": condition.name,
        "seed": run.seed,
        "labels": condition.labels,
        "sampling_seed": condition.sampling_seed,
        "layers": list(condition.layers),
        "modules": list(condition.modules),
        "phases": [
            {"first_step": first, "steps": after - first, "modules": dict(phase.modules)}
            for first, after, phase in zip(bounds, bounds[1:], condition.phases, strict=False)
        ],
        "targets": list(condition.targets),
        "rank": condition.rank,
        "alpha": settings.alpha,
        "parameters": condition.parameters,
        "of_full": dict(of_full),
        "training": settings.model_dump(mode="json"),
    }


def _tuning(plan: Plan) -> dict[str, dict[str, Any]]:
    """What a run has to do with tuning: the condition that it is a candidate for, or the candidate that it became."""
    told: dict[str, dict[str, Any]] = {}
    for one in plan.tuned:
        for each in one.candidates:
            told |= {
                run.id: {"candidate_of": one.condition, "values": dict(each.values)} for run in each.runs
            }
            if plan.chosen.get(one.condition) == each.name:
                became = {"candidate": each.name, "by": one.grid.by, "values": dict(each.values)}
                told |= {run.id: {"tuned": became} for run in one.standing}
    return told


def _results(earlier: Mapping[str, Any]) -> dict[str, Any]:
    return {key: earlier[key] for key in RESULTS if key in earlier}
