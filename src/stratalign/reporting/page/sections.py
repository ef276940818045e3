"""What each section of a study's part of the page shows, ready to be laid out. Pure; knows nothing of HTML.

Text stays raw here, whoever wrote it: escaping is the template's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stratalign.records import STANDINGS, Outcome, Standing, digest, outcome_of
from stratalign.reporting.comparisons.contrasts import Contrast, Measure
from stratalign.reporting.comparisons.grids import score_grid
from stratalign.reporting.diagnosed.diagnoses import DiagnosisView, diagnosis_views
from stratalign.reporting.figures.contest_plot import contest_plot
from stratalign.reporting.figures.forest import forest_plot
from stratalign.reporting.figures.paper import loss_kinds, time_bars
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.findings.contests import Contest
from stratalign.reporting.findings.evidence import objective_measures
from stratalign.reporting.findings.progress import unfinished
from stratalign.reporting.findings.runs import MeanScore
from stratalign.reporting.findings.states import States, state_rows
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.page.across import Member
from stratalign.reporting.page.answer_box import AnswerBox
from stratalign.reporting.page.excerpts import (
    BadRows,
    Example,
    Fact,
    data_facts,
    row_kind,
    rows_left_out,
    side_by_side,
)
from stratalign.reporting.page.limits import limits
from stratalign.reporting.page.reproducing import Reproducing, reproducing
from stratalign.reporting.page.study_figures import Figures, draw
from stratalign.reporting.page.sureness import Part, could_see, how_sure
from stratalign.reporting.page.tuned import TunedView, tuned_view
from stratalign.reporting.results import Judged, Results, that_decide, without_aside
from stratalign.reporting.tables.costs import CostRow, costs_of
from stratalign.reporting.tables.ranking import (
    Judging,
    RankRow,
    StrategyRow,
    one_unit,
    primary,
    ranks,
    strategies,
)
from stratalign.reporting.tables.tradeoff import Tradeoff, tradeoffs


class MeanRow(NamedTuple):
    """One measure and its mean under each run that has one, in the runs' order."""

    measure: Measure
    means: tuple[MeanScore | None, ...]


class ProtocolView(NamedTuple):
    """What one judge's protocol says: the judged one decides, any other is shown below it. `seen` says what the sample
    could see on its comparisons."""

    name: str
    forest: Drawing | None
    comparisons: tuple[Contrast, ...]
    seen: str | None
    by_seed: tuple[Contrast, ...]
    means: tuple[MeanRow, ...]


class Check(NamedTuple):
    """One part of a run's proof; `outcome` is None where it has not been made."""

    name: str
    outcome: Outcome | None
    detail: str


class ProofRow(NamedTuple):
    run: str
    standing: Standing | None
    words: str
    checks: tuple[Check, ...]


class PaperView(NamedTuple):
    """The paper's Tables 2 and 3 of one study, on `dimension`; `one_unit` where a mean over dimensions has meaning."""

    dimension: str
    strategies: tuple[StrategyRow, ...]
    ranks: tuple[RankRow, ...]
    one_unit: bool


@dataclass(frozen=True)
class StudyView:
    """One study, as the page shows it. `anchor` begins the ids of its sections.

    `main` are the results without windows of layers, which have a section of their own; `answer` is the first box;
    `scored` are the names of the dimensions that the examples' scores are of.
    """

    anchor: str
    folder: str
    results: Results
    main: Results
    answer: AnswerBox
    missing: tuple[str, ...]
    figures: Figures
    times_figure: Drawing | None
    protocols: tuple[ProtocolView, ...]
    pairs_seen: str | None
    sure: tuple[Part, ...]
    tradeoffs: tuple[Tradeoff, ...]
    contests: tuple[tuple[Contest, Drawing | None], ...]
    paper: PaperView
    proof: tuple[ProofRow, ...]
    costs: tuple[CostRow, ...]
    stages: tuple[tuple[str, float], ...]
    one_order: bool
    kind: str
    facts: tuple[Fact, ...]
    bad: tuple[BadRows, ...]
    scored: tuple[str, ...]
    examples: tuple[Example, ...]
    states: States | None
    tuned: TunedView | None
    diagnoses: tuple[DiagnosisView, ...]
    reproducing: Reproducing
    limits: tuple[str, ...]
    member: Member

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script reads of the examples: each run's scores of every dimension."""
        runs = list(dict.fromkeys(reply.run for example in self.examples for reply in example.replies))
        return {
            "dimensions": list(self.scored),
            "runs": runs,
            "examples": [
                {str(runs.index(reply.run)): list(reply.scores) for reply in example.replies}
                for example in self.examples
            ],
        }


def view(records: StudyRecords, results: Results, answer: AnswerBox, anchor: str, folder: str) -> StudyView:
    """Everything that one study's part of the page shows."""
    main = without_aside(results)
    member = _member(records, main, folder)
    grid = member.judging.grid
    found = state_rows(results.states, results.judged)
    return StudyView(
        anchor=anchor,
        folder=folder,
        results=results,
        main=main,
        answer=answer,
        missing=(*records.missing, *unfinished(records)),
        figures=draw(results, member),
        times_figure=time_bars([(member.judging.model, costs_of(records, results))]),
        protocols=tuple(_protocol(main, protocol) for protocol in results.protocols),
        pairs_seen=could_see(results.pairs),
        sure=how_sure(results),
        tradeoffs=tradeoffs(main),
        contests=tuple((one, contest_plot(one)) for one in results.selectors),
        paper=_paper(member.judging),
        proof=_proof(records, results),
        costs=costs_of(records, results),
        stages=_stages(records.timings),
        one_order=records.one_order,
        kind=row_kind(records.preferences),
        facts=data_facts(records.preferences),
        bad=rows_left_out(records.preferences.get("bad")),
        scored=tuple(measure.dimension for measure in grid.measures),
        examples=side_by_side(records.responses, main, grid, _chosen_by(main, grid.measures)),
        states=found,
        tuned=tuned_view(results),
        diagnoses=diagnosis_views(records.diagnoses),
        reproducing=reproducing(records),
        limits=limits(results, records.judges[0] if records.judges else {}, found),
        member=member,
    )


def _member(records: StudyRecords, results: Results, folder: str) -> Member:
    """What is kept of a study for tables and figures over several."""
    records = that_decide(records)
    first = records.judges[0] if records.judges else {}
    mine = [measure for measure in results.measures if measure.key[:2] == results.judged]
    judged = results.judged
    prompts = {str(row["prompt_id"]): str(row.get("prompt") or "") for row in records.responses}
    return Member(
        folder=folder,
        protocol=None if judged is None else (*judged, str(first.get("hash") or "")),
        judging=Judging(
            str(results.study.model.get("name") or folder),
            results,
            score_grid(records.scores, mine),
            {prompt: digest(text) for prompt, text in prompts.items()},
        ),
        categories={one.dimension: one.category for one in mine if one.category},
        scale=next((one.scale for one in mine), None),
        panels=tuple(loss_kinds(records, results)),
        costs=costs_of(records, results),
    )


def _paper(judging: Judging) -> PaperView:
    measure = primary(judging.results)
    return PaperView(
        measure.dimension if measure else "",
        tuple(strategies([judging])),
        tuple(ranks([judging])),
        one_unit([judging]),
    )


def _chosen_by(results: Results, measures: Sequence[Measure]) -> list[Measure]:
    """The dimensions by which examples are chosen: the objective first, then all others with a direction."""
    meant = objective_measures(measures, results.objective)
    return sorted((one for one in measures if one.better), key=lambda one: one not in meant)


def _protocol(results: Results, protocol: Judged) -> ProtocolView:
    measures = [measure for measure in results.measures if measure.key[:2] == protocol]
    meant = {measure.key for measure in objective_measures(measures, results.objective)}
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
        seen=could_see(one for one in rows if one.seed is None),
        by_seed=tuple(one for one in rows if one.seed is not None),
        means=_means(results, measures),
    )


def _means(results: Results, measures: Sequence[Measure]) -> tuple[MeanRow, ...]:
    rows = []
    for measure in measures:
        means = tuple(run.mean_of(measure) for run in results.runs)
        if any(means):
            rows.append(MeanRow(measure, means))
    return tuple(rows)


def _proof(records: StudyRecords, results: Results) -> tuple[ProofRow, ...]:
    """Every run with every check that any run has; empty before the first proof. Of an adapter that has changed since,
    nothing that its checks said holds any more."""
    entries = records.manifest.get("runs") or {}
    proofs = {run.run: (entries.get(run.run) or {}).get("proof") or {} for run in results.runs}
    names = list(dict.fromkeys(name for proof in proofs.values() for name in proof.get("checks") or ()))
    if not any(proofs.values()):
        return ()
    return tuple(
        ProofRow(
            run.run,
            run.proof,
            STANDINGS[run.proof] if run.proof else "not yet",
            tuple(
                _check(
                    name, (proofs[run.run].get("checks") or {}).get(name) if run.proof != "changed" else None
                )
                for name in names
            ),
        )
        for run in results.runs
    )


def _check(name: str, found: Any) -> Check:
    shown = name.replace("_", " ")
    detail = found.get("detail") if isinstance(found, Mapping) else None
    return Check(shown, outcome_of(found), str(detail or ""))


def _stages(timings: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    stages = [(str(name), float(value)) for name, value in (timings.get("stages") or {}).items()]
    if timings.get("checkpoint_seconds") is not None:
        stages.append(("checkpoints", float(timings["checkpoint_seconds"])))
    return tuple(stages)
