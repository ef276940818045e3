"""Checkpoints of a joint training: one file, replaced atomically, without pickle.

It holds every run's tensors and AdamW moments, the step to continue with, and what the witness has seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from stratalign.errors import UserError
from stratalign.records import Kind, Shape, write_bytes

SHARE_OF_TIME = 0.01


@dataclass(frozen=True)
class Checkpoint:
    """State of the runs before step `step`."""

    step: int
    states: Mapping[str, Mapping[str, Tensor]]
    seen: Mapping[str, list[str]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class _About(Shape):
    step: int
    runs: list[str]
    seen: dict[str, list[str]]
    seconds: dict[str, float]


ABOUT = Kind(_About, "Delete it: training then starts from its beginning.")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint file."""
    tensors = {
        f"{run}//{name}": value for run, state in checkpoint.states.items() for name, value in state.items()
    }
    about = {
        "step": checkpoint.step,
        "runs": list(checkpoint.states),
        "seen": {run: sorted(names) for run, names in checkpoint.seen.items()},
        "seconds": dict(checkpoint.seconds),
    }
    write_bytes(path, save(tensors, metadata={"stratalign": json.dumps(about)}))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint, or None when there is none.

    Raises:
        UserError: the file is damaged, which no interruption of ours does.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = ABOUT.checked(json.loads(file.metadata()["stratalign"]), str(path))
            states: dict[str, dict[str, Tensor]] = {run: {} for run in about["runs"]}
            for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                run, _, name = key.partition("//")
                states[run][name] = file.get_tensor(key)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The checkpoint {path} is damaged ({error}). Delete it: training then starts from its beginning."
        ) from None
    return Checkpoint(about["step"], states, about["seen"], about["seconds"])


class CheckpointClock:
    """Decides when the next checkpoint is due.

    With a number, every so many steps. With "auto", when the time since the last one is a hundred times what
    writing one costs, so that checkpoints stay under 1 % of the time.
    """

    def __init__(self, every: int | Literal["auto"], expected_cost: float) -> None:
        self.every = every
        self.cost = expected_cost
        self.spent = 0.0
        self._last = time.perf_counter()

    def due(self, steps_done: int) -> bool:
        if self.every != "auto":
            return steps_done % self.every == 0
        return time.perf_counter() - self._last > self.cost / SHARE_OF_TIME

    def wrote(self, seconds: float) -> None:
        self.cost = max(self.cost, seconds) if self.spent == 0 else seconds
        self.spent += seconds
        self._last = time.perf_counter()
