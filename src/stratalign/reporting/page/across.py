"""What several studies say beside each other: one group of tables and figures for each protocol. Pure.

Scores under different protocols never stand in one table: a protocol is its judge, its id and its hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stratalign.reporting.figures.curves import Panel
from stratalign.reporting.figures.paper import dimension_map, overall_bars, time_bars, training_curves
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.tables.costs import CostRow
from stratalign.reporting.tables.paper import paper_csv, paper_latex
from stratalign.reporting.tables.pooling import Pooling, pool
from stratalign.reporting.tables.ranking import Judging, RankRow, StrategyRow, primary, ranks, strategies


class Member(NamedTuple):
    """What the page across studies needs of one: `protocol` is (judge, protocol, hash), None where nothing decides."""

    folder: str
    protocol: tuple[str, str, str] | None
    judging: Judging
    categories: Mapping[str, str]
    scale: tuple[float, float] | None
    panels: tuple[Panel, ...]
    costs: tuple[CostRow, ...]


class Across(NamedTuple):
    """The studies of one protocol. Pooled means are shown only where `pooling` has no reason against them."""

    protocol: str
    models: tuple[str, ...]
    dimension: str
    strategies: tuple[StrategyRow, ...]
    ranks: tuple[RankRow, ...]
    pooling: Pooling
    figures: Mapping[str, Drawing]
    times: Drawing | None
    tables: Mapping[str, str]


def across(members: Sequence[Member]) -> list[Across]:
    """One group for each protocol that at least two of the studies were judged under."""
    groups: dict[tuple[str, str, str], list[Member]] = {}
    for member in members:
        if member.protocol is not None:
            groups.setdefault(member.protocol, []).append(member)
    return [_group(protocol, its) for protocol, its in groups.items() if len(its) > 1]


def left_alone(members: Sequence[Member]) -> list[str]:
    """The folders of studies that share their protocol with no other, and so stand in no common table."""
    shared = Counter(member.protocol for member in members)
    return [one.folder for one in members if one.protocol is None or shared[one.protocol] < 2]


def _group(protocol: tuple[str, str, str], members: Sequence[Member]) -> Across:
    named = _named(members)
    pooling = pool(named)
    first = members[0]
    measure = primary(named[0].results)
    pooled = pooling.why_not is None
    drawn = {
        "overall": overall_bars(named, first.scale),
        "dimensions": dimension_map(named, first.categories),
        "loss": training_curves([(one.model, its.panels) for one, its in zip(named, members, strict=True)]),
    }
    return Across(
        protocol=f"{protocol[1]} by {protocol[0]}" if protocol[0] != protocol[1] else protocol[1],
        models=tuple(one.model for one in named),
        dimension=measure.dimension if measure else "",
        strategies=tuple(strategies(named)),
        ranks=tuple(ranks(named)),
        pooling=pooling,
        figures={name: one for name, one in drawn.items() if one is not None},
        times=time_bars([(one.model, its.costs) for one, its in zip(named, members, strict=True)]),
        tables={**paper_csv(named, pooled), **paper_latex(named, pooled)},
    )


def _named(members: Sequence[Member]) -> list[Judging]:
    """Each study under its model's name; with its preferences, or its folder, where models occur twice."""
    for names in (
        [one.judging.model for one in members],
        [f"{one.judging.model} on {one.judging.results.study.source}" for one in members],
        [one.folder for one in members],
    ):
        if len(set(names)) == len(names):
            break
    return [one.judging._replace(model=name) for one, name in zip(members, names, strict=True)]
