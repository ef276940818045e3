"""What each run cost: seconds of training, and the size of its adapter. Pure.

A run's own time was spent on it alone; shared time is the base's pass, done once for all runs of a training pass; both
together estimate what the run would have taken by itself.
"""

from __future__ import annotations

from typing import NamedTuple

from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.results import Results


class CostRow(NamedTuple):
    """One run's times in seconds and its adapter's file in bytes; None where they are not known."""

    run: RunResult
    own: float | None
    shared: float | None
    alone: float | None
    adapter: int | None


def costs_of(records: StudyRecords, results: Results) -> tuple[CostRow, ...]:
    """One row per run, in the results' order."""
    timed = records.timings.get("runs") or {}
    found = []
    for run in results.runs:
        its = timed.get(run.run) or {}
        own, shared, alone = (its.get(f"{name}_seconds") for name in ("own", "shared", "alone_estimated"))
        found.append(CostRow(run, own, shared, alone, records.adapter_bytes.get(run.run)))
    return tuple(found)
