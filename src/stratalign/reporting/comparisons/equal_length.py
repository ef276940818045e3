"""Every condition against base as if both had answered at the same length. Pure.

The regression is `stats.length_controlled`; lengths are the `length` that the `text` protocol measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from stratalign import stats
from stratalign.reporting.comparisons.answers import PROTOCOL, measured
from stratalign.reporting.comparisons.comparing import ScoreTable, Side, aligned, has_row, sides_with_base
from stratalign.reporting.comparisons.contrasts import LEVEL, RESAMPLES, SEED, Contrast, Measure
from stratalign.reporting.numbers import interval, signed

LENGTH = "length"


SHRUNK = 0.75
"""A rate that keeps this share of its size at equal length is not said to be explained by length (our choice)."""


@dataclass(frozen=True)
class EqualLength:
    """One contrast with base at equal length. Lengths in tokens, `slope` in net win rate per standard deviation of the
    difference in length; `difference*` in the measure's unit. `words` is None where length changes nothing."""

    condition: str
    against: str
    judge: str
    protocol: str
    dimension: str
    n: int
    missing: int
    mean_length_difference: float | None
    extrapolated: bool
    raw_net_win_rate: float | None
    net_win_rate: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    slope: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    words: str | None


def at_equal_length(
    table: ScoreTable, order: Sequence[str], measures: Sequence[Measure], compared: Sequence[Contrast]
) -> tuple[EqualLength, ...]:
    """Contrasts over all seeds, of all protocols but `text` itself, wherever lengths were measured."""
    judged = [measure for measure in measures if measure.protocol != PROTOCOL]
    known = {(one.condition, one.key): one for one in compared if one.seed is None}
    found = []
    for sides in sides_with_base(table, order, judged):
        rows, a, b, clusters = aligned(sides, table.cluster)
        lengths = [measured(table, name, LENGTH, rows) for name in (sides[0].condition, sides[0].against)]
        if np.isnan(lengths[0] - lengths[1]).all():
            continue
        listed = [has_row(side, rows) for side in sides]
        alike: dict[bytes, list[int]] = defaultdict(list)
        for at, side in enumerate(sides):
            if (side.condition, side.measure.key) in known and listed[at].any():
                alike[listed[at].tobytes()].append(at)
        controlled: dict[int, stats.LengthControlled] = {}
        for together in alike.values():
            has = listed[together[0]]  # a measure that only some prompts have lacks nothing on the others
            each = stats.lengths_controlled(
                a[has][:, together], b[has][:, together], lengths[0][has], lengths[1][has],
                list(compress(clusters, has)), seeds=[row.seed for row in compress(rows, has)],
                resamples=RESAMPLES, seed=SEED, level=LEVEL,
            )  # fmt: skip
            controlled.update(zip(together, each, strict=True))
        for at in sorted(controlled):
            side = sides[at]
            found.append(_result(side, known[side.condition, side.measure.key], controlled[at]))
    return tuple(found)


def _result(side: Side, raw: Contrast, found: stats.LengthControlled) -> EqualLength:
    rate, difference = found.net_win_rate, found.difference
    return EqualLength(
        condition=side.condition,
        against=side.against,
        judge=side.measure.judge,
        protocol=side.measure.protocol,
        dimension=side.measure.dimension,
        n=found.n,
        missing=found.missing,
        mean_length_difference=found.mean_length_difference,
        extrapolated=found.extrapolated,
        raw_net_win_rate=raw.net_win_rate,
        net_win_rate=rate.value if rate else None,
        low=rate.low if rate else None,
        high=rate.high if rate else None,
        standard_error=rate.standard_error if rate else None,
        slope=rate.slope if rate else None,
        difference=difference.value if difference else None,
        difference_low=difference.low if difference else None,
        difference_high=difference.high if difference else None,
        words=_words(raw, found),
    )


def _words(raw: Contrast, found: stats.LengthControlled) -> str | None:
    who = f"{raw.condition} against {raw.against} on {raw.dimension}"
    rate = found.net_win_rate
    if rate is None:
        return f"{who}: what it would be at equal length cannot be told." if found.n else None
    beyond = (
        " No two answers were equally long or differed the other way, so this goes beyond what was seen."
        if found.extrapolated
        else ""
    )
    longer = "longer" if (found.mean_length_difference or 0) > 0 else "shorter"
    at_equal = f"at equal length {signed(rate.value, 2)} {interval(rate.low, rate.high, 2)}"
    told = raw.verdict != "cannot tell"
    undecided = rate.low is None or rate.high is None or rate.low <= 0 <= rate.high
    turned = rate.value * (raw.net_win_rate or 0) < 0
    if told and (undecided or turned):
        tokens = abs(found.mean_length_difference or 0)
        shrunk = turned or abs(rate.value) < SHRUNK * abs(raw.net_win_rate or 0)
        said = (
            "length may explain it"
            if shrunk
            else "the size hardly moves, but this sample cannot tell it from 0"
        )
        return (
            f"{who} is {raw.verdict} by {signed(raw.net_win_rate, 2)} with answers {tokens:.1f} tokens {longer}, "
            f"and {at_equal}: {said}.{beyond}"
        )
    if not told and not undecided:
        return f"{who} cannot be told as it is, but {at_equal}.{beyond}"
    return f"{who}: {at_equal}.{beyond}" if beyond else None
