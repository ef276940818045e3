"""From records and results to a recommendation: what to train, its price, and what else would do. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from stratalign import stats
from stratalign.blocks import single_modules
from stratalign.reporting.answer.choosing import RULE, Choice, choose, objective_gains
from stratalign.reporting.answer.peft_config import peft_config
from stratalign.reporting.answer.reach import Reach, judged_prompts, reach
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
from stratalign.reporting.answer.withholding import MOST_PROMPTS, about, prompts_needed, verdict_of, withheld
from stratalign.reporting.comparisons.contrasts import ALPHA, Contrast, Measure
from stratalign.reporting.comparisons.equivalences import (
    CANNOT_TELL,
    MARGIN,
    NO_LARGER,
    SCALE_SHARE,
    tax_clauses,
)
from stratalign.reporting.findings.draws import ENOUGH
from stratalign.reporting.findings.evidence import Evidence, size, size_and_p
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import by_kind, interval, listed, p_value, plain, spans
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
        line, words, after = withheld(verdict, reasons, reached, needed, evidence, choice, records)
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
    candidates = len(choice.ranked)
    tax = _price(results, evidence, condition)
    held = held_against(condition, results, evidence)
    random = [one for one in held if one.kind == "random layers" and one.outcome != "not compared"]
    draws = sum(one.draws for one in random)
    any_layers = any(one.outcome != "better" for one in random) if draws >= ENOUGH else None
    untested = "" if draws >= ENOUGH else _untested(runs[0].layers, draws, results)
    whole = results.study.model.get("parameters")
    parameters = runs[0].parameters
    adapters = tuple(f"adapters/{run.run}" for run in runs)
    return Recommendation(
        verdict="train",
        line=_line(training, gains, tax, any_layers, parameters),
        words=(
            *_words(condition, choice, held, any_layers, untested, evidence, records),
            *_selected(gains, candidates),
            *_scope(condition, gains, evidence),
            *_which(training),
        ),
        model=str(results.study.model.get("name") or ""),
        source=results.study.source,
        objective=tuple(measure.dimension for measure in evidence.objective),
        train=training,
        gain=tuple(size_of(one, candidates) for one in gains),
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
    records: StudyRecords,
) -> tuple[str, ...]:
    found = []
    if condition in choice.as_good:
        p = p_value(choice.as_good[condition])
        shown = f"{condition} loses less than {MARGIN:.2f} of a net win rate to it (one-sided, Holm p {p})"
        found.append(
            f"{choice.strongest} has the largest gain; {shown}, and is cheaper: by tax, then trained "
            "parameters, then the highest first layer."
            if choice.strongest in choice.gaining
            else f"{choice.strongest} has a larger gain so far, which is not shown to be above base; {shown}."
        )
    else:
        found += [
            _may_do(name, condition, len(choice.open) + len(choice.as_good), evidence, records)
            for name in choice.open
        ]
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


def _may_do(name: str, condition: str, rivals: int, evidence: Evidence, records: StudyRecords) -> str:
    """That a cheaper condition, one of `rivals`, may be as good, which was not shown; and how many prompts could show
    it, where that follows from what was seen."""
    rows = [
        (one, measure)
        for measure in evidence.objective
        for one in evidence.head_to_head(name, [condition], measure).unsure
    ]
    if not rows:
        return f"{name} is cheaper, and was not compared with {condition} head to head."
    worst, _ = min(rows, key=lambda row: row[0].gain)
    so_far = f"{size_and_p(worst)} on {worst.dimension} against {condition}"
    if worst.gain <= -MARGIN:
        return f"{name} is cheaper and behind so far ({so_far}), but not surely worse after correction."
    words = f"{name} is cheaper and may do as well ({so_far})"
    needed = [_prompts_to_match(one, measure, judged_prompts(records, one), rivals) for one, measure in rows]
    known = [one for one in needed if one is not None]
    if len(known) < len(needed) or max(known) > MOST_PROMPTS:
        return f"{words}; a loss of less than the margin is not shown."
    return (
        f"{words}; about {about(max(known)):,} prompts would show a loss of less than the margin, if the true "
        "difference is no worse than that."
    )


def _prompts_to_match(one: Contrast, measure: Measure, prompts: int, rivals: int) -> int | None:
    """The prompts with which all that non-inferiority asks for would hold with 80 % power: of the net win rate, of the
    mean difference where there is a scale, and of the number of clusters; at the first step of Holm's procedure. None
    where no number follows."""
    if not prompts or not one.clusters:
        return None
    asked = [(MARGIN + min(one.gain, 0.0), one.standard_error)]
    low, high = one.difference_low, one.difference_high
    if measure.scale is not None and low is not None and high is not None:
        difference = (one.mean_difference or 0.0) * (-1 if one.better == "lower" else 1)
        asked.append(
            (SCALE_SHARE * (measure.scale[1] - measure.scale[0]) + min(difference, 0.0), (high - low) / 3.92)
        )
    found = [prompts + 1, math.ceil(prompts / one.clusters * math.log(ALPHA / rivals) / math.log(1 - MARGIN))]
    for room, error in asked:
        if room <= 0:
            return None
        if error:
            more = stats.prompts_needed(
                room,
                error,
                prompts,
                alpha=2 * ALPHA,
                tests=rivals,
                freedom=one.freedom,
                seed_error=one.seed_error,
            )
            if more is None:
                return None
            found.append(more)
    return max(found)


def _selected(gains: Sequence[Contrast], candidates: int) -> tuple[str, ...]:
    """The interval that allows for the condition having been picked, usually as the highest."""
    if candidates < 2:
        return ()
    return tuple(
        f"Picked among {candidates} candidates, so its gain on {one.dimension} is more likely over- than "
        f"underestimated; the 95 % interval that allows for that is {interval(*bounds, 2)}."
        for one in gains
        if one.sure and (bounds := one.selected_bounds(candidates)) is not None
    )


def _scope(condition: str, gains: Sequence[Contrast], evidence: Evidence) -> tuple[str, ...]:
    """Which seeds all of this holds for: the fewest of any contrast that the recommendation rests on."""
    mine = [one for one in evidence.pairs if condition in (one.condition, one.against)]
    used = [one for one in (*gains, *mine) if one.n]
    if used and all(one.over_seeds for one in used):
        return (
            f"Intervals and verdicts treat the {min(one.seeds for one in used)} training seeds as a sample of all.",
        )
    seeds = min((one.seeds for one in used), default=1)
    which = "this training seed" if seeds == 1 else f"these {seeds} training seeds"
    if any(one.over_seeds for one in used):
        return (
            f"Some of these comparisons have {seeds} training seed{'s' * (seeds > 1)} only, and hold for these.",
        )
    return (f"All of this is for {which}; other seeds may differ (from three seeds on that is tested).",)


def _untested(layers: Sequence[int], draws: int, results: Results) -> str:
    """That nothing says whether these layers matter; empty of all layers, of which nobody asks that."""
    if len(layers) == results.study.model.get("layers"):
        return ""
    if draws:
        return (
            f"{draws} random draw{'s were' if draws > 1 else ' was'} judged beside it: too few to say whether these "
            f"layers matter or any as many would do (that takes {ENOUGH})."
        )
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
