"""What conclusions are drawn from, ready to be asked, and how its numbers are worded. Pure.

Holds only contrasts over all seeds on measures that have a better direction: the judged protocol's, and those of tasks
that everyone scores alike, which can show a cost but are never what the preferences are meant to move.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stratalign.reporting.comparisons.contrasts import BASE, Contrast, Measure
from stratalign.reporting.comparisons.equivalences import NonInferiority
from stratalign.reporting.findings.roles import Role
from stratalign.reporting.numbers import interval, p_value, signed

STAND_INS = 2


@dataclass(frozen=True)
class Evidence:
    """`objective` are the measures that the preferences are meant to move, `others` all other ones. Where the recipe
    names none that was judged, the first ones stand in: `stands_in`."""

    roles: tuple[Role, ...]
    objective: tuple[Measure, ...]
    others: tuple[Measure, ...]
    stands_in: bool
    named: tuple[str, ...]
    comparisons: tuple[Contrast, ...]
    pairs: tuple[Contrast, ...]
    non_inferiority: tuple[NonInferiority, ...] = ()

    def against_base(self, condition: str, measures: Sequence[Measure]) -> list[Contrast]:
        """The condition's contrasts with base on each of `measures` that it has rows of."""
        mine = {one.key: one for one in self.comparisons if one.condition == condition}
        return [mine[measure.key] for measure in measures if measure.key in mine]

    def head_to_head(self, condition: str, others: Iterable[str], measure: Measure) -> HeadToHead:
        """How `condition` does on one measure against each of `others` that it was compared with."""
        found = []
        for one in self.pairs:
            if one.key == measure.key:
                found += [one] if one.condition == condition else []
                found += [one.flipped()] if one.against == condition else []
        by_name = {one.against: one for one in found}
        known = [by_name[name] for name in others if name in by_name]
        return HeadToHead(
            [one for one in known if one.sure and one.gain > 0],
            [one for one in known if one.sure and one.gain < 0],
            [one for one in known if not one.sure or one.gain == 0],
        )

    def p_not_worse(self, condition: str, against: str) -> float | None:
        """One-sided p value that `condition` loses to `against` by the margin or more on any measure of the objective;
        None where they were not compared head to head on all of them."""
        known = {
            (one.judge, one.protocol, one.dimension): one.p
            for one in self.non_inferiority
            if (one.condition, one.against) == (condition, against)
        }
        if not all(measure.key in known for measure in self.objective):
            return None
        return max((known[measure.key] for measure in self.objective), default=None)


class HeadToHead(NamedTuple):
    """One condition's direct contrasts: those it wins, those it loses, and those that cannot be told, after Holm."""

    wins: list[Contrast]
    losses: list[Contrast]
    unsure: list[Contrast]


def gather(
    roles: Sequence[Role],
    judged: tuple[str, str] | None,
    measures: Sequence[Measure],
    objective: Sequence[str],
    comparisons: Sequence[Contrast],
    pairs: Sequence[Contrast],
    tasks: Collection[tuple[str, str]] = (),
    non_inferiority: Sequence[NonInferiority] = (),
) -> Evidence:
    """The evidence of one study; `objective` are the recipe's names of dimensions, in any case. Besides the judged
    protocol's measures those of `tasks` (judge, protocol) count, and only as what training may cost."""
    counted = {judged, *tasks}
    mine = [
        one for one in comparisons if one.seed is None and one.n and one.key[:2] in counted and one.better
    ]
    compared = {one.key for one in mine}
    directed = [measure for measure in measures if measure.key in compared]
    first, stands_in = primary_measures(directed, judged, objective, mine)
    return Evidence(
        roles=tuple(role for role in roles if role.condition != BASE),
        objective=first,
        others=tuple(measure for measure in directed if measure not in first),
        stands_in=stands_in,
        named=tuple(objective),
        comparisons=tuple(mine),
        pairs=tuple(pairs),
        non_inferiority=tuple(non_inferiority),
    )


def primary_measures(
    measures: Iterable[Measure],
    judged: tuple[str, str] | None,
    objective: Iterable[str],
    comparisons: Iterable[Contrast],
) -> tuple[tuple[Measure, ...], bool]:
    """What everything is decided on, and whether it stands in: the judged protocol's measures that the recipe's
    `objective` names, have a better direction and have been compared, else the first of those that it does not name.
    """
    compared = {one.key for one in comparisons if one.seed is None and one.n}
    usable = [one for one in measures if one.key[:2] == judged and one.better and one.key in compared]
    meant = objective_measures(usable, objective)
    return tuple(meant or usable[:STAND_INS]), not meant


def objective_measures(measures: Iterable[Measure], objective: Iterable[str]) -> list[Measure]:
    """The measures that the recipe's `preferences.objective` names, whatever the case of the letters."""
    names = {name.casefold() for name in objective}
    return [measure for measure in measures if measure.dimension.casefold() in names]


def size(one: Contrast) -> str:
    """'+0.42 [+0.33, +0.51]'; where lower is better, that is said."""
    turned = ", lower is better" if one.better == "lower" else ""
    return f"{signed(one.net_win_rate, 2)} {interval(one.low, one.high, 2)}{turned}"


def size_and_p(one: Contrast) -> str:
    """'+0.42 [+0.33, +0.51], Holm p 0.003'."""
    return f"{size(one)}, Holm p {p_value(one.p_holm)}"


def would_have_been_seen(effect: float, what: str) -> str:
    """That an effect of this size would probably have been found; above 1 there is no such net win rate."""
    if effect >= 1:
        return f"this sample is too small to see {what} of any size surely"
    return f"{what} of about {signed(effect, 2)[1:]} or more would probably have been seen"


def largest_unseen(contrasts: Iterable[Contrast]) -> float | None:
    """The effect that would have been seen after Holm's correction on whichever of these could see least."""
    seen = [one.smallest_detectable_holm for one in contrasts if one.smallest_detectable_holm is not None]
    return max(seen, default=None)
