"""The recommended condition head to head with all layers, random layers, and equal parameters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.reporting.answer.recommendation import Held, Outcome
from stratalign.reporting.findings.draws import AgainstDraws, Draws, groups_of_draws
from stratalign.reporting.findings.evidence import Evidence, size_and_p
from stratalign.reporting.findings.roles import ALIKE
from stratalign.reporting.numbers import interval, p_value, signed
from stratalign.reporting.results import Results


def held_against(condition: str, results: Results, evidence: Evidence) -> tuple[Held, ...]:
    """The condition head to head with whatever trains all layers, and with the controls that it has to beat: random
    layers and equal parameters, but none that trains more than it does. Of random draws, where there are several of one
    kind, it has to beat the mean; its own draws, where it has some, else all."""
    layers = results.study.model.get("layers")
    whole = {run.condition for run in results.runs if layers and len(run.layers) == layers} - {condition}
    sizes = {run.condition: run.parameters or 0 for run in results.runs}
    larger = {name for name, size in sizes.items() if size > (1 + ALIKE) * sizes.get(condition, 0) > 0}
    groups = groups_of_draws(evidence.roles)
    drawn = {name for group in groups for name in group.names}
    found = []
    for role in evidence.roles:
        if role.eligible and role.condition in whole:
            found.append(_head_to_head(condition, role.condition, "full", "all layers", evidence))
        elif role.control and role.condition not in larger | drawn:
            found.append(_head_to_head(condition, role.condition, role.kind, role.about, evidence))
    mine = [one for one in results.against_draws if one.condition == condition]
    held = [_beside(group, [one for one in mine if one.draws[0] in group.names]) for group in groups]
    own = [one for one, group in zip(held, groups, strict=True) if condition in group.held_against]
    return (*found, *(one for one in own or held if one is not None))


def _beside(group: Draws, rows: Sequence[AgainstDraws]) -> Held | None:
    """Beside the mean of draws, on the first dimension on which they can be told apart, else on the first; None where
    the draws train more."""
    if not rows:
        return None
    one = min(rows, key=lambda row: {-1: 0, 1: 1, 0: 2}[row.side])
    outcome: Outcome = {-1: "worse", 1: "better", 0: "cannot tell"}[one.side]  # type: ignore[assignment]
    saying = {-1: "is worse than", 1: "beats", 0: "cannot be told from"}[one.side]
    return Held(
        group.span,
        "random layers",
        outcome,
        f"{saying} the mean of {len(one.draws)} draws ({group.about}; {group.span}) on {one.dimension} "
        f"({signed(one.difference, 2)} {interval(one.low, one.high, 2)}, Holm p {p_value(one.p_holm)}; better than "
        f"{one.beaten} of {len(one.draws)})",
    )


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
