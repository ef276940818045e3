"""The answer of a study: train these layers at this rate, or why not. Pure, and the same bytes for the same recipe.

Knows nothing of times, hosts or where the study lies, so that recommendation.json is as repeatable as results.json;
whoever shows it adds those. A gain says that training some layers suffices for it under this recipe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stratalign.records import SCHEMA
from stratalign.reporting.choosing import RULE, Choice, choose, objective_gains
from stratalign.reporting.commands import study_command
from stratalign.reporting.contrasts import ALPHA, BASE, Contrast
from stratalign.reporting.controls import Control
from stratalign.reporting.equivalences import CANNOT_TELL, MARGIN, NO_LARGER, tax_clauses
from stratalign.reporting.evidence import Evidence, size, size_and_p
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import listed, plain, signed, spans
from stratalign.reporting.peft_config import PeftConfig, peft_config
from stratalign.reporting.progress import unfinished
from stratalign.reporting.reach import Question, Reach, reach
from stratalign.reporting.results import Results, evidence_of
from stratalign.reporting.runs import Estimate, RunResult

Verdict = Literal["train", "cannot tell", "nothing", "controls fail", "unfinished"]

BYTES = 4
"""Bytes of one trained number: adapters are saved in float32."""
MOST_PROMPTS = 1_000_000
"""A study that needs more prompts than this is no use to anyone."""


@dataclass(frozen=True)
class Training:
    """What to train, as the recipe and the manifest say it. `modules` counts the exact modules, which
    `Recommendation.peft` names; `learning_rate` is one rate, or one for each block."""

    condition: str
    layers: tuple[int, ...]
    modules: int
    targets: tuple[str, ...]
    rank: int | None
    alpha: float | None
    learning_rate: float | dict[str, float] | None
    schedule: str | None
    loss: str | None
    beta: float | None
    steps: int
    phases: int


@dataclass(frozen=True)
class Size:
    """A contrast's numbers, with 95 % intervals. `outcome` counts what survives Holm's correction."""

    dimension: str
    unit: str
    better: str | None
    against: str
    outcome: Literal["better", "worse", "cannot tell"]
    net_win_rate: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    mean_difference: float | None
    difference_low: float | None
    difference_high: float | None
    n: int
    clusters: int


@dataclass(frozen=True)
class Price:
    """Losses outside of the objective, as tested (`equivalences.TaxTest`): the contrasts that pay; the dimensions on
    which a loss of `margin` (a net win rate) or more is excluded, and on which it is not."""

    pays: tuple[Size, ...]
    margin: float
    no_larger: tuple[str, ...]
    cannot_tell: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Held:
    """The recommended condition head to head with another: full, random layers, or equal parameters."""

    condition: str
    kind: str
    outcome: Literal["better", "worse", "cannot tell", "not compared"]
    words: str


@dataclass(frozen=True)
class Alternative:
    """Another candidate, in the order of the rule; `gains` against base."""

    condition: str
    layers: tuple[int, ...]
    parameters: int | None
    gains: tuple[Size, ...]
    words: str


@dataclass(frozen=True)
class Recommendation:
    """The answer. What only a recommended condition has is None or empty where there is none."""

    verdict: Verdict
    line: str
    words: tuple[str, ...]
    model: str
    source: str
    objective: tuple[str, ...]
    train: Training | None
    gain: tuple[Size, ...]
    tax: Price | None
    parameters: int | None
    share_of_model: float | None
    adapter_bytes: int | None
    kl_to_base: dict[str, Estimate]
    held_against: tuple[Held, ...]
    any_layers_would_do: bool | None
    rule: str
    alternatives: tuple[Alternative, ...]
    prompts_needed: int | None
    reach: Reach
    adapters: tuple[str, ...]
    peft: PeftConfig | None
    next: tuple[str, ...]


def recommend(records: StudyRecords, results: Results) -> Recommendation:
    """The recommendation of one study."""
    evidence = evidence_of(records, results)
    choice = choose(evidence, results.runs)
    reached = reach(records, evidence, choice.chosen or choice.strongest)
    verdict, reasons = _verdict(records, results, evidence, choice)
    if verdict == "train" and choice.chosen is not None:
        return _recommended(choice.chosen, choice, records, results, evidence, reached)
    needed = _needed(reached) if verdict == "cannot tell" else None
    line, words, after = _without(verdict, reasons, reached, needed, evidence, choice)
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


def as_json(recommendation: Recommendation) -> dict[str, Any]:
    """The content of recommendation.json."""
    return {"schema": SCHEMA, **asdict(recommendation)}


def _verdict(
    records: StudyRecords, results: Results, evidence: Evidence, choice: Choice
) -> tuple[Verdict, tuple[str, ...]]:
    """What kind of answer there is, and the sentences that say why."""
    behind = unfinished(records)
    if not results.conclusions.winner or choice.strongest is None or behind:
        note = results.conclusions.note if not results.conclusions.winner else None
        none = "No trained condition has been judged on the objective yet." if not (behind or note) else None
        return "unfinished", tuple(one for one in (note, none, *behind) if one)
    failed = failed_controls(evidence, results.conclusions.controls, choice.chosen)
    if failed:
        return "controls fail", failed
    if choice.chosen is not None:
        return "train", ()
    as_good = _base_is_as_good(evidence, [name for name, _ in choice.ranked])
    return ("nothing", as_good) if as_good else ("cannot tell", ())


def failed_controls(
    evidence: Evidence, controls: Sequence[Control], chosen: str | None = None
) -> tuple[str, ...]:
    """The sentences of the null controls that take away what a gain could say.

    The base sampled anew differs from the base on any dimension; or training on shuffled labels gains on the
    objective, and the interval of its gain reaches that of the chosen condition's.
    """
    kinds = {role.condition: role.kind for role in evidence.roles}
    found = []
    for control in controls:
        kind = kinds.get(control.condition)
        again = kind == "base again" and control.moves
        shuffled = kind == "shuffled labels" and shuffled_gains(evidence, control.condition, chosen)
        found += [control.words] if again or shuffled else []
    return tuple(found)


def shuffled_gains(evidence: Evidence, control: str, chosen: str | None) -> bool:
    """Whether shuffled labels surely gain on the objective, and not clearly less than the chosen condition does."""
    own = {one.key: one for one in objective_gains(evidence, chosen)} if chosen else {}
    for one in objective_gains(evidence, control):
        if one.sure and one.gain > 0:
            rival = own.get(one.key)
            if rival is None or _gain_bounds(one)[1] >= _gain_bounds(rival)[0]:
                return True
    return False


def _base_is_as_good(evidence: Evidence, names: Sequence[str]) -> tuple[str, ...]:
    """Why base is as good as every candidate, or better; empty where that cannot be said."""
    rows = [one for name in names for one in objective_gains(evidence, name)]
    losing = [one for one in rows if one.sure and one.gain < 0]
    # If one cluster in ten gained, none of C would do so by chance with probability 0.9^C, whatever the interval says.
    enough = all((1 - MARGIN) ** one.clusters <= ALPHA / len(rows) and one.high is not None for one in rows)
    if not all(one in losing or (enough and _gain_bounds(one)[1] < MARGIN) for one in rows):
        return ()
    words = [f"{one.condition} does worse than base on {one.dimension} ({size(one)})." for one in losing]
    rest = [one for one in rows if one not in losing]
    if rest:
        best = max(_gain_bounds(one)[1] for one in rest)
        words.append(
            f"For {listed(list(dict.fromkeys(one.condition for one in rest)))} a net win rate above "
            f"{signed(max(best, 0.0), 2)} is excluded (95 % intervals, one at a time)."
        )
    if all(one.wins == one.losses == 0 for one in rows):
        words.insert(0, "Every prompt ties with base: nothing moved.")
    return tuple(words)


def _gain_bounds(one: Contrast) -> tuple[float, float]:
    """`gain_bounds`, infinite where they are undefined."""
    low, high = one.gain_bounds
    return (-math.inf, math.inf) if low is None or high is None else (low, high)


def _needed(reached: Reach) -> int | None:
    """Prompts that would decide the strongest condition's observed gain over base."""
    first = _against_base(reached)
    if first is None or first.observed <= 0 or first.needed is None or first.needed > MOST_PROMPTS:
        return None
    return first.needed if first.needed > first.prompts else None


def _against_base(reached: Reach) -> Question | None:
    """What is asked of the strongest condition beside base; None where nothing differs."""
    return next((one for one in reached.questions if one.against == BASE), None)


def _without(
    verdict: Verdict,
    reasons: tuple[str, ...],
    reached: Reach,
    needed: int | None,
    evidence: Evidence,
    choice: Choice,
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Line, sentences and next commands of an answer that recommends nothing."""
    if verdict == "unfinished":
        return "Unfinished: no answer yet.", reasons, (study_command({}),)
    if verdict == "controls fail":
        return "Do not train on this evidence: the controls fail.", reasons, ()
    objective = listed([measure.dimension for measure in evidence.objective])
    if verdict == "nothing":
        return f"Nothing to recommend: base is as good or better on {objective}.", reasons, ()
    first = _against_base(reached)
    words = () if first is None else (first.words,)
    if needed is None or first is None:
        why = _why_no_number(first, choice.strongest)
        return f"Cannot tell whether training helps on {objective}; {why}.", words, ()
    about = _about(needed)
    line = (
        f"Cannot tell whether training helps on {objective}; about {about:,} prompts would "
        f"({first.condition} {signed(first.observed, 2)} so far, with {first.prompts:,})."
    )
    more = study_command({"preferences.held_out": about}, f"-{about}")
    return line, words, (more,)


def _why_no_number(first: Question | None, strongest: str | None) -> str:
    if first is None:
        return "how many prompts would cannot be said from so few clusters, or where no prompt differs"
    if first.observed <= 0:
        so_far = f"{strongest} {signed(first.observed, 2)} with {first.prompts:,} prompts"
        return f"no condition is above base so far ({so_far})"
    if first.needed is not None and first.needed > MOST_PROMPTS:
        return "no number of prompts worth having would"
    return f"the effect is large enough for {first.prompts:,} prompts, but too few clusters agree on it"


def _about(count: int) -> int:
    """Two significant digits, rounded up: an estimate from an estimate."""
    step: int = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step


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
    held = _held(condition, results, evidence)
    random = [one for one in held if one.kind == "random layers" and one.outcome != "not compared"]
    any_layers = any(one.outcome != "better" for one in random) if random else None
    whole = results.study.model.get("parameters")
    parameters = runs[0].parameters
    adapters = tuple(f"adapters/{run.run}" for run in runs)
    return Recommendation(
        verdict="train",
        line=_line(training, gains, tax, any_layers, parameters),
        words=_words(condition, choice, held, any_layers, evidence),
        model=str(results.study.model.get("name") or ""),
        source=results.study.source,
        objective=tuple(measure.dimension for measure in evidence.objective),
        train=training,
        gain=tuple(map(_size, gains)),
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


def _size(one: Contrast) -> Size:
    outcome: Literal["better", "worse", "cannot tell"] = "cannot tell"
    if one.sure and one.gain:
        outcome = "better" if one.gain > 0 else "worse"
    return Size(
        one.dimension,
        one.unit,
        one.better,
        one.against,
        outcome,
        one.net_win_rate,
        one.low,
        one.high,
        one.p_holm,
        one.mean_difference,
        one.difference_low,
        one.difference_high,
        one.n,
        one.clusters,
    )


def _price(results: Results, evidence: Evidence, condition: str) -> Price:
    tests = [one for one in results.tax_tests if one.condition == condition]
    return Price(
        tuple(
            _size(one)
            for one in evidence.against_base(condition, evidence.others)
            if one.sure and one.gain < 0
        ),
        MARGIN,
        tuple(one.dimension for one in tests if one.verdict == NO_LARGER),
        tuple(one.dimension for one in tests if one.verdict == CANNOT_TELL),
        tax_clauses(tests) or "no other dimension was judged, so the tax is not known",
    )


def _held(condition: str, results: Results, evidence: Evidence) -> tuple[Held, ...]:
    """The condition head to head with whatever trains all layers, and with the controls that it has to beat."""
    layers = results.study.model.get("layers")
    whole = [
        run.condition
        for run in results.runs
        if layers and len(run.layers) == layers and run.condition != condition
    ]
    found = []
    for role in evidence.roles:
        if role.eligible and role.condition in whole:
            found.append(_head_to_head(condition, role.condition, "full", "all layers", evidence))
        elif role.kind in ("random layers", "equal parameters"):
            found.append(_head_to_head(condition, role.condition, role.kind, role.about, evidence))
    return tuple(found)


def _head_to_head(condition: str, other: str, kind: str, about: str, evidence: Evidence) -> Held:
    """On the first dimension of the objective on which they can be told apart, else on the first."""
    sides = [evidence.head_to_head(condition, [other], measure) for measure in evidence.objective]
    losses = [one for side in sides for one in side.losses]
    wins = [one for side in sides for one in side.wins]
    unsure = [one for side in sides for one in side.unsure]
    who = f"{other} ({about})" if about else other
    if losses:
        return Held(
            other, kind, "worse", f"loses to {who} on {losses[0].dimension} ({size_and_p(losses[0])})"
        )
    if wins:
        return Held(other, kind, "better", f"beats {who} on {wins[0].dimension} ({size_and_p(wins[0])})")
    if unsure:
        words = f"cannot be told from {who} on {unsure[0].dimension} ({size_and_p(unsure[0])})"
        return Held(other, kind, "cannot tell", words)
    return Held(other, kind, "not compared", f"was not compared with {who}")


def _line(
    training: Training,
    gains: Sequence[Contrast],
    tax: Price,
    any_layers: bool | None,
    parameters: int | None,
) -> str:
    sure = [one for one in gains if one.sure] or list(gains)
    rate = f" at learning rate {rate_words(training.learning_rate)}" if training.learning_rate else ""
    line = (
        f"Train {training.condition} (layers {spans(training.layers)}, {plain(parameters)} parameters){rate}: "
        f"suffices for a net win rate of {listed([f'{size(one)} on {one.dimension}' for one in sure])} against base"
    )
    line += f"; pays on {listed([one.dimension for one in tax.pays])}" if tax.pays else ""
    line += "; not shown to beat random layers: any layers would do" if any_layers else ""
    return f"{line}."


def rate_words(rate: float | Mapping[str, float] | None) -> str:
    """'1e-05', or 'local 1e-05, global 5e-06'."""
    if isinstance(rate, Mapping):
        return ", ".join(f"{name} {one:g}" for name, one in rate.items())
    return "unknown" if rate is None else f"{rate:g}"


def _words(
    condition: str,
    choice: Choice,
    held: Sequence[Held],
    any_layers: bool | None,
    evidence: Evidence,
) -> tuple[str, ...]:
    found = []
    if len(choice.alike) > 1:
        rest = [name for name in choice.alike if name != condition]
        stronger = f" {choice.strongest} has the largest gain." if choice.strongest in rest else ""
        found.append(
            f"{condition} cannot be told from {listed(rest, 'or')} after correction, and is chosen as the cheapest: "
            f"by tax, then trained parameters, then the highest first layer.{stronger}"
        )
    found += [f"{condition} {one.words}." for one in held]
    if any_layers:
        found.append(
            "It is not shown to beat layers drawn at random: as far as this sample can tell, any layers would do."
        )
    if any(one.kind == "equal parameters" and one.outcome in ("worse", "cannot tell") for one in held):
        found.append(
            "It is not shown to beat as many parameters elsewhere: their number, not their place, may be what counts."
        )
    if any_layers is None:
        found.append("No random layers were judged beside it, so whether these layers matter is not known.")
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


def _alternatives(
    ranked: Sequence[tuple[str, str]], results: Results, evidence: Evidence
) -> tuple[Alternative, ...]:
    found = []
    for condition, why in ranked:
        run = next(run for run in results.runs if run.condition == condition)
        gains = tuple(map(_size, objective_gains(evidence, condition)))
        found.append(Alternative(condition, run.layers, run.parameters, gains, why))
    return tuple(found)
