"""timings.json: how long stages and runs took. No result depends on it."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from stratalign.records import TIMINGS, StudyFolder, read_record, write_json


@contextmanager
def timed(folder: StudyFolder, stage: str) -> Iterator[None]:
    """Add the block's wall time to the stage's in timings.json."""
    before = time.perf_counter()
    yield
    timings = _timings(folder)
    stages = timings.setdefault("stages", {})
    stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - before
    write_json(folder.timings, timings)


def note_training_time(folder: StudyFolder, runs: Sequence[str], seconds: Mapping[str, float]) -> None:
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
    stored: dict[str, Any] = read_record(folder.timings, TIMINGS) or {"schema": 1}
    return stored | {"host": platform.node()}
