"""Where and how a study executes: resolved once, stored in execution.json, reused on every resume."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from stratalign.engine import JointEngine, plan_memory
from stratalign.errors import UserError
from stratalign.models import Anatomy
from stratalign.preferences import Tree
from stratalign.records import NEEDED, SCHEMA, Kind, Progress, StudyFolder, read_record, shape_of, write_json
from stratalign.training import TrainingSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
PACKAGES = ("stratalign", "torch", "transformers", "peft", "tokenizers", "datasets", "numpy", "scipy")

EPOCHS_FOR_STORING = 3
"""From so many epochs on a stored reference is no more work, whatever trains."""


@dataclass(frozen=True)
class Execution:
    """Everything that may change bits without changing what is computed."""

    device: str
    precision: str
    attention: str | None
    checkpointing: bool | None  # None until the model is loaded and memory is planned
    threads: int
    pack_tokens: int | None = None  # tokens in one pass; None until memory is planned
    bytes_per_token: int | None = None  # of activations, as measured when memory was planned
    batches: str = "packed"  # where the model takes packed rows; the manifest says what it came to
    reference: str = "pass"  # reference log-probabilities: from every base pass, or stored
    answers: int | None = None  # made at once, where memory ran out; None: as many as a batch has
    out_of_memory: Sequence[Mapping[str, Any]] = ()  # each time that it ran out: where, and what was halved
    date: str | None = None  # the day on which the study began, which a chat template may write

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    def arithmetic(self, anatomy: Anatomy) -> dict[str, Any]:
        """What may change the last bits of a pass through the base."""
        keys = ("device", "precision", "attention", "threads", "pack_tokens", "batches")
        gpu = torch.cuda.get_device_name() if self.torch_device.type == "cuda" else None
        return {key: getattr(self, key) for key in keys} | {
            "kernel": anatomy.kernel,
            "fused": anatomy.fused,
            "gpu": gpu,
        }


EXECUTION = Kind(shape_of(Execution), NEEDED)


def resolve_execution(folder: StudyFolder, settings: TrainingSettings) -> Execution:
    """The stored execution of a study that has begun, or a fresh one for this machine. Writes nothing.

    Where the recipe now asks for recomputation, or no longer does, memory is planned anew.

    Raises:
        UserError: the study began on a device that is not here.
    """
    if folder.execution.is_file():
        stored = stored_execution(folder)
        if stored.torch_device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(
                f"The study in {folder.path} began on {stored.device}, which is not here. Continue it where a "
                "GPU is, or name another folder with --out."
            )
        asked = settings.checkpointing
        if asked == "auto" or asked == stored.checkpointing:
            return stored
        return replace(stored, checkpointing=asked, pack_tokens=None, bytes_per_token=None)
    on_gpu = torch.cuda.is_available()
    precision = settings.precision if settings.precision != "auto" else ("bfloat16" if on_gpu else "float32")
    return Execution(
        device="cuda" if on_gpu else "cpu",
        precision=precision,
        attention=None,
        checkpointing=None if settings.checkpointing == "auto" else settings.checkpointing,
        threads=torch.get_num_threads(),
        date=datetime.date.today().isoformat(),
        reference=_reference(settings),
    )


def _reference(settings: TrainingSettings) -> str:
    """Where the reference comes from.

    Storing it takes one more pass through all layers and saves, in every epoch, those above the highest run: a third of
    them where the highest run is the top third. The choice must not depend on the conditions, which may be added to,
    nor on what lies in the store: the same recipe has to come out the same.
    """
    if settings.reference != "auto":
        return settings.reference
    return "stored" if settings.epochs >= EPOCHS_FOR_STORING else "pass"


def begin_execution(folder: StudyFolder, execution: Execution) -> None:
    """Store the execution, unless there is one, and what it runs on; make torch follow it.

    A memory plan that is to be made anew replaces the stored one when it is made: see `settle_memory`.
    """
    if not folder.execution.is_file():
        _write(folder, execution)
    write_json(folder.environment, {"schema": SCHEMA, **_environment()})
    torch.set_num_threads(execution.threads)


def settle_memory(
    folder: StudyFolder,
    execution: Execution,
    engine: JointEngine,
    trees: Sequence[Tree],
    passes: Sequence[Sequence[str]],
) -> Execution:
    """The execution with its memory planned: as stored, or measured on the engine's runs and stored."""
    if execution.pack_tokens is not None:
        return execution
    found = plan_memory(engine, trees, execution.checkpointing, passes=passes)
    settled = replace(
        execution,
        checkpointing=found.checkpointing,
        pack_tokens=found.pack_tokens,
        bytes_per_token=found.bytes_per_token,
    )
    _write(folder, settled)
    return settled


def stored_execution(folder: StudyFolder) -> Execution:
    """The execution of a study that has begun, with what it has learnt since."""
    record = read_record(folder.execution, EXECUTION)
    stored = Execution(**{key: value for key, value in record.items() if key != "schema"})
    try:
        torch.device(stored.device)
    except RuntimeError:
        raise EXECUTION.damaged(str(folder.execution), f"no device is named {stored.device!r}") from None
    if stored.precision not in DTYPES:
        raise EXECUTION.damaged(str(folder.execution), f"no precision is named {stored.precision!r}")
    return stored


def note_out_of_memory(
    folder: StudyFolder, progress: Progress, where: str, what: Literal["pack_tokens", "answers"]
) -> Callable[[int, int], None]:
    """What records and says that `what` is halved, given how many did not fit and how many there are from now on."""
    units = {"pack_tokens": "tokens in a pack", "answers": "answers made at once"}[what]

    def note(failed: int, smaller: int) -> None:
        before = stored_execution(folder)
        entry = {"during": where, "failed": failed, what: smaller}
        events = [*before.out_of_memory, entry]
        _write(folder, Execution(**{**asdict(before), what: smaller, "out_of_memory": events}))
        progress(
            f"Memory ran out during {where} with {failed:,} {units}. From here on there are at most {smaller:,}.",
            0,
            0,
        )

    return note


def _write(folder: StudyFolder, execution: Execution) -> None:
    write_json(folder.execution, {"schema": SCHEMA, **asdict(execution)})


def _environment() -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
