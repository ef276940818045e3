"""What a study says, in words: who wins, and what the controls say; `comparisons.equivalences` has what it costs. Pure.

The words are chosen with care: a difference that survives Holm's correction says that training some layers suffices
for an effect under this recipe, never that the effect lives in them; anything else is "cannot tell", never "no
difference". Knows nothing of pages or terminals, which print these words as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign.reporting.comparisons.contrasts import Contrast, Measure
from stratalign.reporting.findings.controls import Control, control_findings
from stratalign.reporting.findings.evidence import (
    Evidence,
    largest_unseen,
    size_and_p,
    would_have_been_seen,
)
from stratalign.reporting.numbers import interval, listed, several


@dataclass(frozen=True)
class Winner:
    """One dimension that the preferences are meant to move. `condition` is None where this sample cannot tell.

    The lists hold the other trained conditions that the winner does or does not beat head to head. `line` is the
    shortest form, `words` the whole one.
    """

    dimension: str
    condition: str | None
    beats: tuple[str, ...]
    loses_to: tuple[str, ...]
    cannot_tell_from: tuple[str, ...]
    line: str
    words: str


@dataclass(frozen=True)
class Conclusions:
    """`note` says what the rest does not: why there is no answer, or that other dimensions stand in."""

    note: str | None
    winner: tuple[Winner, ...]
    controls: tuple[Control, ...]

    @property
    def line(self) -> str:
        """The winners on one line."""
        return "; ".join(winner.line for winner in self.winner) or self.note or ""


def conclude(evidence: Evidence, why_none: str | None) -> Conclusions:
    """The conclusions of one study; `why_none` says why nothing was compared, where nothing was."""
    if why_none is not None:
        return Conclusions(f"No answer yet: {why_none[:1].lower()}{why_none[1:]}", (), ())
    if not evidence.objective:
        note = "No dimension that was judged has a better direction, so none can be won or lost."
        return Conclusions(note, (), ())
    return Conclusions(
        _stand_in_note(evidence),
        tuple(_winner(evidence, measure) for measure in evidence.objective),
        control_findings(evidence),
    )


def _stand_in_note(evidence: Evidence) -> str | None:
    if not evidence.stands_in:
        return None
    standing = [measure.dimension for measure in evidence.objective]
    meant = (
        f"what the preferences are meant to move ({listed(evidence.named)})"
        if evidence.named
        else "an objective"
    )
    return f"No judged dimension is {meant}; {listed(standing)} stand{'s' * (len(standing) == 1)} in."


def _winner(evidence: Evidence, measure: Measure) -> Winner:
    dimension = measure.dimension
    eligible = [role.condition for role in evidence.roles if role.eligible]
    group = [one for name in eligible for one in evidence.against_base(name, [measure])]
    gains = [one for one in group if one.sure and one.gain > 0]
    if not gains:
        return Winner(dimension, None, (), (), (), f"{dimension}: cannot tell", _no_winner(dimension, group))
    beaten = {one.condition: evidence.head_to_head(one.condition, eligible, measure) for one in gains}
    # Net win rates of 1 tie easily; then the direct contrasts decide, and then the recipe's order.
    best = max(gains, key=lambda one: (one.gain, len(beaten[one.condition].wins)))
    name = best.condition
    direct = beaten[name]
    wins, losses, unsure = ([one.against for one in side] for side in direct)
    highest = f", the highest of {len(group)} candidates" if len(group) > 1 else ""
    bounds = best.selected_bounds(len(group)) if len(group) > 1 else None
    highest += "" if bounds is None else f" ({interval(*bounds, 2)} when that choice is allowed for)"
    sentences = [
        f"Training {name} suffices to do better than base on {dimension} (net win rate {size_and_p(best)}){highest}.",
        _others(name, group),
        _direct(name, wins, losses, unsure),
    ]
    return Winner(
        dimension,
        name,
        tuple(wins),
        tuple(losses),
        tuple(unsure),
        f"{dimension}: {name} {size_and_p(best)}",
        " ".join(sentence for sentence in sentences if sentence),
    )


def _others(winner: str, group: Sequence[Contrast]) -> str:
    """How the other trained conditions do against base."""
    rest = [one for one in group if one.condition != winner]
    too = [one.condition for one in rest if one.sure and one.gain > 0]
    unsure = [one.condition for one in rest if not one.sure]
    clauses = [f"training {several(too, 'or')} suffices too"] if too else []
    clauses += [
        f"{one.condition} does worse than base ({size_and_p(one)})"
        for one in rest
        if one.sure and one.gain < 0
    ]
    clauses += [f"for {several(unsure)} this sample cannot tell"] if unsure else []
    return _sentence(clauses, [one.condition for one in rest])


def _direct(name: str, wins: Sequence[str], losses: Sequence[str], unsure: Sequence[str]) -> str:
    clauses = [f"{name} beats {several(wins)}"] if wins else []
    clauses += [f"{name} loses to {several(losses)}"] if losses else []
    clauses += [f"this sample cannot tell {name} from {several(unsure, 'or')}"] if unsure else []
    return f"Head to head, {'; '.join(clauses)}." if clauses else ""


def _no_winner(dimension: str, group: Sequence[Contrast]) -> str:
    if not group:
        return f"No trained condition has been judged on {dimension} yet."
    unsure = [one for one in group if not one.sure]
    worse = [f"{one.condition} does worse than base ({size_and_p(one)})" for one in group if one.sure]
    if not unsure:
        return f"No condition does better than base on {dimension}: {'; '.join(worse)}."
    best = max(unsure, key=lambda one: one.gain)
    seen = largest_unseen(unsure)
    alike = len({one.gain for one in unsure}) == 1
    leader = (
        f"the highest is {best.condition} with"
        if not alike
        else "each"
        if len(unsure) > 1
        else "net win rate"
    )
    clauses = [
        f"On {dimension}, this sample cannot tell whether training {several([one.condition for one in unsure], 'or')} "
        f"differs from base; {leader} {size_and_p(best)}",
        *worse,
    ]
    if seen is not None:
        clauses.append(would_have_been_seen(seen, "a difference"))
    return "; ".join(clauses) + "."


def _sentence(clauses: Sequence[str], names: Sequence[str]) -> str:
    """Clauses as one sentence; a condition's name keeps its case."""
    if not clauses:
        return ""
    text = "; ".join(clauses) + "."
    return text if text.startswith(tuple(names)) else text[:1].upper() + text[1:]
