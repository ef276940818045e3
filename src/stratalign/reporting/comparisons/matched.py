"""Conditions held against each other at the same KL to base, beside the contrasts after equal steps. Pure.

The arithmetic and its assumption are `stats.matched_gains`; the divergences are the `kl_to_base` that the `text`
protocol measured along each condition's own answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from stratalign import stats
from stratalign.reporting.comparisons.answers import measured
from stratalign.reporting.comparisons.comparing import Floats, Row, ScoreTable, matched_base, valid_cells
from stratalign.reporting.comparisons.contrasts import BASE, LEVEL, RESAMPLES, SEED, Measure
from stratalign.reporting.numbers import interval, plain, signed

KL = "kl_to_base"
ASSUMPTION = (
    "Gains are read at the smaller KL of the two, on the straight line over sqrt(KL) from the base at (0, 0) to what "
    "the condition reached (Gao et al. 2023, arXiv:2210.10760); a curve that rises faster at first would stand higher "
    "there, so whoever went farther is rather understated. Nothing is extrapolated. One comparison at a time."
)


@dataclass(frozen=True)
class Matched:
    """Two conditions' gains over base (net win rates, turned so that above 0 is better) at the same KL to base.

    KLs in nats per answer: what each reached, and `kl`, at which both are read. `difference` is the condition's minus
    the other's there, with its 95 % interval; `verdict` goes by that interval, and is "cannot tell" of a difference
    below 1 / n: smaller than one row's win, it comes of the divergences alone.
    """

    condition: str
    against: str
    judge: str
    protocol: str
    dimension: str
    n: int
    clusters: int
    missing: int
    kl_condition: float | None
    kl_against: float | None
    kl: float | None
    gain_condition: float | None
    gain_against: float | None
    matched_condition: float | None
    matched_against: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str
    words: str


def matched_pairs(
    table: ScoreTable, pairs: Iterable[tuple[str, str]], measures: Sequence[Measure]
) -> tuple[Matched, ...]:
    """Every pair on every measure that has a better direction, over the rows that both and the base have."""
    found = []
    for condition, against in pairs:
        for measure in measures:
            by_condition = table.cells.get(measure.key[:2], {})
            if measure.better is None or not {condition, against, BASE} <= by_condition.keys():
                continue
            rows = sorted(by_condition[condition].keys() & by_condition[against].keys())
            gains = [_gains(table, name, measure, rows) for name in (condition, against)]
            kls = [measured(table, name, KL, rows) for name in (condition, against)]
            # A KL that was sampled can fall below 0; an answer's cannot be told from 0 then.
            kls = [np.where(kl < 0, 0.0, kl) for kl in kls]
            reached = stats.matched_gains(
                gains[0], kls[0], gains[1], kls[1], [table.cluster[row.prompt_id] for row in rows],
                seeds=[row.seed for row in rows], resamples=RESAMPLES, seed=SEED, level=LEVEL,
            )  # fmt: skip
            if reached.n:
                found.append(_result(condition, against, measure, reached))
    return tuple(found)


def _gains(table: ScoreTable, condition: str, measure: Measure, rows: Sequence[Row]) -> Floats:
    """The sign of each row's difference from base, turned so that 1 is better."""
    by_condition = table.cells[measure.key[:2]]
    base = matched_base(by_condition[BASE], {row.seed for row in rows})
    own, other = (valid_cells(cells, measure.dimension, rows) for cells in (by_condition[condition], base))
    return np.sign(own - other) * (-1 if measure.better == "lower" else 1)


def _result(condition: str, against: str, measure: Measure, found: stats.MatchedGains) -> Matched:
    verdict = "cannot tell"
    sized = found.difference is not None and abs(found.difference) >= 1 / found.n
    enough = 2 * 0.5**found.clusters <= 1 - found.level
    if sized and enough and found.low is not None and found.high is not None:
        verdict = "better" if found.low > 0 else "worse" if found.high < 0 else verdict
    return Matched(
        condition=condition,
        against=against,
        judge=measure.judge,
        protocol=measure.protocol,
        dimension=measure.dimension,
        n=found.n,
        clusters=found.clusters,
        missing=found.missing,
        kl_condition=found.kl_a,
        kl_against=found.kl_b,
        kl=found.kl,
        gain_condition=found.gain_a,
        gain_against=found.gain_b,
        matched_condition=found.matched_a,
        matched_against=found.matched_b,
        difference=found.difference,
        low=found.low,
        high=found.high,
        verdict=verdict,
        words=_words(condition, against, measure.dimension, found, verdict),
    )


def _words(condition: str, against: str, dimension: str, found: stats.MatchedGains, verdict: str) -> str:
    if found.kl is None:
        still = condition if found.kl_a == 0 else against
        return (
            f"{condition} and {against} cannot be matched on {dimension}: {still} did not move from the base."
        )
    gains = f"{signed(found.matched_a, 2)} against {signed(found.matched_b, 2)}"
    size = f"{gains}, difference {signed(found.difference, 2)} {interval(found.low, found.high, 2)}"
    told = f"{condition} is {verdict} than {against}" if verdict != "cannot tell" else (
        f"this sample cannot tell {condition} from {against}"
    )  # fmt: skip
    return f"At the same KL to base ({plain(found.kl, 2)} nats per answer) {told} on {dimension} ({size})."
