"""Pairs the scores of every condition with the base's, and compares them. Pure; knows nothing of files or pages.

Rows are paired by prompt, seed and repeat. Where the base was answered under one seed only, that one answer
serves the conditions of every seed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stratalign import stats
from stratalign.records import Score

BASE = "base"
RESAMPLES, SEED, LEVEL = 10_000, 0, 0.95


class Measure(NamedTuple):
    """One dimension of one judge's protocol: what a score measures. `better` is None where neither direction is."""

    judge: str
    protocol: str
    dimension: str
    unit: str
    better: str | None
    about: str


@dataclass(frozen=True)
class Contrast:
    """One condition against `against` on one measure. A win is a row on which the condition scores higher.

    `seed` is None where the rows of all seeds are stacked. `missing` counts the pairs that lack a valid score on
    either side. `verdict` is "better" or "worse" where the measure has a direction, else "higher" or "lower", or
    "cannot tell". Bounds are of the 95 % percentile interval; net win rates lie in [-1, 1].
    """

    condition: str
    seed: int | None
    against: str
    judge: str
    protocol: str
    dimension: str
    unit: str
    better: str | None
    n: int
    clusters: int
    missing: int
    wins: int
    ties: int
    losses: int
    net_win_rate: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    smallest_detectable: float | None
    mean_difference: float | None
    difference_low: float | None
    difference_high: float | None
    verdict: str


class _Row(NamedTuple):
    prompt_id: str
    seed: int
    repeat: int


_Cells = dict[_Row, dict[str, float]]
"""Per row, the score of every dimension that has a row in the table; NaN where its state is not ok."""


def compare_with_base(
    scores: Iterable[Score], conditions: Mapping[str, str], order: Sequence[str], measures: Sequence[Measure]
) -> list[Contrast]:
    """Every condition against base on every measure: all seeds stacked, then each seed where there are several.

    Args:
        scores: the long table.
        conditions: the condition of each run.
        order: the conditions, in the order to report them.
        measures: the measures, in the order to report them.
    """
    table: dict[tuple[str, str], dict[str, _Cells]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    cluster: dict[str, str] = {}
    for score in scores:
        cells = table[score.judge, score.protocol][conditions[score.run]]
        cells[_Row(score.prompt_id, score.seed, score.repeat)][score.dimension] = valid(score)
        cluster[score.prompt_id] = score.cluster
    found = []
    for condition in order:
        for (judge, protocol), group in _grouped(measures).items():
            by_condition = table.get((judge, protocol), {})
            if condition == BASE or condition not in by_condition or BASE not in by_condition:
                continue
            rows, base = by_condition[condition], by_condition[BASE]
            seeds = sorted({row.seed for row in rows})
            for seed in [None, *seeds] if len(seeds) > 1 else [None]:
                chosen = {row: cell for row, cell in rows.items() if seed is None or row.seed == seed}
                found += _against_base(condition, seed, chosen, base, cluster, group)
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


def _against_base(
    condition: str,
    seed: int | None,
    cells: _Cells,
    base: _Cells,
    cluster: Mapping[str, str],
    group: list[Measure],
) -> list[Contrast]:
    """Contrasts of one condition's rows on every measure of one judge."""
    seeds = {row.seed for row in cells}
    base_seeds = {row.seed for row in base}
    matched = {
        row._replace(seed=seed_of_pair): cell
        for row, cell in base.items()
        for seed_of_pair in (seeds if len(base_seeds) == 1 else seeds & {row.seed})
    }
    rows = sorted(cells.keys() | matched.keys())
    names = [measure.dimension for measure in group]
    a, b = (
        np.array([[side.get(row, {}).get(name, math.nan) for name in names] for row in rows]).reshape(
            -1, len(names)
        )
        for side in (cells, matched)
    )
    compared = stats.compare_dimensions(
        a, b, [cluster[row.prompt_id] for row in rows], resamples=RESAMPLES, seed=SEED, level=LEVEL
    )
    listed = [
        sum(name in cells.get(row, {}) or name in matched.get(row, {}) for row in rows) for name in names
    ]
    return [
        _contrast(condition, seed, measure, comparison, rows_listed - comparison.n)
        for measure, comparison, rows_listed in zip(group, compared, listed, strict=True)
        if rows_listed
    ]


def _contrast(
    condition: str, seed: int | None, measure: Measure, comparison: stats.Comparison, missing: int
) -> Contrast:
    return Contrast(
        condition=condition,
        seed=seed,
        against=BASE,
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
        mean_difference=comparison.mean_difference,
        difference_low=comparison.difference_low,
        difference_high=comparison.difference_high,
        verdict=_in_words(stats.verdict(comparison), measure.better),
    )


def _in_words(verdict: stats.Verdict, better: str | None) -> str:
    """Turn "higher" and "lower" into "better" and "worse" where the measure says which is which."""
    if verdict == "cannot tell" or better is None:
        return verdict
    return "better" if verdict == better else "worse"
