"""Means over the dimensions of a category, over all but Overall, and how the dimensions go together. Pure.

One call of a judge scores all dimensions of an answer, so an impression of the whole may colour each (a halo); the
correlations show how far the dimensions are separate measurements.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from stratalign import stats
from stratalign.reporting.comparisons.comparing import Cells, ScoreTable, compare_with_base
from stratalign.reporting.comparisons.contrasts import Contrast, Measure
from stratalign.reporting.comparisons.families import ALL_BUT_OVERALL, CATEGORIES, NULL_CONTROLS, corrected

OVERALL = "overall"
REST = "all but Overall"


@dataclass(frozen=True)
class Correlations:
    """Pearson correlations of the judged dimensions over all answers of all runs, each centred within its condition.

    `matrix` is in the order of `dimensions`; None where one of the two does not vary. `mean` is over the pairs.
    """

    dimensions: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...]
    mean: float | None


@dataclass(frozen=True)
class Categories:
    """The judged protocol's categories, by name, with the dimensions that each averages; their contrasts with base over
    all seeds, corrected as a family of their own; and the mean of all dimensions but Overall likewise, with its
    correlation to Overall within conditions (None where the judge scored no Overall)."""

    members: dict[str, tuple[str, ...]]
    comparisons: tuple[Contrast, ...]
    all_but_overall: tuple[Contrast, ...]
    correlation_to_overall: float | None
    correlations: Correlations | None


def categories(
    table: ScoreTable, order: Sequence[str], measures: Sequence[Measure], apart: Mapping[str, str]
) -> Categories:
    """The categories of one protocol's `measures`; `apart` has the family of each condition that is no candidate.

    A category is left out where its dimensions have no better direction or not the same one. A row's mean is over those
    dimensions of the category that its prompt was scored on, and missing where any of them is.
    """
    members: dict[str, list[Measure]] = defaultdict(list)
    for measure in measures:
        if measure.category is not None:
            members[measure.category].append(measure)
    usable = {name: group for name, group in members.items() if _direction(group)}
    overall = next((one for one in measures if one.dimension.casefold() == OVERALL), None)
    rest = [one for one in measures if one is not overall and one.better] if overall is not None else []
    whole = {REST: rest} if len(rest) > 1 and _direction(rest) else {}
    return Categories(
        members={name: tuple(one.dimension for one in group) for name, group in usable.items()},
        comparisons=_contrasts(table, order, usable, apart, CATEGORIES),
        all_but_overall=_contrasts(table, order, whole, apart, ALL_BUT_OVERALL),
        correlation_to_overall=_to_overall(table, overall, rest) if overall is not None and whole else None,
        correlations=_correlations(table, measures) if len(measures) > 1 else None,
    )


def _direction(group: Sequence[Measure]) -> str | None:
    directions = {one.better for one in group}
    return directions.pop() if len(directions) == 1 else None


def _contrasts(
    table: ScoreTable,
    order: Sequence[str],
    groups: Mapping[str, Sequence[Measure]],
    apart: Mapping[str, str],
    family: str,
) -> tuple[Contrast, ...]:
    if not groups:
        return ()
    first = next(iter(groups.values()))[0]
    means = {
        condition: {row: _means(cell, groups) for row, cell in cells.items()}
        for condition, cells in table.cells.get(first.key[:2], {}).items()
    }
    derived: dict[tuple[str, str], dict[str, Cells]] = {first.key[:2]: means}
    named = [
        Measure(*first.key[:2], name, group[0].unit, _direction(group), f"mean of {len(group)}", name)
        for name, group in groups.items()
    ]
    nulls = [condition for condition, family_of in apart.items() if family_of == NULL_CONTROLS]
    compared = compare_with_base(ScoreTable(derived, table.cluster), order, named, nulls)
    stacked = [one for one in compared if one.seed is None]
    return tuple(corrected(stacked, lambda one: ", ".join(filter(None, (family, apart.get(one.condition))))))


def _means(cell: Mapping[str, float], groups: Mapping[str, Sequence[Measure]]) -> dict[str, float]:
    """The row's mean of each group that it has a dimension of; NaN where one of them has no score."""
    scored = {
        name: [cell[one.dimension] for one in group if one.dimension in cell]
        for name, group in groups.items()
    }
    return {name: fmean(values) for name, values in scored.items() if values}


def _scores(table: ScoreTable, measures: Sequence[Measure]) -> tuple[list[list[float]], list[str]]:
    """All answers' scores [rows, measures] in a fixed order, and the condition of each row."""
    by_condition = table.cells.get(measures[0].key[:2], {})
    values, conditions = [], []
    for condition in sorted(by_condition):
        for _, cell in sorted(by_condition[condition].items()):
            values.append([cell.get(one.dimension, math.nan) for one in measures])
            conditions.append(condition)
    return values, conditions


def _to_overall(table: ScoreTable, overall: Measure, rest: Sequence[Measure]) -> float | None:
    values, conditions = _scores(table, [overall, *rest])
    if not values:
        return None
    pairs = [[row[0], fmean(row[1:])] for row in values]
    return stats.correlations(np.array(pairs), conditions)[0][1]


def _correlations(table: ScoreTable, measures: Sequence[Measure]) -> Correlations | None:
    values, conditions = _scores(table, measures)
    if not values:
        return None
    matrix = stats.correlations(np.array(values), conditions)
    known = [one for at, row in enumerate(matrix) for one in row[at + 1 :] if one is not None]
    return Correlations(
        tuple(one.dimension for one in measures),
        tuple(tuple(row) for row in matrix),
        fmean(known) if known else None,
    )
