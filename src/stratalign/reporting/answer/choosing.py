"""Which condition to recommend, and in which order the others follow. Pure.

Candidates do better than base on the objective (after Holm's correction, worse on none of it), and no other trained
condition beats them head to head. The strongest of them is recommended, unless a cheaper one is shown not to be worse
than it by the margin (non-inferiority, head to head, Holm over the cheaper ones): then the cheapest of those. That a
difference was not found is no such evidence. Cheaper means: no tax before a tax, then fewer trained parameters, then a
higher first trained layer, because training then ends its backward pass earlier. Controls are never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign import stats
from stratalign.reporting.comparisons.contrasts import ALPHA, Contrast
from stratalign.reporting.comparisons.equivalences import MARGIN
from stratalign.reporting.findings.evidence import Evidence
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.numbers import listed

RULE = (
    "Among conditions that do better than base and that no other beats head to head: the strongest, or the cheapest of "
    f"those shown to lose less than {MARGIN:.2f} of a net win rate to it. Cheapest: without a tax that survives "
    "correction first, then the fewest trained parameters, then the highest first layer."
)


@dataclass(frozen=True)
class Choice:
    """`chosen` is None where nothing qualifies. `strongest` has the largest gain of those that no other beats, else of
    all that are judged. `as_good` are the cheaper conditions shown not to be worse than the strongest, cheapest first,
    with Holm's p value; `open` the cheaper ones of which that is not known, neither shown nor excluded. `beaten` has,
    for each condition that gains but loses head to head, those that beat it. `ranked` are all candidates, best first,
    each with the reason for its place."""

    chosen: str | None
    strongest: str | None
    as_good: dict[str, float]
    open: tuple[str, ...]
    beaten: dict[str, tuple[str, ...]]
    ranked: tuple[tuple[str, str], ...]


def choose(evidence: Evidence, runs: Sequence[RunResult]) -> Choice:
    """The choice among the trained conditions that are no controls; one whose proof failed is left out."""
    unsound = {run.condition for run in runs if run.proven is False}
    judged = [
        role.condition
        for role in evidence.roles
        if role.eligible
        and role.condition not in unsound
        and evidence.against_base(role.condition, evidence.objective)
    ]
    if not judged:
        return Choice(None, None, {}, (), {}, ())
    gaining = [name for name in judged if _gains(evidence, name)]
    beaten = {name: by for name in gaining if (by := _beaten_by(evidence, name))}
    unbeaten = [name for name in gaining if name not in beaten]
    strongest = max(unbeaten or gaining or judged, key=lambda name: _strength(evidence, name))
    cost = {name: _cost(evidence, runs, name) for name in judged}
    cheaper = sorted((name for name in unbeaten if cost[name] < cost[strongest]), key=lambda name: cost[name])
    p_values = stats.holm([evidence.p_not_worse(name, strongest) for name in cheaper])
    as_good = {name: p for name, p in zip(cheaper, p_values, strict=True) if p is not None and p <= ALPHA}
    chosen = next(iter(as_good), strongest) if unbeaten else None
    others = [name for name in judged if name not in gaining]
    order = [name for name in (chosen, *as_good, strongest) if name in unbeaten]
    for group in (unbeaten, gaining, [name for name in others if not _loses(evidence, name)], others):
        order += sorted(group, key=lambda name: _strength(evidence, name), reverse=True)
    reasons = dict.fromkeys(others, "cannot be told from base")
    reasons |= {name: "does worse than base on the objective" for name in others if _loses(evidence, name)}
    reasons |= dict.fromkeys(
        unbeaten, f"does better than base, with a smaller gain than {strongest}, and is not cheaper"
    )
    reasons |= dict.fromkeys(
        cheaper, f"does better than base and is cheaper; not shown to be as good as {strongest}"
    )
    reasons |= dict.fromkeys(
        as_good, f"loses less than {MARGIN:.2f} of a net win rate to {strongest}, but is not the cheapest"
    )
    reasons |= {
        name: f"does better than base, but loses to {listed(by)} head to head" for name, by in beaten.items()
    }
    if unbeaten:
        reasons[strongest] = "has the largest gain, at a higher cost"
    if chosen is not None:
        reasons[chosen] = "recommended"
    return Choice(
        chosen,
        strongest,
        as_good,
        tuple(name for name in cheaper if name not in as_good),
        beaten,
        tuple((name, reasons[name]) for name in dict.fromkeys(order)),
    )


def objective_gains(evidence: Evidence, condition: str) -> list[Contrast]:
    """The condition against base on every dimension that the preferences are meant to move."""
    return evidence.against_base(condition, evidence.objective)


def _gains(evidence: Evidence, condition: str) -> bool:
    rows = objective_gains(evidence, condition)
    return any(one.sure and one.gain > 0 for one in rows) and not _loses(evidence, condition)


def _loses(evidence: Evidence, condition: str) -> bool:
    return any(one.sure and one.gain < 0 for one in objective_gains(evidence, condition))


def _strength(evidence: Evidence, condition: str) -> tuple[float, ...]:
    """Sure gains first, in the order of the objective's dimensions; net win rates of 1 tie easily, then direct
    wins decide."""
    rows = objective_gains(evidence, condition)
    others = [role.condition for role in evidence.roles if role.eligible]
    wins = sum(len(evidence.head_to_head(condition, others, measure).wins) for measure in evidence.objective)
    return (*(one.gain if one.sure else 0.0 for one in rows), *(one.gain for one in rows), float(wins))


def _beaten_by(evidence: Evidence, condition: str) -> tuple[str, ...]:
    """The trained conditions that beat this one head to head on any measure of the objective, after correction."""
    others = [role.condition for role in evidence.roles if role.eligible and role.condition != condition]
    found = [
        one.against
        for measure in evidence.objective
        for one in evidence.head_to_head(condition, others, measure).losses
    ]
    return tuple(dict.fromkeys(found))


def _cost(evidence: Evidence, runs: Sequence[RunResult], condition: str) -> tuple[float, ...]:
    mine = next((run for run in runs if run.condition == condition), None)
    taxed = any(one.sure and one.gain < 0 for one in evidence.against_base(condition, evidence.others))
    parameters = mine.parameters if mine is not None and mine.parameters else float("inf")
    first = min(mine.layers) if mine is not None and mine.layers else 0
    return float(taxed), parameters, -float(first)
