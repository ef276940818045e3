"""The recommended condition head to head with all layers, random layers, and equal parameters. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stratalign.reporting.answer.recommendation import Held, Outcome
from stratalign.reporting.findings.controls import MANY
from stratalign.reporting.findings.evidence import Evidence, size_and_p
from stratalign.reporting.findings.roles import ALIKE, Role
from stratalign.reporting.numbers import listed
from stratalign.reporting.results import Results

SAID: dict[Outcome, str] = {
    "better": "beats",
    "worse": "loses to",
    "cannot tell": "cannot be told from",
    "not compared": "was not compared with",
}


def held_against(condition: str, results: Results, evidence: Evidence) -> tuple[Held, ...]:
    """The condition head to head with whatever trains all layers, and with the controls that it has to beat: random
    layers and equal parameters, but none that trains more than it does, and of random draws its own where it has
    some."""
    layers = results.study.model.get("layers")
    whole = [
        run.condition
        for run in results.runs
        if layers and len(run.layers) == layers and run.condition != condition
    ]
    sizes = {run.condition: run.parameters or 0 for run in results.runs}
    larger = {name for name, size in sizes.items() if size > (1 + ALIKE) * sizes.get(condition, 0) > 0}
    own = {role.condition for role in evidence.roles if condition in role.held_against}
    drawn = {role.condition for role in evidence.roles if role.kind == "random layers"}
    aside = larger | (drawn - own if drawn & own else set())
    found = []
    for role in evidence.roles:
        if role.eligible and role.condition in whole:
            found.append(_head_to_head(condition, role.condition, "full", "all layers", evidence))
        elif role.kind in ("random layers", "equal parameters") and role.condition not in aside:
            found.append(_head_to_head(condition, role.condition, role.kind, role.about, evidence))
    return tuple(found)


def held_in_words(condition: str, held: Sequence[Held], roles: Sequence[Role]) -> list[str]:
    """A sentence for each rival; random draws of one kind, from `MANY` on, have one together."""
    about = {role.condition: role.about for role in roles}
    alike: dict[tuple[str, str], list[Held]] = {}
    for one in held:
        alike.setdefault((one.kind, about[one.condition]), []).append(one)
    words = []
    for (kind, drawn), group in alike.items():
        if kind != "random layers" or len(group) < MANY:
            words += [f"{condition} {one.words}." for one in group]
            continue
        counts = Counter(one.outcome for one in group)
        each = [f"{saying} {counts[outcome]}" for outcome, saying in SAID.items() if counts[outcome]]
        names = f"{group[0].condition} to {group[-1].condition}"
        words.append(f"{condition} {listed(each)} of {len(group)} draws ({drawn}; {names}).")
    return words


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
