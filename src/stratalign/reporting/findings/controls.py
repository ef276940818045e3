"""What each control says, in one sentence: base sampled anew, shuffled labels, random layers, equal parameters. Pure.

A null control should move nothing; what it moves is no evidence when a candidate moves it too. The other controls
are held against the candidates that they resemble, head to head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign import stats
from stratalign.reporting.comparisons.contrasts import Contrast, Measure
from stratalign.reporting.findings.draws import AgainstDraws, Draws, groups_of_draws
from stratalign.reporting.findings.evidence import (
    Evidence,
    largest_unseen,
    size,
    size_and_p,
    would_have_been_seen,
)
from stratalign.reporting.findings.roles import Role
from stratalign.reporting.numbers import listed, several, signed


@dataclass(frozen=True)
class Control:
    """One control: the dimensions that it moves after Holm's correction (of a null control any, else of the
    objective), and its sentence."""

    condition: str
    kind: str
    moves: tuple[str, ...]
    words: str


def control_findings(evidence: Evidence) -> tuple[Control, ...]:
    """A sentence for each control, in the recipe's order."""
    return tuple(
        _null(role, evidence) if role.null else _held_against(role, evidence)
        for role in evidence.roles
        if not role.eligible
    )


def controls_in_words(
    evidence: Evidence, found: Sequence[Control], beside: Sequence[AgainstDraws]
) -> tuple[str, ...]:
    """A sentence for each control; random draws of one kind, where there are several, have one on each dimension."""
    groups = {group.names[0]: group for group in groups_of_draws(evidence.roles)}
    together = {name for group in groups.values() for name in group.names}
    words: list[str] = []
    for one in found:
        if one.condition in groups:
            group = groups[one.condition]
            words += [_together(group, measure, evidence, beside) for measure in evidence.objective]
        elif one.condition not in together:
            words.append(one.words)
    return tuple(words)


def _together(group: Draws, measure: Measure, evidence: Evidence, beside: Sequence[AgainstDraws]) -> str:
    """How draws of one kind do on one dimension of the objective: against base, and those they resemble beside their
    mean."""
    who = f"{len(group.names)} draws ({group.about}; {group.span})"
    rows = [one for name in group.names for one in evidence.against_base(name, [measure])]
    rates = [one.net_win_rate for one in rows if one.net_win_rate is not None]
    if not rates:
        return f"{who} have not been judged yet."
    sure = sum(one.sure and one.gain > 0 for one in rows)
    words = (
        f"{who}: net win rates of {signed(min(rates), 2)} to {signed(max(rates), 2)} against base on "
        f"{measure.dimension}, {sure} of {len(rows)} better after correction"
    )
    for side, saying in ((1, "better than their mean"), (-1, "worse"), (0, "cannot be told from it")):
        alike = [
            f"{one.condition} ({signed(one.difference, 2)}, above {one.beaten} of {len(one.draws)})"
            for one in beside
            if one.draws[0] in group.names
            and one.condition in group.held_against
            and one.dimension == measure.dimension
            and one.side == side
        ]
        words += f"; {saying}: {listed(alike)}" if alike else ""
    return f"{words}."


def _null(role: Role, evidence: Evidence) -> Control:
    rows = evidence.against_base(role.condition, (*evidence.objective, *evidence.others))
    moved = [one for one in rows if one.sure]
    unsure = [one for one in rows if not one.sure and one.verdict != "cannot tell"]
    who = f"{role.condition} ({role.about})"
    names = tuple(one.dimension for one in moved)
    if not rows:
        return Control(role.condition, role.kind, (), f"{who} has not been judged yet.")
    if moved:
        reason = (
            "although nothing was trained"
            if role.kind == "base again"
            else "by training alone, with labels that say nothing"
        )
        words = (
            f"{who} moves {listed([f'{one.dimension} ({size_and_p(one)})' for one in moved])}, {reason}: "
            f"{_effects(moved)} of this size on {listed(names)} are no evidence"
        )
    else:
        seen = largest_unseen(rows)
        words = f"{who} shows no significant change"
        words += "" if seen is None else f"; {would_have_been_seen(seen, 'a shift')}"
    if any(one.seeds >= stats.RANDOM_SEEDS for one in rows):
        words += "; tested for these seeds alone, which sees more"
    if unsure:
        words += f"; unsure: {', '.join(f'{one.dimension} {size(one)}' for one in unsure)}"
    return Control(role.condition, role.kind, names, f"{words}.")


def _effects(moved: Sequence[Contrast]) -> str:
    if all(one.gain > 0 for one in moved):
        return "gains"
    return "losses" if all(one.gain < 0 for one in moved) else "effects"


def _held_against(role: Role, evidence: Evidence) -> Control:
    sentences = [_on(role, measure, evidence) for measure in evidence.objective]
    words = "; ".join(sentence for sentence in sentences if sentence) or "has not been judged yet"
    rows = evidence.against_base(role.condition, evidence.objective)
    moves = tuple(one.dimension for one in rows if one.sure)
    return Control(role.condition, role.kind, moves, f"{role.condition} ({role.about}) {words}.")


def _on(role: Role, measure: Measure, evidence: Evidence) -> str:
    """How a control does on one dimension of the objective: against base, and against those it resembles."""
    rows = evidence.against_base(role.condition, [measure])
    if not rows:
        return ""
    (one,) = rows
    if one.sure:
        verb = f"does {'better' if one.gain > 0 else 'worse'} than base on {measure.dimension}"
    else:
        verb = f"cannot be told from base on {measure.dimension} after correction"
    wins, losses, unsure = evidence.head_to_head(role.condition, role.held_against, measure)
    clauses = [f"it beats {_names(wins)}"] if wins else []
    clauses += [f"it loses to {_names(losses)}{_meaning(role, losses)}"] if losses else []
    clauses += [f"this sample cannot tell it from {_names(unsure, 'or')}"] if unsure else []
    direct = f"; head to head {', and '.join(clauses)}" if clauses else ""
    return f"{verb} ({size_and_p(one)}){direct}"


def _names(contrasts: Sequence[Contrast], last: str = "and") -> str:
    """The other conditions, each with the control's net win rate against it where they are few."""
    if len(contrasts) > 2:
        return several([one.against for one in contrasts], last)
    return listed([f"{one.against} ({size_and_p(one)})" for one in contrasts], last)


def _meaning(role: Role, losses: Sequence[Contrast]) -> str:
    """What it means that a control of equal parameters loses to a condition with as many; one random draw of layers
    says nothing about layers in general."""
    if role.kind != "equal parameters" or not {one.against for one in losses} & set(role.alike):
        return ""
    return ", so it is not only how many parameters train"
