"""What a stage works with: the base as the plan has it, trained runs, an engine over both; and giving them back."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch

from stratalign.engine import UNPLANNED_TOKENS, JointEngine
from stratalign.models import AdapterBank, LoadedModel, load_model
from stratalign.pipeline.execution import note_out_of_memory, stored_execution
from stratalign.pipeline.planned import Plan
from stratalign.records import Progress, refuse_changed
from stratalign.training import Run


def load_base(plan: Plan) -> LoadedModel:
    """The base, in the layout that the study began with."""
    loaded = load_model(
        plan.recipe.model,
        dtype=plan.execution.dtype,
        device=plan.execution.torch_device,
        attention=plan.execution.attention,
    )
    return loaded if plan.execution.batches == "packed" else loaded.padded()


def make_engine(
    plan: Plan, loaded: LoadedModel, bank: AdapterBank, runs: Sequence[Run], what: str, progress: Progress
) -> JointEngine:
    """An engine for these runs, which are attached; `what` it is for is said and recorded where memory runs out."""
    firsts = {run.id: run.first_layer(plan.shape.n_layers) for run in runs}
    execution = stored_execution(plan.folder)
    return JointEngine(
        loaded.anatomy,
        bank,
        firsts,
        checkpointing=bool(execution.checkpointing),
        pack_tokens=execution.pack_tokens or UNPLANNED_TOKENS,
        halved=note_out_of_memory(plan.folder, progress, what, "pack_tokens"),
    )


def attach_trained(plan: Plan, bank: AdapterBank, runs: Sequence[Run]) -> None:
    """Attach runs that were trained earlier, with the tensors that lie on disk.

    Raises:
        StudyFailure: an adapter's file is not the one that training saved.
    """
    for run in runs:
        bank.attach(run.adapter)
        if not run.condition.trains:
            continue
        folder = plan.folder.adapters / run.id
        refuse_changed(folder)
        bank.load(run.id, folder)


def release() -> None:
    """Give memory back that nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
