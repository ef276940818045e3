"""Which share of full's gain each condition recovers on one measure, and how that lies beside random draws. Pure.

A gain is the mean difference of the scores to base's, turned so that above 0 is better, over the rows of all seeds
stacked. Share and interval are of `stats.mean_ratios`: condition, full and base on the same rows, one clustered
bootstrap for both gains. Knows nothing of windows, selectors or pages: they say which conditions and which draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stratalign import stats
from stratalign.reporting.comparisons.comparing import (
    Cells,
    Floats,
    Row,
    ScoreTable,
    matched_base,
    valid_cells,
)
from stratalign.reporting.comparisons.contrasts import ALPHA, BASE, LEVEL, RESAMPLES, SEED, Measure

Standing = Literal["above", "below", "cannot tell"]


@dataclass(frozen=True)
class Share:
    """One condition. `gain` is in the measure's unit with its bounds, `share` and its bounds without; these three are
    None where full's own gain cannot be told from 0, or is a loss.

    `standing` says whether the condition gains more than *every* random draw ("above"), less than every one, or
    neither for certain: None without draws, and for the draws themselves. `p_value` is that of `stats.beside_all`, of
    gains, in which full's cancels out; `p_holm` is corrected over the conditions.
    """

    condition: str
    n: int
    clusters: int
    missing: int
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    share: float | None
    low: float | None
    high: float | None
    p_value: float | None = None
    p_holm: float | None = None
    standing: Standing | None = None


@dataclass(frozen=True)
class Band:
    """The random draws: each one's share, the lowest and the highest of them, and their mean with its interval, which
    is over prompts and not over other draws. Numbers are None where there are no shares."""

    draws: tuple[Share, ...]
    lowest: float | None
    highest: float | None
    mean: float | None
    mean_low: float | None
    mean_high: float | None


@dataclass(frozen=True)
class Shares:
    """Shares on one measure. `why_none` says in a sentence why there are no shares, None where there are; gains stand
    either way. `full` is the condition whose gain is the whole, with its gain on the rows that it shares with base."""

    judge: str
    protocol: str
    dimension: str
    unit: str
    full: str
    full_gain: float | None
    full_low: float | None
    full_high: float | None
    why_none: str | None
    conditions: tuple[Share, ...]
    band: Band | None


def one_more_draw(count: int) -> str:
    """What certainty beside `count` random draws leaves open, in a clause."""
    return f"one more random draw would lie above all {count} of these with a chance of 1 in {count + 1}"


def shares_of_full(
    table: ScoreTable, measure: Measure, full: str, conditions: Sequence[str], draws: Sequence[str] = ()
) -> Shares:
    """The share of full's gain of every condition and every random draw on one measure.

    Args:
        table: the scores, which have base and, if there is to be a share, `full`.
        measure: one with a better direction.
        full: the condition whose gain is the whole.
        conditions: those whose share is asked for, in the order to report them; without scores they are left out.
        draws: conditions that train as much, but at random places; without scores they are left out.

    Raises:
        ValueError: neither direction of the measure is better.
    """
    if measure.better is None:
        raise ValueError(f"{measure.dimension} has no better direction, so that nothing on it is a gain.")
    by_condition = table.cells.get(measure.key[:2], {})
    there = [name for name in dict.fromkeys([*conditions, *draws]) if name in by_condition]
    rows = sorted({row for name in (full, *there) for row in by_condition.get(name, ())})
    clusters, seeds = [table.cluster[row.prompt_id] for row in rows], [row.seed for row in rows]
    gains = {name: _gains(by_condition, name, measure, rows) for name in (full, *there)}
    (whole,) = _ratios([gains[full]], gains[full], clusters, seeds)
    why = _why_none(whole, full, measure.dimension)
    found = {
        name: _share(name, one, why)
        for name, one in zip(
            there, _ratios([gains[name] for name in there], gains[full], clusters, seeds), strict=True
        )
    }
    drawn = [name for name in draws if name in found]
    asked = [name for name in conditions if name in found]
    band = None
    if drawn:
        mean = np.mean([gains[name] for name in drawn], axis=0)
        (ratio,) = _ratios([mean], gains[full], clusters, seeds)
        shares = [share for name in drawn if (share := found[name].share) is not None]
        together = _share("", ratio, why)
        band = Band(
            tuple(found[name] for name in drawn),
            min(shares, default=None),
            max(shares, default=None),
            together.share,
            together.low,
            together.high,
        )
        others = np.stack([gains[name] for name in drawn], axis=1)
        beside = [
            stats.beside_all(gains[name], others, clusters, seeds=seeds, draws=RESAMPLES, seed=SEED)
            for name in asked
        ]
        corrected = stats.holm([one.p_value for one in beside])
        for name, one, p_holm in zip(asked, beside, corrected, strict=True):
            standing: Standing = "cannot tell"
            if one.side != "neither" and p_holm is not None and p_holm <= ALPHA:
                standing = one.side
            found[name] = replace(found[name], p_value=one.p_value, p_holm=p_holm, standing=standing)
    return Shares(
        judge=measure.judge,
        protocol=measure.protocol,
        dimension=measure.dimension,
        unit=measure.unit,
        full=full,
        full_gain=whole.denominator,
        full_low=whole.denominator_low,
        full_high=whole.denominator_high,
        why_none=why,
        conditions=tuple(found[name] for name in asked),
        band=band,
    )


def _gains(by_condition: Mapping[str, Cells], name: str, measure: Measure, rows: Sequence[Row]) -> Floats:
    """Score minus base's, turned so that above 0 is better [rows]; NaN where either is missing."""
    own = by_condition.get(name, {})
    base = matched_base(by_condition.get(BASE, {}), {row.seed for row in own})
    sides = [valid_cells(cells, measure.dimension, rows) for cells in (own, base)]
    gain: Floats = (sides[0] - sides[1]) * (-1.0 if measure.better == "lower" else 1.0)
    return gain


def _ratios(
    gains: Sequence[Floats], whole: Floats, clusters: Sequence[str], seeds: Sequence[int]
) -> list[stats.MeanRatio]:
    if not gains:
        return []
    return stats.mean_ratios(
        np.stack(gains, axis=1), whole, clusters, seeds=seeds, resamples=RESAMPLES, seed=SEED, level=LEVEL
    )


def _why_none(whole: stats.MeanRatio, full: str, dimension: str) -> str | None:
    if whole.n == 0:
        return f"No answers of {full} and base have been scored on {dimension}, so that there is no gain to share."
    if whole.ratio is None:
        return (
            f"Cannot tell: {full}'s own gain on {dimension} cannot be told from 0 with this sample, so that no share "
            "of it is given."
        )
    if whole.denominator is not None and whole.denominator < 0:
        return f"{full} does worse than base on {dimension}: there is no gain to share."
    return None


def _share(name: str, one: stats.MeanRatio, why: str | None) -> Share:
    share, low, high = (one.ratio, one.low, one.high) if why is None else (None, None, None)
    return Share(
        name,
        one.n,
        one.clusters,
        one.missing,
        one.numerator,
        one.numerator_low,
        one.numerator_high,
        share,
        low,
        high,
    )
