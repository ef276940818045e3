"""Which condition to recommend, and in which order the others follow. Pure.

Of the trained conditions that no other beats head to head and that do not lose to base on the objective, the strongest
has the largest gain over base. It is recommended where that gain survives Holm's correction, unless a cheaper condition
that gains is shown not to be worse than it by the margin (non-inferiority, head to head, Holm over the cheaper ones):
then the cheapest of those. That a difference was not found is no such evidence. Cheaper means: no tax before a tax,
then fewer trained parameters, then a higher first trained layer, because training then ends its backward pass earlier.
Controls are never chosen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stratalign import stats
from stratalign.reporting.comparisons.contrasts import ALPHA, Contrast
from stratalign.reporting.comparisons.equivalences import MARGIN
from stratalign.reporting.findings.evidence import Evidence
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.numbers import listed

RULE = (
    "Of the conditions that no other beats head to head, the one with the largest gain over base, if that survives "
    f"correction; or the cheapest of those that do better than base and are shown to lose less than {MARGIN:.2f} of a "
    "net win rate to it. Cheapest: without a tax that survives correction first, then the fewest trained parameters, "
    "then the highest first layer. Where the protocol has a scale, the mean difference has a margin of its own, too."
)


@dataclass(frozen=True)
class Choice:
    """`chosen` is None where nothing qualifies. `strongest` has the largest gain of those that no other beats, whether
    it is sure or not. `gaining` do better than base, surely. `as_good` are those of them that are shown not to be worse
    than the strongest and are cheaper (or sure, where the strongest is not), cheapest first, with Holm's p value;
    `open` are cheaper ones of which that is not known. `beaten` has, for each condition that gains but loses head to
    head, those that beat it. `ranked` are all candidates, best first, each with the reason for its place."""

    chosen: str | None
    strongest: str | None
    gaining: tuple[str, ...]
    as_good: dict[str, float]
    open: tuple[str, ...]
    beaten: dict[str, tuple[str, ...]]
    ranked: tuple[tuple[str, str], ...]


def choose(evidence: Evidence, runs: Sequence[RunResult]) -> Choice:
    """The choice among the trained conditions that are no controls; one whose proof failed, or whose adapter has
    changed since, is left out, and so is one that was not judged on the whole objective."""
    unsound = {run.condition for run in runs if run.unsound}
    judged = [
        role.condition
        for role in evidence.roles
        if role.eligible
        and role.condition not in unsound
        and len(evidence.against_base(role.condition, evidence.objective)) == len(evidence.objective) > 0
    ]
    if not judged:
        return Choice(None, None, (), {}, (), {}, ())
    strength = {name: _strength(evidence, name, judged) for name in judged}
    cost = {name: _cost(evidence, runs, name) for name in judged}
    losing = [name for name in judged if _loses(evidence, name)]
    gaining = [name for name in judged if name not in losing and _gains(evidence, name)]
    beaten = {name: by for name in judged if (by := _beaten_by(evidence, name, judged))}
    free = [name for name in judged if name not in beaten and name not in losing]
    strongest = max(free or gaining or judged, key=lambda name: strength[name])
    rivals = [name for name in gaining if name in free and name != strongest]
    if strongest in gaining:
        rivals = [name for name in rivals if cost[name] < cost[strongest]]
    rivals.sort(key=lambda name: cost[name])
    p_values = stats.holm([evidence.p_not_worse(name, strongest) for name in rivals])
    as_good = {name: p for name, p in zip(rivals, p_values, strict=True) if p is not None and p <= ALPHA}
    chosen = next(iter(as_good), strongest if strongest in gaining and strongest in free else None)
    order = [name for name in (chosen, *as_good, strongest) if name in free]
    for group in (rivals, [name for name in gaining if name in free], gaining, free, judged):
        order += sorted(group, key=lambda name: (name not in losing, strength[name]), reverse=True)
    return Choice(
        chosen,
        strongest,
        tuple(gaining),
        as_good,
        tuple(name for name in rivals if name not in as_good),
        {name: by for name, by in beaten.items() if name in gaining},
        tuple(
            (name, _reason(name, chosen, strongest, gaining, losing, as_good, rivals, beaten))
            for name in dict.fromkeys(order)
        ),
    )


def _reason(
    name: str,
    chosen: str | None,
    strongest: str,
    gaining: Collection[str],
    losing: Collection[str],
    as_good: Collection[str],
    rivals: Collection[str],
    beaten: Mapping[str, tuple[str, ...]],
) -> str:
    """Why a condition stands where it does, as a clause."""
    if name == chosen:
        return "recommended"
    if name in losing:
        return "does worse than base on the objective"
    if name not in gaining:
        largest = "; its gain is the largest so far" if name == strongest and gaining else ""
        return f"cannot be told from base{largest}"
    if name in beaten:
        return f"does better than base, but loses to {listed(beaten[name])} head to head"
    if name == strongest:
        return "has the largest gain, at a higher cost"
    if name in as_good:
        return f"loses less than {MARGIN:.2f} of a net win rate to {strongest}, but is not the cheapest"
    if name in rivals:
        cheaper = " and is cheaper" if strongest in gaining else ""
        return f"does better than base{cheaper}; not shown to be as good as {strongest}"
    return f"does better than base, with a smaller gain than {strongest}, and is not cheaper"


def objective_gains(evidence: Evidence, condition: str) -> list[Contrast]:
    """The condition against base on every dimension that the preferences are meant to move."""
    return evidence.against_base(condition, evidence.objective)


def _gains(evidence: Evidence, condition: str) -> bool:
    rows = objective_gains(evidence, condition)
    return any(one.sure and one.gain > 0 for one in rows) and not _loses(evidence, condition)


def _loses(evidence: Evidence, condition: str) -> bool:
    return any(one.sure and one.gain < 0 for one in objective_gains(evidence, condition))


def _strength(evidence: Evidence, condition: str, judged: Sequence[str]) -> tuple[float, ...]:
    """The gains over base in the order of the objective's dimensions; net win rates of 1 tie easily, then direct wins
    decide."""
    wins = sum(len(evidence.head_to_head(condition, judged, measure).wins) for measure in evidence.objective)
    return (*(one.gain for one in objective_gains(evidence, condition)), float(wins))


def _beaten_by(evidence: Evidence, condition: str, judged: Sequence[str]) -> tuple[str, ...]:
    """Those of `judged` that beat this one head to head on any measure of the objective, after correction."""
    found = [
        one.against
        for measure in evidence.objective
        for one in evidence.head_to_head(condition, judged, measure).losses
    ]
    return tuple(dict.fromkeys(found))


def _cost(evidence: Evidence, runs: Sequence[RunResult], condition: str) -> tuple[float, ...]:
    mine = next((run for run in runs if run.condition == condition), None)
    taxed = any(one.sure and one.gain < 0 for one in evidence.against_base(condition, evidence.others))
    parameters = mine.parameters if mine is not None and mine.parameters else float("inf")
    first = min(mine.layers) if mine is not None and mine.layers else 0
    return float(taxed), parameters, -float(first)
