"""What a signature's function found, and how the advice of several findings is kept from contradicting itself.

Advice has a direction where it makes training change the model more or less. Two findings with opposite directions:

- in different conditions: each advice is given for its own conditions;
- in the same one, and one of the two is a guess: the other stays, and the guess gives way to it;
- in the same one, and neither or both are guesses: both say that this study cannot tell, and how to find out.

A guess also gives way to what is wrong with the base's own answers. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stratalign.reporting.answer.commands import rates_of, study_command, with_conditions
from stratalign.reporting.numbers import listed
from stratalign.reporting.signatures.case import Case, Signature

FACTORS = {"more": 3.0, "less": 0.3}
"""Of a condition's learning rate, where two findings ask for opposite directions and both are tried."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One pattern that was seen, before its advice is held against that of the others.

    `guess` is the part of the cause that the advice rests on, where `cause` gives others that are as likely; empty
    where what was seen shows it. `command` is the next command where it is not a change of the recipe.
    """

    name: str
    title: str
    seen: str
    cause: str = ""
    guess: str = ""
    check: str
    changes: Mapping[str, object] = field(default_factory=dict)
    suffix: str = ""
    verb: str = "study"
    command: str = ""
    training: Literal["more", "less"] | None = None
    """Whether the advice makes training change the model more or less."""
    conditions: tuple[str, ...] = ()
    """Where it was seen."""
    of_base: bool = False
    """Whether it lies in the base's own answers, before any training."""

    @property
    def next(self) -> str:
        return self.command or study_command(self.changes, self.suffix, self.verb)


def reconciled(found: Sequence[Finding], case: Case) -> tuple[Signature, ...]:
    """Every finding as it is shown."""
    standing = [one for one in found if _stronger(one, found) is None]
    settled = {one.name: _beside(one, standing, case) for one in standing}
    for one in found:
        stronger = _stronger(one, found)
        if stronger is not None:
            settled[one.name] = replace(one, guess=_why(one, stronger), command=settled[stronger.name].next)
    return tuple(_shown(settled[one.name]) for one in found)


def _shown(one: Finding) -> Signature:
    cause = " ".join(filter(None, (one.cause, one.guess)))
    return Signature(one.name, one.title, one.seen, cause, one.check, one.next)


def _stronger(one: Finding, found: Sequence[Finding]) -> Finding | None:
    """What a guess gives way to."""
    if not one.guess:
        return None
    base = [other for other in found if other.of_base]
    seen = [other for other in _opposite(one, found) if _overlap(one, other) and not other.guess]
    return next(iter((*base, *seen)), None)


def _why(one: Finding, stronger: Finding) -> str:
    if stronger.of_base:
        return f"First look at the base: “{stronger.title}”."
    return f"“{stronger.title}” speaks against training that changes the model {one.training}."


def _opposite(one: Finding, found: Sequence[Finding]) -> list[Finding]:
    return [other for other in found if {one.training, other.training} == {"more", "less"}]


def _overlap(one: Finding, other: Finding) -> list[str]:
    return [name for name in one.conditions if name in other.conditions]


def _beside(one: Finding, standing: Sequence[Finding], case: Case) -> Finding:
    """The finding with its advice as it stands beside the others that give way to none."""
    opposite = _opposite(one, standing)
    rivals = [other for other in opposite if _overlap(one, other)]
    if rivals:
        both = list(dict.fromkeys(name for other in rivals for name in _overlap(one, other)))
        titles = {one.training: one.title, rivals[0].training: rivals[0].title}
        cause = (
            f"“{titles['more']}” asks for a higher learning rate of {listed(both)}, “{titles['less']}” for a lower "
            "one. This study cannot tell which is right: the command trains both."
        )
        return replace(
            one, cause=cause, guess="", changes=_at_rates(case, both, ["less", "more"]), suffix="", command=""
        )
    if opposite and one.conditions:
        changes = _at_rates(case, one.conditions, [str(one.training)])
        return replace(one, changes=changes, suffix="", command="")
    return one


def _at_rates(case: Case, names: Sequence[str], directions: Sequence[str]) -> Mapping[str, object]:
    """The change that adds each of the conditions once more, at other learning rates."""
    added: dict[str, Mapping[str, object]] = {}
    for name in names:
        run = next(run for run in case.trained if run.condition == name)
        settings, rate = rates_of(case.recipe, name)
        rates = [float(f"{FACTORS[way] * rate:.3g}") for way in directions]
        chosen: Mapping[str, Any] = settings or {"layers": list(run.layers)}
        value = rates if len(rates) > 1 else rates[0]
        added[f"{name}_{'_or_'.join(directions)}"] = {**chosen, "learning_rate": value}
    return with_conditions(case.recipe, added)
