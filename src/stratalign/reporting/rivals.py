"""The recommended condition head to head with all layers, random layers, and equal parameters. Pure."""

from __future__ import annotations

from stratalign.reporting.evidence import Evidence, size_and_p
from stratalign.reporting.recommendation import Held
from stratalign.reporting.results import Results


def held_against(condition: str, results: Results, evidence: Evidence) -> tuple[Held, ...]:
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
