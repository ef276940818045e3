"""The paper's two tables of scores from these studies: the mean of each strategy, and the ranks of all. Pure.

Tables 2 and 3 of Hierarchical Alignment, version 2. Their pooled means hide that models differ, so each model's own
stand beside them, and they are described, not tested: tests are in `comparisons`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stratalign.reporting.comparisons.contrasts import Measure
from stratalign.reporting.comparisons.grids import Grid, Spread, spread
from stratalign.reporting.findings.evidence import objective_measures
from stratalign.reporting.results import Results

OVERALL, TOP = "overall", 10


class Judging(NamedTuple):
    """One study's results with the grid that they came from; `model` is how it is called beside others.

    `prompts` has a digest of each prompt's text, so that equal ids in two studies are not taken for equal prompts.
    """

    model: str
    results: Results
    grid: Grid
    prompts: Mapping[str, str]


class StrategyRow(NamedTuple):
    """One condition: its scores over all studies, each study's own, and the mean and sd over dimension means."""

    condition: str
    pooled: Spread | None
    each: tuple[Spread | None, ...]
    over_dimensions: Spread | None


class RankRow(NamedTuple):
    rank: int
    model: str
    condition: str
    spread: Spread


def primary(results: Results) -> Measure | None:
    """What the tables are of: the protocol's overall score, else the objective, else the first with a direction."""
    measures = [one for one in results.measures if one.key[:2] == results.judged]
    overall = [one for one in measures if one.dimension.casefold() == OVERALL]
    meant = objective_measures(measures, results.objective)
    directed = [one for one in measures if one.better]
    return next(iter([*overall, *meant, *directed, *measures]), None)


def conditions_of(studies: Sequence[Judging]) -> list[str]:
    """Every condition of any study, in the order that the studies have them in."""
    return list(dict.fromkeys(run.condition for one in studies for run in one.results.runs))


def strategies(studies: Sequence[Judging], over: bool = True) -> list[StrategyRow]:
    """One row per condition (Table 2). The studies share a protocol; pooled means of several are of all their rows.
    `over` false leaves out what is over dimensions."""
    rows = []
    for condition in conditions_of(studies):
        each, parts = [], []
        for one in studies:
            measure = primary(one.results)
            values = one.grid.of(_runs(one, condition), measure) if measure else np.empty(0)
            each.append(spread(values))
            parts.append(values)
        dimensions = _over(studies, condition) if over else None
        rows.append(StrategyRow(condition, spread(np.concatenate(parts)), tuple(each), dimensions))
    return [row for row in rows if row.pooled]


def ranks(studies: Sequence[Judging], top: int | None = TOP) -> list[RankRow]:
    """The best `top` pairs of model and condition by mean score, as Table 3 has them; ties share a rank."""
    measures = [measure for one in studies if (measure := primary(one.results))]
    sign = -1.0 if measures and measures[0].better == "lower" else 1.0
    found = [
        (sign * its.mean, row.condition, one.model, its)
        for row in strategies(studies, over=False)
        for one, its in zip(studies, row.each, strict=True)
        if its
    ]
    found.sort(key=lambda item: -item[0])
    return [
        RankRow(1 + sum(other > score for other, *_ in found), model, condition, its)
        for score, condition, model, its in found
    ][:top]


def one_unit(studies: Sequence[Judging]) -> bool:
    """Whether all dimensions are in one unit, so that a mean over them means something."""
    return len({measure.unit for one in studies for measure in one.grid.measures}) == 1


def _runs(one: Judging, condition: str) -> list[str]:
    return [run.run for run in one.results.runs if run.condition == condition]


def _over(studies: Sequence[Judging], condition: str) -> Spread | None:
    """Over the means of every dimension but an overall score, of every study."""
    if not one_unit(studies):
        return None
    means = []
    for one in studies:
        for measure in one.grid.measures:
            if measure.dimension.casefold() != OVERALL and measure.better:
                found = spread(one.grid.of(_runs(one, condition), measure))
                means += [found.mean] if found else []
    return spread(np.array(means)) if len(means) > 1 else None
