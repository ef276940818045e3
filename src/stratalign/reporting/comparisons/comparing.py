"""Pairs the scores of two conditions and compares them: each with base, and each with each other. Pure.

Rows are paired by prompt, seed and repeat. Where the base was answered under one seed only, that one answer
serves the conditions of every seed. Knows nothing of families of tests (`families`), files or pages.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stratalign import stats
from stratalign.records import Score
from stratalign.reporting.comparisons.contrasts import BASE, LEVEL, RESAMPLES, SEED, Contrast, Measure

Floats = NDArray[np.float64]

MISSING_SHARE = 0.01
"""With more missing rows than this, a contrast says what they could have changed at most."""


class Row(NamedTuple):
    """What two conditions are paired by."""

    prompt_id: str
    seed: int
    repeat: int


Cells = dict[Row, dict[str, float]]
"""Per row, the score of every dimension that has a row in the table; NaN where its state is not ok."""


class ScoreTable(NamedTuple):
    """Cells by (judge, protocol) and condition, and the cluster of each prompt."""

    cells: Mapping[tuple[str, str], Mapping[str, Cells]]
    cluster: Mapping[str, str]


class PairedScores(NamedTuple):
    """Two conditions' valid scores of the same rows [n], with the prompt, the cluster and the seed of each row."""

    prompt_ids: tuple[str, ...]
    clusters: tuple[str, ...]
    seeds: tuple[int, ...]
    first: NDArray[np.float64]
    second: NDArray[np.float64]


class Side(NamedTuple):
    """What one column compares: two sets of cells on one measure, and what the contrast is called."""

    condition: str
    against: str
    seed: int | None
    measure: Measure
    first: Cells
    second: Cells


class Aligned(NamedTuple):
    """The scores of some sides on the rows that any of them has: `a` and `b` [rows, sides], NaN where missing."""

    rows: list[Row]
    a: Floats
    b: Floats
    clusters: list[str]

    @property
    def seeds(self) -> list[int]:
        """The training seed of each row."""
        return [row.seed for row in self.rows]


def score_table(scores: Iterable[Score], conditions: Mapping[str, str]) -> ScoreTable:
    """The long table by condition; `conditions` has the condition of each run."""
    cells: dict[tuple[str, str], dict[str, Cells]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    cluster: dict[str, str] = {}
    for score in scores:
        row = Row(score.prompt_id, score.seed, score.repeat)
        cells[score.judge, score.protocol][conditions[score.run]][row][score.dimension] = valid(score)
        cluster[score.prompt_id] = score.cluster
    return ScoreTable(cells, cluster)


def compare_with_base(
    table: ScoreTable, order: Sequence[str], measures: Sequence[Measure], nulls: Collection[str] = ()
) -> list[Contrast]:
    """Every condition against base on every measure: all seeds stacked, then each seed where there are several.

    Args:
        table: the scores.
        order: the conditions, in the order to report them.
        measures: the measures, in the order to report them.
        nulls: controls that should move nothing. Their seeds are taken as given however many there are: a test over
            seeds sees less, and a control that fails must be seen.
    """
    return [
        found
        for sides in sides_with_base(table, order, measures, by_seed=True)
        for found in _compared(sides, table.cluster, over_seeds=sides[0].condition not in nulls)
    ]


def compare_pairs(
    table: ScoreTable, order: Sequence[str], measures: Sequence[Measure], controls: Collection[str] = ()
) -> list[Contrast]:
    """Every two conditions of `order` on every measure, over the seeds that both were answered under, stacked.

    The earlier one in `order` is the contrast's condition, the later one is `against`; base takes no part. Two
    `controls` are not held against each other: nobody asks which of two draws does better.
    """
    others = [condition for condition in order if condition != BASE]
    found: list[Contrast] = []
    for measure in measures:
        for at, condition in enumerate(others):
            pairs = [
                (condition, against)
                for against in others[at + 1 :]
                if not (condition in controls and against in controls)
            ]
            found += _compared(sides_of_pairs(table, pairs, measure), table.cluster)
    return found


def paired_scores(table: ScoreTable, one: Contrast, measure: Measure) -> PairedScores:
    """The rows that `one`, a contrast over all seeds on `measure`, compares."""
    if one.against == BASE:
        sides = [side for group in sides_with_base(table, [one.condition], [measure]) for side in group]
    else:
        sides = sides_of_pairs(table, [(one.condition, one.against)], measure)
    rows, a, b, clusters = aligned(sides, table.cluster)
    kept = np.flatnonzero(~np.isnan(a[:, 0] - b[:, 0]))
    return PairedScores(
        tuple(rows[at].prompt_id for at in kept),
        tuple(clusters[at] for at in kept),
        tuple(rows[at].seed for at in kept),
        a[kept, 0],
        b[kept, 0],
    )


def sides_with_base(
    table: ScoreTable, order: Sequence[str], measures: Sequence[Measure], by_seed: bool = False
) -> Iterator[list[Side]]:
    """The sides of every condition against base, in lists that share their rows: all measures of one protocol.

    All seeds are stacked; `by_seed` adds a list for each seed where a condition has several.
    """
    for condition in order:
        for protocol, group in _grouped(measures).items():
            by_condition = table.cells.get(protocol, {})
            if condition == BASE or condition not in by_condition or BASE not in by_condition:
                continue
            rows = by_condition[condition]
            seeds = sorted({row.seed for row in rows})
            for seed in [None, *seeds] if by_seed and len(seeds) > 1 else [None]:
                chosen = {row: cell for row, cell in rows.items() if seed is None or row.seed == seed}
                base = matched_base(by_condition[BASE], {row.seed for row in chosen})
                yield [Side(condition, BASE, seed, measure, chosen, base) for measure in group]


def sides_of_pairs(table: ScoreTable, pairs: Iterable[tuple[str, str]], measure: Measure) -> list[Side]:
    """The sides of pairs of conditions on one measure, over the seeds that both were answered under, stacked."""
    by_condition = table.cells.get(measure.key[:2], {})
    sides = []
    for condition, against in pairs:
        first, second = by_condition.get(condition, {}), by_condition.get(against, {})
        shared = {row.seed for row in first} & {row.seed for row in second}
        if shared:
            chosen, other = (
                {row: cell for row, cell in side.items() if row.seed in shared} for side in (first, second)
            )
            sides.append(Side(condition, against, None, measure, chosen, other))
    return sides


def aligned(sides: Sequence[Side], cluster: Mapping[str, str]) -> Aligned:
    """The scores of `sides` on common rows, in sorted order."""
    rows = sorted({row for side in sides for row in (*side.first, *side.second)})
    a, b = (
        np.stack([valid_cells(cells, dimension, rows) for cells, dimension in columns], axis=1)
        for columns in (
            [(side.first, side.measure.dimension) for side in sides],
            [(side.second, side.measure.dimension) for side in sides],
        )
    )
    return Aligned(rows, a, b, [cluster[row.prompt_id] for row in rows])


def valid_cells(cells: Cells, dimension: str, rows: Sequence[Row]) -> Floats:
    """The scores of one dimension [rows], NaN where missing."""
    return np.array([cells.get(row, {}).get(dimension, math.nan) for row in rows], dtype=np.float64)


def has_row(side: Side, rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Which `rows` the table lists for the measure [rows], on either side, valid or not."""
    dimension = side.measure.dimension
    return np.array(
        [dimension in side.first.get(row, ()) or dimension in side.second.get(row, ()) for row in rows],
        dtype=np.bool_,
    )


def matched_base(base: Cells, seeds: set[int]) -> Cells:
    """The base's rows for conditions of these seeds: its own rows of each seed, or of its only seed for all."""
    base_seeds = {row.seed for row in base}
    return {
        row._replace(seed=seed): cell
        for row, cell in base.items()
        for seed in (seeds if len(base_seeds) == 1 else seeds & {row.seed})
    }


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


def _compared(
    sides: Sequence[Side], cluster: Mapping[str, str], *, over_seeds: bool = True
) -> list[Contrast]:
    """One contrast for each side that has rows; all share their resamples and flips. With `over_seeds`, three seeds or
    more are a random level."""
    if not sides:
        return []
    found = aligned(sides, cluster)
    rows, a, b, names = found
    seeds = found.seeds if over_seeds else None
    compared = stats.compare_dimensions(a, b, names, seeds=seeds, resamples=RESAMPLES, seed=SEED, level=LEVEL)
    tested = stats.difference_tests(a, b, names, seeds=seeds, draws=RESAMPLES, seed=SEED)
    listed = [int(has_row(side, rows).sum()) for side in sides]
    return [
        _contrast(side, comparison, tests, rows_listed - comparison.n)
        for side, comparison, tests, rows_listed in zip(sides, compared, tested, listed, strict=True)
        if rows_listed
    ]


def _contrast(
    side: Side, comparison: stats.Comparison, tests: stats.DifferenceTests, missing: int
) -> Contrast:
    measure = side.measure
    bounds = None
    if missing > MISSING_SHARE * (comparison.n + missing):
        bounds = stats.missing_bounds(comparison.wins, comparison.losses, comparison.n, missing)
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
        wilcoxon_p=tests.wilcoxon_p,
        difference_p=tests.flip_p,
        missing_low=bounds.worst if bounds else None,
        missing_high=bounds.best if bounds else None,
        seeds=len({row.seed for row in side.first}),
        over_seeds=comparison.over_seeds,
        freedom=comparison.freedom,
        seed_error=comparison.seed_error,
    )


def in_words(verdict: stats.Verdict, better: str | None) -> str:
    """Turn "higher" and "lower" into "better" and "worse" where the measure says which is which."""
    if verdict == "cannot tell" or better is None:
        return verdict
    return "better" if verdict == better else "worse"
