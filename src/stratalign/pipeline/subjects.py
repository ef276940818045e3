"""What a diagnosis looks at: the base, a trained run of the study's folder, any LoRA adapter of the model, or the
difference of another checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stratalign.blocks import Site
from stratalign.errors import UserError, unknown_name
from stratalign.models import (
    AdapterSpec,
    ModelSettings,
    base_files,
    load_tensors,
    module_names,
    read_adapter_config,
)
from stratalign.pipeline.fingerprints import as_stored, diagnosed_from
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.stage_one import KEPT, stage_folder
from stratalign.records import (
    DIAGNOSIS,
    MANIFEST,
    SAFE_NAME,
    digest,
    file_digest,
    read_record,
    refuse_changed,
)


@dataclass(frozen=True)
class Subject:
    """What is looked at. `label` tells its record from that of the base; `digest` changes when the adapter does.

    Of a checkpoint in `tuned` the modules are known once it is loaded; `adapter` names none before.
    """

    name: str
    label: str | None
    adapter: AdapterSpec
    folder: Path | None
    digest: str | None
    tuned: str | None = None
    share_of_training: float | None = None
    """Of an adapter that was kept while it trained: how much of the training is done in it."""

    @property
    def given(self) -> bool:
        """Whether there is something trained to look at."""
        return self.folder is not None or self.tuned is not None


def find_subject(plan: Plan, run: str | None, adapter: str | None, tuned: str | None = None) -> Subject:
    """The run, the adapter or the checkpoint that is named; the base if none is.

    Raises:
        UserError: several are named, or what is named is not there, not trained, or no plain LoRA of this model.
    """
    if sum(given is not None for given in (run, adapter, tuned)) > 1:
        raise UserError("Name a run of the study, an adapter folder or a tuned checkpoint, not both.")
    if run is not None:
        return _of_run(plan, run)
    if adapter is not None:
        return _of_folder(plan.shape.sites, Path(adapter).expanduser())
    if tuned is not None:
        if plan.recipe.model.quantization is not None:
            raise UserError(
                "The difference of two checkpoints is taken from their weights, which a base in 4 bits does not hold. "
                "Take the quantization out: --set model.quantization=null."
            )
        return _of_checkpoint(tuned)
    return Subject("base", None, AdapterSpec("base", (), 1, 1.0), None, None)


def trained_runs(plan: Plan) -> tuple[Subject, ...]:
    """Every run of the study's folder that has trained something.

    Raises:
        UserError: there is none.
    """
    stored = _stored_runs(plan)
    found = tuple(
        _of_run(plan, name) for name, entry in stored.items() if "trained" in entry and entry["modules"]
    )
    if not found:
        raise UserError(
            f"No run of {plan.folder.path} is trained yet, so there are no updates. Train some (stratalign train), or "
            "name an adapter (--adapter) or a checkpoint (--tuned)."
        )
    return found


def kept_stages(plan: Plan) -> tuple[Subject, ...]:
    """The base, and the adapters that `diagnose significance` kept during its training.

    Raises:
        UserError: they are not there, or were trained from another recipe than the plan's.
    """
    folders = {share: stage_folder(plan.folder, share) for share in KEPT}
    record = plan.folder.diagnostics / "significance.json"
    made_from = read_record(record, DIAGNOSIS).get("fingerprint") or {}
    wanted = as_stored({"model": plan.fingerprints["model"], **training_of(plan)})
    same = all(made_from.get(key) == value for key, value in wanted.items())
    if not (same and all(folder.is_dir() for folder in folders.values())):
        raise UserError(
            f"The stages are the adapters that `diagnose significance` keeps while it trains, and those of this recipe "
            f"are not in {plan.folder.diagnostics}. Make them first: stratalign diagnose significance RECIPE.yaml "
            f"--out {plan.folder.path}"
        )
    adapters = [
        replace(_of_folder(plan.shape.sites, folder), share_of_training=share)
        for share, folder in folders.items()
    ]
    return (find_subject(plan, None, None), *adapters)


def training_of(plan: Plan) -> dict[str, Any]:
    """What the training of a plan's only run depends on beside the model: data, settings, rank and rate."""
    (run,) = plan.runs
    return {
        "preferences": diagnosed_from(plan.fingerprints["preferences"], plan.parts),
        "training": plan.fingerprints["training"] | plan.fingerprints[f"run {run.id}@{run.seed}"]["training"],
        "rank": run.condition.rank,
        "learning_rate": next(iter(run.condition.phases[0].modules.values())),
    }


def _stored_runs(plan: Plan) -> dict[str, Any]:
    stored: dict[str, Any] = read_record(plan.folder.manifest, MANIFEST).get("runs") or {}
    return stored


def _of_run(plan: Plan, run: str) -> Subject:
    stored = _stored_runs(plan)
    if run == "base":
        return find_subject(plan, None, None)
    trained = [name for name, entry in stored.items() if "trained" in entry]
    folder = plan.folder.adapters / run
    if run not in trained:
        raise unknown_name(
            f"trained run of {plan.folder.path}",
            run,
            ["base", *trained],
            "`stratalign train` trains the others.",
        )
    entry = stored[run]
    refuse_changed(folder)
    spec = AdapterSpec(run, tuple(entry["modules"]), entry["rank"], entry["alpha"])
    return Subject(run, run, spec, folder, _digest(folder))


def _of_folder(sites: tuple[Site, ...], folder: Path) -> Subject:
    refuse_changed(folder)
    config, tensors = read_adapter_config(folder), load_tensors(folder)
    modules = module_names(tensors)
    known = {site.name for site in sites if site.frozen is None}
    foreign = [name for name in modules if name not in known]
    others = [name for name in tensors if ".lora_A.weight" not in name and ".lora_B.weight" not in name]
    plain = not any(config.get(key) for key in ("rank_pattern", "alpha_pattern", "use_rslora", "use_dora"))
    ranks = {tensor.shape[0] for name, tensor in tensors.items() if ".lora_A." in name}
    if not modules or foreign or others or not plain or ranks != {config.get("r")}:
        odd = [*foreign, *others, *(() if plain else ("its ranks, scales or form",))]
        raise UserError(
            f"{folder} is not a plain LoRA adapter of this model: {', '.join(odd[:3]) or 'it has no such tensors'}. "
            f"`stratalign audit {folder}` lists what it holds."
        )
    ordered = tuple(site.name for site in sites if site.name in modules)
    spec = AdapterSpec("adapter", ordered, config["r"], config["lora_alpha"])
    label = _label(folder.resolve().name, "adapter")
    return Subject(label, label, spec, folder, _digest(folder))


def _of_checkpoint(tuned: str) -> Subject:
    label = _label(Path(tuned).expanduser().resolve().name, "tuned")
    files = digest(base_files(ModelSettings(base=tuned)))
    return Subject(label, label, AdapterSpec("tuned", (), 0, 0.0), None, files, tuned)


def _label(name: str, otherwise: str) -> str:
    return name if SAFE_NAME.fullmatch(name) else otherwise


def _digest(folder: Path) -> str:
    return file_digest(folder / "adapter_model.safetensors")
