"""The recommended condition head to head with all layers, random layers, and equal parameters. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.reporting.answer.recommendation import Held, Outcome
from stratalign.reporting.comparisons.shares import one_more_draw
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
    drawn = {role.condition for role in evidence.roles if role.kind == "random layers"}
    own = {role.condition for role in evidence.roles if condition in role.held_against} & drawn
    rivals = own or drawn
    together = {name for group in groups for name in group.names}
    aside = larger | together | (drawn - rivals)
    found = []
    for role in evidence.roles:
        if role.eligible and role.condition in whole:
            found.append(_head_to_head(condition, role.condition, "full", "all layers", evidence))
        elif role.control and role.condition not in aside:
            found.append(_head_to_head(condition, role.condition, role.kind, role.about, evidence))
    mine = [one for one in results.against_draws if one.condition == condition]
    for group in groups:
        rows = [one for one in mine if one.draws[0] in group.names]
        if rows and group.names[0] in rivals:
            found.append(_beside(group, rows))
    return tuple(found)


def _beside(group: Draws, rows: Sequence[AgainstDraws]) -> Held:
    """Beside draws, on the first dimension on which they can be told apart, else on the first. Better is what surely
    beats their mean, and each of them as far as it goes; so has `contests` it."""
    one = min(rows, key=lambda row: {-1: 0, 1: 1, 0: 2}[row.side])
    outcome: Outcome = "worse" if one.side < 0 else "cannot tell"
    saying = "is worse than" if one.side < 0 else "cannot be told from"
    if one.side > 0:
        each = one.beaten == len(one.draws)
        outcome, saying = ("better", "beats") if each else ("cannot tell", "beats not all, but")
    left = f"; {one_more_draw(len(one.draws))}" if outcome == "better" else ""
    return Held(
        group.span,
        "random layers",
        outcome,
        f"{saying} the mean of {len(one.draws)} draws ({group.about}; {group.span}) on {one.dimension} "
        f"({signed(one.difference, 2)} {interval(one.low, one.high, 2)}, Holm p {p_value(one.p_holm)}; better than "
        f"{one.beaten} of {len(one.draws)}){left}",
        len(one.draws),
    )


def _head_to_head(condition: str, other: str, kind: str, about: str, evidence: Evidence) -> Held:
    """On the first dimension of the objective on which they can be told apart, else on the first."""
    sides = [evidence.head_to_head(condition, [other], measure) for measure in evidence.objective]
    losses = [one for side in sides for one in side.losses]
    wins = [one for side in sides for one in side.wins]
    unsure = [one for side in sides for one in side.unsure]
    who = f"{other} ({about})" if about else other
    draws = int(kind == "random layers")
    if losses:
        words = f"loses to {who} on {losses[0].dimension} ({size_and_p(losses[0])})"
        return Held(other, kind, "worse", words, draws)
    if wins:
        words = f"beats {who} on {wins[0].dimension} ({size_and_p(wins[0])})"
        return Held(other, kind, "better", words, draws)
    if unsure:
        words = f"cannot be told from {who} on {unsure[0].dimension} ({size_and_p(unsure[0])})"
        return Held(other, kind, "cannot tell", words, draws)
    return Held(other, kind, "not compared", f"was not compared with {who}", draws)
