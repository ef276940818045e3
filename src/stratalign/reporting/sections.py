"""What each section of a study's part of the page shows, ready to be laid out. Pure; knows nothing of HTML.

Text stays raw here, whoever wrote it: escaping is the template's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stratalign.reporting.answer_box import AnswerBox
from stratalign.reporting.contrasts import Contrast, Measure
from stratalign.reporting.evidence import objective_measures
from stratalign.reporting.excerpts import BadRows, Example, Fact, data_facts, rows_left_out, side_by_side
from stratalign.reporting.figures import Figures, draw
from stratalign.reporting.forest import forest_plot
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.progress import unfinished
from stratalign.reporting.results import Judged, Results
from stratalign.reporting.runs import MeanScore, RunResult
from stratalign.reporting.svg import Drawing


class MeanRow(NamedTuple):
    """One measure and its mean under each run that has one, in the runs' order."""

    measure: Measure
    means: tuple[MeanScore | None, ...]


class ProtocolView(NamedTuple):
    """What one judge's protocol says: the judged one decides, any other is shown below it."""

    name: str
    forest: Drawing | None
    comparisons: tuple[Contrast, ...]
    by_seed: tuple[Contrast, ...]
    means: tuple[MeanRow, ...]


class Check(NamedTuple):
    """One part of a run's proof; `holds` is None where it has not been made."""

    name: str
    holds: bool | None
    detail: str


class ProofRow(NamedTuple):
    run: str
    proven: bool | None
    checks: tuple[Check, ...]


class TimeRow(NamedTuple):
    """Seconds of a run: its own, of the pass that all runs share, and estimated for the run alone."""

    run: RunResult
    own: float | None
    shared: float | None
    alone: float | None


@dataclass(frozen=True)
class StudyView:
    """One study, as the page shows it. `anchor` begins the ids of its sections."""

    anchor: str
    folder: str
    results: Results
    answer: AnswerBox
    missing: tuple[str, ...]
    figures: Figures
    protocols: tuple[ProtocolView, ...]
    proof: tuple[ProofRow, ...]
    times: tuple[TimeRow, ...]
    stages: tuple[tuple[str, float], ...]
    facts: tuple[Fact, ...]
    bad: tuple[BadRows, ...]
    examples: tuple[Example, ...]


def view(records: StudyRecords, results: Results, answer: AnswerBox, anchor: str, folder: str) -> StudyView:
    """Everything that one study's part of the page shows."""
    return StudyView(
        anchor=anchor,
        folder=folder,
        results=results,
        answer=answer,
        missing=(*records.missing, *unfinished(records)),
        figures=draw(records, results),
        protocols=tuple(_protocol(results, protocol) for protocol in results.protocols),
        proof=_proof(records, results),
        times=_times(records, results),
        stages=_stages(records.timings),
        facts=data_facts(records.preferences),
        bad=rows_left_out(records.preferences.get("bad")),
        examples=side_by_side(records.responses, results),
    )


def _protocol(results: Results, protocol: Judged) -> ProtocolView:
    measures = [measure for measure in results.measures if measure.key[:2] == protocol]
    meant = {measure.key for measure in objective_measures(measures, results.study.objective)}
    order = list(dict.fromkeys(run.condition for run in results.runs))
    rows = sorted(
        (one for one in results.comparisons if one.key[:2] == protocol),
        key=lambda one: (order.index(one.condition), one.seed or 0, one.key not in meant),
    )
    name = (
        protocol.judge if protocol.judge == protocol.protocol else f"{protocol.protocol} by {protocol.judge}"
    )
    return ProtocolView(
        name=name,
        forest=forest_plot(results, protocol),
        comparisons=tuple(one for one in rows if one.seed is None),
        by_seed=tuple(one for one in rows if one.seed is not None),
        means=_means(results, measures),
    )


def _means(results: Results, measures: Sequence[Measure]) -> tuple[MeanRow, ...]:
    rows = []
    for measure in measures:
        means = tuple(
            next((m for m in run.means if (m.judge, m.protocol, m.dimension) == measure.key), None)
            for run in results.runs
        )
        if any(means):
            rows.append(MeanRow(measure, means))
    return tuple(rows)


def _proof(records: StudyRecords, results: Results) -> tuple[ProofRow, ...]:
    """Every run with every check that any run has; empty before the first proof."""
    entries = records.manifest.get("runs") or {}
    proofs = {run.run: (entries.get(run.run) or {}).get("proof") or {} for run in results.runs}
    names = list(dict.fromkeys(name for proof in proofs.values() for name in proof.get("checks") or ()))
    if not any(proofs.values()):
        return ()
    return tuple(
        ProofRow(
            run.run,
            run.proven,
            tuple(_check(name, (proofs[run.run].get("checks") or {}).get(name)) for name in names),
        )
        for run in results.runs
    )


def _check(name: str, found: Any) -> Check:
    shown = name.replace("_", " ")
    if not isinstance(found, Mapping):
        return Check(shown, None, "")
    return Check(shown, bool(found.get("holds")), str(found.get("detail") or ""))


def _times(records: StudyRecords, results: Results) -> tuple[TimeRow, ...]:
    timed = records.timings.get("runs") or {}
    return tuple(
        TimeRow(
            run,
            *(
                (timed.get(run.run) or {}).get(name)
                for name in ("own_seconds", "shared_seconds", "alone_estimated_seconds")
            ),
        )
        for run in results.runs
    )


def _stages(timings: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    stages = [(str(name), float(value)) for name, value in (timings.get("stages") or {}).items()]
    if timings.get("checkpoint_seconds") is not None:
        stages.append(("checkpoints", float(timings["checkpoint_seconds"])))
    return tuple(stages)
