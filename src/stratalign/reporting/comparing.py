"""Pairs the scores of two conditions and compares them: each with base, and each with each other. Pure.

Rows are paired by prompt, seed and repeat. Where the base was answered under one seed only, that one answer
serves the conditions of every seed. Knows nothing of families of tests (`families`), files or pages.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from stratalign import stats
from stratalign.records import Score
from stratalign.reporting.contrasts import BASE, LEVEL, RESAMPLES, SEED, Contrast, Measure


class _Row(NamedTuple):
    prompt_id: str
    seed: int
    repeat: int


_Cells = dict[_Row, dict[str, float]]
"""Per row, the score of every dimension that has a row in the table; NaN where its state is not ok."""


class ScoreTable(NamedTuple):
    """Cells by (judge, protocol) and condition, and the cluster of each prompt."""

    cells: Mapping[tuple[str, str], Mapping[str, _Cells]]
    cluster: Mapping[str, str]


class _Side(NamedTuple):
    """What one column compares: two sets of cells on one measure, and what the contrast is called."""

    condition: str
    against: str
    seed: int | None
    measure: Measure
    first: _Cells
    second: _Cells


def score_table(scores: Iterable[Score], conditions: Mapping[str, str]) -> ScoreTable:
    """The long table by condition; `conditions` has the condition of each run."""
    cells: dict[tuple[str, str], dict[str, _Cells]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    cluster: dict[str, str] = {}
    for score in scores:
        row = _Row(score.prompt_id, score.seed, score.repeat)
        cells[score.judge, score.protocol][conditions[score.run]][row][score.dimension] = valid(score)
        cluster[score.prompt_id] = score.cluster
    return ScoreTable(cells, cluster)


def compare_with_base(table: ScoreTable, order: Sequence[str], measures: Sequence[Measure]) -> list[Contrast]:
    """Every condition against base on every measure: all seeds stacked, then each seed where there are several.

    Args:
        table: the scores.
        order: the conditions, in the order to report them.
        measures: the measures, in the order to report them.
    """
    found: list[Contrast] = []
    for condition in order:
        for protocol, group in _grouped(measures).items():
            by_condition = table.cells.get(protocol, {})
            if condition == BASE or condition not in by_condition or BASE not in by_condition:
                continue
            rows = by_condition[condition]
            seeds = sorted({row.seed for row in rows})
            for seed in [None, *seeds] if len(seeds) > 1 else [None]:
                chosen = {row: cell for row, cell in rows.items() if seed is None or row.seed == seed}
                base = _matched(by_condition[BASE], {row.seed for row in chosen})
                sides = [_Side(condition, BASE, seed, measure, chosen, base) for measure in group]
                found += _compared(sides, table.cluster)
    return found


def compare_pairs(table: ScoreTable, order: Sequence[str], measures: Sequence[Measure]) -> list[Contrast]:
    """Every two conditions of `order` on every measure, over the seeds that both were answered under, stacked.

    The earlier one in `order` is the contrast's condition, the later one is `against`; base takes no part.
    """
    found: list[Contrast] = []
    others = [condition for condition in order if condition != BASE]
    for measure in measures:
        by_condition = table.cells.get(measure.key[:2], {})
        for at, condition in enumerate(others):
            sides = []
            for against in others[at + 1 :]:
                first, second = by_condition.get(condition, {}), by_condition.get(against, {})
                shared = {row.seed for row in first} & {row.seed for row in second}
                if shared:
                    chosen, other = (
                        {row: cell for row, cell in side.items() if row.seed in shared}
                        for side in (first, second)
                    )
                    sides.append(_Side(condition, against, None, measure, chosen, other))
            found += _compared(sides, table.cluster)
    return found


def valid(score: Score) -> float:
    """The value of a score, or NaN where it is not a valid one."""
    ok = score.state == "ok" and score.value is not None and math.isfinite(score.value)
    return score.value if ok and score.value is not None else math.nan


def _grouped(measures: Sequence[Measure]) -> dict[tuple[str, str], list[Measure]]:
    """Measures by judge and protocol; those of one judge share their resamples."""
    groups: dict[tuple[str, str], list[Measure]] = defaultdict(list)
    for measure in measures:
        groups[measure.judge, measure.protocol].append(measure)
    return groups


def _matched(base: _Cells, seeds: set[int]) -> _Cells:
    """The base's rows for conditions of these seeds: its own rows of each seed, or of its only seed for all."""
    base_seeds = {row.seed for row in base}
    return {
        row._replace(seed=seed): cell
        for row, cell in base.items()
        for seed in (seeds if len(base_seeds) == 1 else seeds & {row.seed})
    }


def _compared(sides: Sequence[_Side], cluster: Mapping[str, str]) -> list[Contrast]:
    """One contrast for each side that has rows; all share their resamples and flips."""
    if not sides:
        return []
    rows = sorted({row for side in sides for row in (*side.first, *side.second)})
    a, b = (
        np.array([[cells.get(row, {}).get(name, math.nan) for cells, name in columns] for row in rows])
        for columns in (
            [(side.first, side.measure.dimension) for side in sides],
            [(side.second, side.measure.dimension) for side in sides],
        )
    )
    names = [cluster[row.prompt_id] for row in rows]
    compared = stats.compare_dimensions(a, b, names, resamples=RESAMPLES, seed=SEED, level=LEVEL)
    listed = [
        sum(
            side.measure.dimension in side.first.get(row, {})
            or side.measure.dimension in side.second.get(row, {})
            for row in rows
        )
        for side in sides
    ]
    return [
        _contrast(side, comparison, rows_listed - comparison.n)
        for side, comparison, rows_listed in zip(sides, compared, listed, strict=True)
        if rows_listed
    ]


def _contrast(side: _Side, comparison: stats.Comparison, missing: int) -> Contrast:
    measure = side.measure
    return Contrast(
        condition=side.condition,
        seed=side.seed,
        against=side.against,
        judge=measure.judge,
        protocol=measure.protocol,
        dimension=measure.dimension,
        unit=measure.unit,
        better=measure.better,
        n=comparison.n,
        clusters=comparison.clusters,
        missing=missing,
        wins=comparison.wins,
        ties=comparison.ties,
        losses=comparison.losses,
        net_win_rate=comparison.net_win_rate,
        low=comparison.low,
        high=comparison.high,
        standard_error=comparison.standard_error,
        smallest_detectable=stats.smallest_detectable(comparison),
        p_value=comparison.p_value,
        p_holm=None,
        family=None,
        smallest_detectable_holm=None,
        mean_difference=comparison.mean_difference,
        difference_low=comparison.difference_low,
        difference_high=comparison.difference_high,
        verdict=in_words(stats.verdict(comparison), measure.better),
    )


def in_words(verdict: stats.Verdict, better: str | None) -> str:
    """Turn "higher" and "lower" into "better" and "worse" where the measure says which is which."""
    if verdict == "cannot tell" or better is None:
        return verdict
    return "better" if verdict == better else "worse"
