"""Training seeds as a level: how much one seed differs from the next, and what another one would give. Pure.

From three seeds on the contrasts with base are for other seeds as well (`stats.uncertainty`); below, for the seeds at
hand. The intervals here are always for other seeds (`stats.seed_level`), hardly of use with two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stratalign import stats
from stratalign.records import VARIES
from stratalign.reporting.comparisons.comparing import (
    ScoreTable,
    Side,
    aligned,
    sides_of_pairs,
    sides_with_base,
)
from stratalign.reporting.comparisons.contrasts import LEVEL, Measure
from stratalign.reporting.numbers import interval, listed, signed


@dataclass(frozen=True)
class SeedEffects:
    """One contrast's net win rate under each seed, every seed counting alike. `low` and `high` are for other seeds and
    other prompts; `between_seeds` is the standard deviation of `net_win_rates`."""

    condition: str
    against: str
    judge: str
    protocol: str
    dimension: str
    seeds: tuple[str, ...]
    net_win_rates: tuple[float, ...]
    mean: float | None
    between_seeds: float | None
    standard_error: float | None
    degrees_of_freedom: float | None
    low: float | None
    high: float | None
    words: str


@dataclass(frozen=True)
class SeedLevels:
    """What can be said about seeds in this study: `scope`, a clause that says which seeds its results are for; a
    sentence; and the effects where there are several seeds."""

    scope: str
    words: str
    effects: tuple[SeedEffects, ...]


def seed_levels(
    table: ScoreTable,
    order: Sequence[str],
    measures: Sequence[Measure],
    pairs: Sequence[tuple[str, str]],
    meant: Sequence[Measure],
    varied: Sequence[str],
) -> SeedLevels:
    """Every condition that has several seeds against base on `measures`, and `pairs` on what is `meant` to move; seeds
    vary what `varied` names of `VARIES`."""
    sides = list(sides_with_base(table, order, measures))
    sides += [sides_of_pairs(table, pairs, measure) for measure in meant]
    effects = [found for group in sides if group for found in _effects(group, table)]
    counts = {len(found.seeds) for found in effects} or {1}
    most = max(counts)
    if most == 1:
        scope = "for this seed"
        words = "One seed was trained: every result is for this seed; what another would give is not known."
    elif most < stats.RANDOM_SEEDS:
        scope = "for these two seeds"
        words = (
            "Two seeds were trained: results are for these two. They show whether an effect repeats, but hardly how "
            "much seeds differ."
        )
    else:
        scope = f"over {most} seeds"
        words = (
            f"{most} seeds were trained and are treated as a sample of all seeds: intervals, p values and verdicts "
            "are for other seeds and other prompts."
        )
        if min(counts) < stats.RANDOM_SEEDS:
            words += " Some conditions have fewer seeds: what is said of these is for their seeds alone."
    if most > 1 and varied:
        words += f" {_what_varies(varied)}"
    return SeedLevels(scope, words, tuple(found for found in effects if len(found.seeds) > 1))


def _what_varies(varied: Sequence[str]) -> str:
    own = listed([words for name, words in VARIES.items() if name in varied])
    shared = [words for name, words in VARIES.items() if name not in varied]
    rest = f"; {listed(shared)} {'is' if len(shared) == 1 else 'are'} the same for all" if shared else ""
    return f"Seeds vary {own}{rest}."


def _effects(sides: Sequence[Side], table: ScoreTable) -> list[SeedEffects]:
    rows, a, b, clusters = aligned(sides, table.cluster)
    signs = np.sign(a - b)
    seeds = [str(row.seed) for row in rows]
    found = []
    for at, side in enumerate(sides):
        level = stats.seed_level(signs[:, at], seeds, clusters, level=LEVEL)
        if level.n:
            found.append(_result(side, level))
    return found


def _result(side: Side, level: stats.SeedLevel) -> SeedEffects:
    each = listed(
        [f"{signed(rate, 2)} (seed {seed})" for seed, rate in zip(level.seeds, level.effects, strict=True)]
    )
    words = f"{side.condition} against {side.against} on {side.measure.dimension}: {each}"
    if len(level.seeds) == 1:
        words += "; of this seed alone."
    elif level.low is None:
        words += "; one cluster of prompts gives no interval."
    else:
        words += f"; over seeds {signed(level.mean, 2)} {interval(level.low, level.high, 2)}"
        words += ", from two seeds hardly more than a guess." if len(level.seeds) == 2 else "."
    return SeedEffects(
        condition=side.condition,
        against=side.against,
        judge=side.measure.judge,
        protocol=side.measure.protocol,
        dimension=side.measure.dimension,
        seeds=level.seeds,
        net_win_rates=level.effects,
        mean=level.mean,
        between_seeds=level.between_seeds,
        standard_error=level.standard_error,
        degrees_of_freedom=level.degrees_of_freedom,
        low=level.low,
        high=level.high,
        words=words,
    )
