"""From records and results to a recommendation: what to train, its price, and what else would do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratalign.blocks import single_modules
from stratalign.reporting.answer.choosing import RULE, Choice, choose, compared, objective_gains
from stratalign.reporting.answer.peft_config import peft_config
from stratalign.reporting.answer.reach import Reach, reach
from stratalign.reporting.answer.recommendation import (
    Alternative,
    Held,
    Price,
    Recommendation,
    Training,
    rate_words,
    size_of,
)
from stratalign.reporting.answer.rivals import held_against
from stratalign.reporting.answer.unjudged import unjudged
from stratalign.reporting.answer.withholding import prompts_needed, verdict_of, withheld
from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.comparisons.equivalences import CANNOT_TELL, MARGIN, NO_LARGER, tax_clauses
from stratalign.reporting.findings.evidence import Evidence, size
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import by_kind, listed, plain, spans
from stratalign.reporting.results import Results, evidence_of

BYTES = 4
"""Bytes of one trained number: adapters are saved in float32."""


def recommend(records: StudyRecords, results: Results) -> Recommendation:
    """The recommendation of one study."""
    evidence = evidence_of(records, results)
    choice = choose(evidence, results.runs)
    reached = reach(records, evidence, choice.chosen or choice.strongest)
    verdict, reasons = verdict_of(records, results, evidence, choice)
    if verdict == "train" and choice.chosen is not None:
        return _recommended(choice.chosen, choice, records, results, evidence, reached)
    needed = prompts_needed(reached) if verdict == "cannot tell" else None
    if verdict == "no judge" and results.took_hold is not None:
        line, words, after = unjudged(records, results.took_hold)
    else:
        line, words, after = withheld(verdict, reasons, reached, needed, evidence, choice)
    return Recommendation(
        verdict=verdict,
        line=line,
        words=words,
        model=str(results.study.model.get("name") or ""),
        source=results.study.source,
        objective=tuple(measure.dimension for measure in evidence.objective),
        train=None,
        gain=(),
        tax=None,
        parameters=None,
        share_of_model=None,
        adapter_bytes=None,
        kl_to_base={},
        held_against=(),
        any_layers_would_do=None,
        rule=RULE,
        alternatives=_alternatives(choice.ranked, results, evidence),
        prompts_needed=needed,
        reach=reached,
        adapters=(),
        peft=None,
        next=after,
    )


def _recommended(
    condition: str,
    choice: Choice,
    records: StudyRecords,
    results: Results,
    evidence: Evidence,
    reached: Reach,
) -> Recommendation:
    runs = [run for run in results.runs if run.condition == condition]
    entries = records.manifest.get("runs") or {}
    entry: Mapping[str, Any] = entries.get(runs[0].run) or {}
    training = _training(condition, runs[0], entry)
    gains = objective_gains(evidence, condition)
    tax = _price(results, evidence, condition)
    held = held_against(condition, results, evidence)
    random = [one for one in held if one.kind == "random layers" and one.outcome != "not compared"]
    any_layers = any(one.outcome != "better" for one in random) if random else None
    untested = "" if random else _untested(runs[0].layers, results)
    whole = results.study.model.get("parameters")
    parameters = runs[0].parameters
    adapters = tuple(f"adapters/{run.run}" for run in runs)
    return Recommendation(
        verdict="train",
        line=_line(training, gains, tax, any_layers, parameters),
        words=_words(condition, choice, held, any_layers, untested, evidence) + _which(training),
        model=str(results.study.model.get("name") or ""),
        source=results.study.source,
        objective=tuple(measure.dimension for measure in evidence.objective),
        train=training,
        gain=tuple(map(size_of, gains)),
        tax=tax,
        parameters=parameters,
        share_of_model=parameters / whole if parameters and whole else None,
        adapter_bytes=BYTES * parameters if parameters else None,
        kl_to_base={run.run: run.kl_to_base for run in runs if run.kl_to_base is not None},
        held_against=held,
        any_layers_would_do=any_layers,
        rule=RULE,
        alternatives=_alternatives(choice.ranked[1:], results, evidence),
        prompts_needed=None,
        reach=reached,
        adapters=adapters,
        peft=peft_config(entry, results.study.model.get("model_type")),
        next=(f"stratalign merge {{study}}/{adapters[0]} --out {{study}}-merged",),
    )


def _training(condition: str, run: RunResult, entry: Mapping[str, Any]) -> Training:
    settings = entry.get("training") or {}
    phases = entry.get("phases") or ()
    return Training(
        condition=condition,
        layers=run.layers,
        modules=len(entry.get("modules") or ()),
        by_kind=single_modules(entry.get("modules") or ()),
        targets=run.targets,
        rank=run.rank,
        alpha=run.alpha,
        learning_rate=settings.get("learning_rate"),
        schedule=settings.get("schedule"),
        loss=settings.get("loss"),
        beta=settings.get("beta"),
        steps=sum(int(phase.get("steps") or 0) for phase in phases) or run.steps,
        phases=len(phases),
    )


def _price(results: Results, evidence: Evidence, condition: str) -> Price:
    tests = [one for one in results.tax_tests if one.condition == condition]
    return Price(
        tuple(
            size_of(one)
            for one in evidence.against_base(condition, evidence.others)
            if one.sure and one.gain < 0
        ),
        MARGIN,
        tuple(one.dimension for one in tests if one.verdict == NO_LARGER),
        tuple(one.dimension for one in tests if one.verdict == CANNOT_TELL),
        tax_clauses(tests) or "no other dimension was judged, so the tax is not known",
    )


def _line(
    training: Training,
    gains: Sequence[Contrast],
    tax: Price,
    any_layers: bool | None,
    parameters: int | None,
) -> str:
    sure = [one for one in gains if one.sure] or list(gains)
    rate = f" at learning rate {rate_words(training.learning_rate)}" if training.learning_rate else ""
    single = f"{training.modules} modules in " if training.by_kind else ""
    line = (
        f"Train {training.condition} ({single}layers {spans(training.layers)}, {plain(parameters)} parameters){rate}: "
        f"suffices for a net win rate of {listed([f'{size(one)} on {one.dimension}' for one in sure])} against base"
    )
    line += f"; pays on {listed([one.dimension for one in tax.pays])}" if tax.pays else ""
    line += "; not shown to beat random layers" if any_layers else ""
    return f"{line}."


def _words(
    condition: str,
    choice: Choice,
    held: Sequence[Held],
    any_layers: bool | None,
    untested: str,
    evidence: Evidence,
) -> tuple[str, ...]:
    found = []
    rest = [name for name in choice.alike if name != condition and compared(evidence, condition, name)]
    if rest:
        stronger = f" {choice.strongest} has the largest gain." if choice.strongest in rest else ""
        found.append(
            f"{condition} cannot be told from {listed(rest, 'or')} after correction, and is chosen as the cheapest: "
            f"by tax, then trained parameters, then the highest first layer.{stronger}"
        )
    found += [f"{condition} {one.words}." for one in held]
    if any_layers:
        found.append("It is not shown to beat layers drawn at random: others may do as well.")
    if any(one.kind == "equal parameters" and one.outcome in ("worse", "cannot tell") for one in held):
        found.append(
            "It is not shown to beat as many parameters elsewhere: their number, not their place, may be what counts."
        )
    if untested:
        found.append(untested)
    nulls = [role for role in evidence.roles if role.null]
    if not nulls:
        found.append("No null control was in the study: neither the base sampled anew nor shuffled labels.")
    for role in nulls:
        moved = [one for one in objective_gains(evidence, role.condition) if one.sure and one.gain > 0]
        found += [
            f"Part of the gain on {one.dimension} comes from training alone: {role.condition} has {size(one)}."
            for one in moved
        ]
    return tuple(found)


def _which(training: Training) -> tuple[str, ...]:
    """Which modules they are, where layers and kinds do not say it."""
    return (f"Its modules: {by_kind(training.by_kind)}.",) if training.by_kind else ()


def _untested(layers: Sequence[int], results: Results) -> str:
    """That nothing says whether these layers matter; empty of all layers, of which nobody asks that."""
    if len(layers) == results.study.model.get("layers"):
        return ""
    if any(role.kind == "draw" for role in results.roles):
        return "Random layers were drawn for the profile alone; whether these layers matter is not tested."
    return "No random layers were judged beside it, so whether these layers matter is not known."


def _alternatives(
    ranked: Sequence[tuple[str, str]], results: Results, evidence: Evidence
) -> tuple[Alternative, ...]:
    found = []
    for condition, why in ranked:
        run = next(run for run in results.runs if run.condition == condition)
        gains = tuple(map(size_of, objective_gains(evidence, condition)))
        found.append(Alternative(condition, run.layers, run.parameters, gains, why))
    return tuple(found)
