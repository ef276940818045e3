"""Which condition to recommend, and in which order the others follow. Pure; knows nothing of how it is told.

The rule: of the conditions that do better than base on what the preferences are meant to move (after Holm's
correction, worse on none of it), take those that head to head are not worse than the strongest one, by the interval
alone: passing over a cheaper condition claims nothing, so it needs no correction. Of these, one that pays no tax
before one that does, then the one with the fewest trained parameters, then the one whose first trained layer is
highest, because it is the cheapest to train. Controls are never chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.findings.evidence import Evidence
from stratalign.reporting.findings.runs import RunResult

RULE = (
    "Among conditions that do better than base and that no interval head to head puts below the strongest: one "
    "without a tax that survives correction first, then the fewest trained parameters, then the highest first layer."
)


@dataclass(frozen=True)
class Choice:
    """`chosen` is None where no candidate does better than base. `ranked` are all candidates, best first, each with
    why it stands there; `strongest` has the largest gain of those that are judged, sure or not."""

    chosen: str | None
    strongest: str | None
    ranked: tuple[tuple[str, str], ...]
    alike: tuple[str, ...]


def choose(evidence: Evidence, runs: Sequence[RunResult]) -> Choice:
    """The choice among the trained conditions that are no controls; one whose proof failed, or whose adapter has
    changed since, is left out."""
    unsound = {run.condition for run in runs if run.unsound}
    judged = [
        role.condition
        for role in evidence.roles
        if role.eligible
        and role.condition not in unsound
        and evidence.against_base(role.condition, evidence.objective)
    ]
    if not judged:
        return Choice(None, None, (), ())
    gaining = [name for name in judged if _gains(evidence, name)]
    strongest = max(gaining or judged, key=lambda name: _strength(evidence, name))
    alike = [name for name in gaining if name == strongest or not _beaten(evidence, name, strongest)]
    alike.sort(key=lambda name: _cost(evidence, runs, name))
    rest = [name for name in gaining if name not in alike]
    rest.sort(key=lambda name: _strength(evidence, name), reverse=True)
    others = [name for name in judged if name not in gaining]
    others.sort(key=lambda name: (_loses(evidence, name), *(-part for part in _strength(evidence, name))))
    reasons = [(name, "cannot be told from the one above, by the rule") for name in alike[1:]]
    reasons += [(name, f"does better than base, but loses to {strongest} head to head") for name in rest]
    reasons += [
        (
            name,
            "does worse than base on the objective" if _loses(evidence, name) else "cannot be told from base",
        )
        for name in others
    ]
    first = [(alike[0], "recommended")] if alike else []
    return Choice(alike[0] if alike else None, strongest, tuple(first + reasons), tuple(alike))


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


def _beaten(evidence: Evidence, condition: str, by: str) -> bool:
    sides = [evidence.head_to_head(condition, [by], measure) for measure in evidence.objective]
    return any(side.losses or any(one.verdict == "worse" for one in side.unsure) for side in sides)


def _cost(evidence: Evidence, runs: Sequence[RunResult], condition: str) -> tuple[float, ...]:
    mine = next((run for run in runs if run.condition == condition), None)
    taxed = any(one.sure and one.gain < 0 for one in evidence.against_base(condition, evidence.others))
    parameters = mine.parameters if mine is not None and mine.parameters else float("inf")
    first = min(mine.layers) if mine is not None and mine.layers else 0
    return float(taxed), parameters, -float(first)
