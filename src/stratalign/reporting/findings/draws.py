"""Candidates beside random draws, where there are several of one kind: with their mean, in one test. Pure.

Head to head with every draw, each test would pay for all others, and more draws would make less sure. Knows nothing of
recommendations and pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from stratalign import stats
from stratalign.reporting.comparisons.comparing import ScoreTable
from stratalign.reporting.comparisons.contrasts import ALPHA, Measure
from stratalign.reporting.comparisons.draws import outcomes_against_base, to_draws
from stratalign.reporting.findings.roles import ALIKE, Role

MANY = 3
"""From so many draws of one kind on they have one sentence together."""
ENOUGH = 5
"""With fewer draws nothing is said about layers in general: one draw "beats" another in 11 to 22 % of studies."""


class Draws(NamedTuple):
    """Random draws of one kind, in the recipe's order; what they are, and the candidates that they resemble."""

    names: tuple[str, ...]
    about: str
    held_against: tuple[str, ...]

    @property
    def span(self) -> str:
        """'random-1 to random-5'."""
        return f"{self.names[0]} to {self.names[-1]}"


@dataclass(frozen=True)
class AgainstDraws:
    """One candidate beside the mean of `draws` on one dimension: the difference in net win rate against base, above 0
    being better, with its 95 % interval; p by `stats.difference_tests`, Holm over all of these of a study; how many
    of the draws gain less."""

    condition: str
    draws: tuple[str, ...]
    judge: str
    protocol: str
    dimension: str
    n: int
    clusters: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None
    beaten: int

    @property
    def side(self) -> int:
        """1 where it is surely better than the mean of the draws, -1 where surely worse, else 0."""
        if self.p_holm is None or self.p_holm > ALPHA or not self.difference:
            return 0
        return 1 if self.difference > 0 else -1


def groups_of_draws(roles: Sequence[Role]) -> tuple[Draws, ...]:
    """The random draws that are told together: of one kind, and at least `MANY`."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for role in roles:
        if role.kind == "random layers":
            alike.setdefault((role.about, role.held_against), []).append(role.condition)
    return tuple(
        Draws(tuple(names), about, held) for (about, held), names in alike.items() if len(names) >= MANY
    )


def against_draws(
    table: ScoreTable,
    roles: Sequence[Role],
    measures: Sequence[Measure],
    parameters: Mapping[str, int | None],
) -> tuple[AgainstDraws, ...]:
    """Every candidate beside every group of draws that train no more than it does, on each of `measures`.

    Args:
        measures: what the preferences are meant to move, with a better direction.
        parameters: trained ones, by condition.
    """
    candidates = [role.condition for role in roles if role.eligible]
    found = []
    for group in groups_of_draws(roles):
        largest = max(parameters.get(name) or 0 for name in group.names)
        asked = [name for name in candidates if (parameters.get(name) or 0) * (1 + ALIKE) >= largest]
        for measure in measures:
            outcomes = outcomes_against_base(table, [*asked, *group.names], measure)
            if outcomes is None:
                continue
            drawn = [name for name in group.names if name in outcomes.by_name]
            there = {name: drawn for name in asked if name in outcomes.by_name and drawn}
            for name, one in to_draws(outcomes, there).items():
                found.append(
                    AgainstDraws(
                        condition=name,
                        draws=tuple(drawn),
                        judge=measure.judge,
                        protocol=measure.protocol,
                        dimension=measure.dimension,
                        n=one.comparison.n,
                        clusters=one.comparison.clusters,
                        difference=one.comparison.mean_difference,
                        low=one.comparison.difference_low,
                        high=one.comparison.difference_high,
                        p_value=one.p_value,
                        p_holm=None,
                        beaten=one.beaten,
                    )
                )
    corrected = stats.holm([one.p_value for one in found])
    return tuple(replace(one, p_holm=p_holm) for one, p_holm in zip(found, corrected, strict=True))
