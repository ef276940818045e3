"""Claims of equality, tested: "matches full" and "is not worse" head to head, and "costs nothing elsewhere". Pure.

A star that is missing is no evidence that two conditions are alike; a 90 % interval within a stated margin is. The
tests are `stats.within_margins`; the margins are ours, and stand in every record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, NamedTuple

from stratalign import stats
from stratalign.reporting.comparisons.comparing import (
    ScoreTable,
    Side,
    aligned,
    sides_of_pairs,
    sides_with_base,
)
from stratalign.reporting.comparisons.contrasts import ALPHA, RESAMPLES, SEED, Contrast, Measure
from stratalign.reporting.numbers import interval, listed, p_value, plain, signed

MARGIN = 0.10
"""Net win rate below which a difference counts as none: one prompt in ten more won than lost. Ours."""
SCALE_SHARE = 1 / 40
"""Mean difference below which a difference counts as none, as a share of the scale: 0.1 points from 1 to 5. Ours."""
LEVEL = 1 - 2 * ALPHA
NAMED = 5
"""Up to this many dimensions are named, more are counted."""
ALL_LAYERS, HIGHEST = "all layers", "the highest gain over base"
MATCHES, NO_LARGER, PAYS, CANNOT_TELL = "matches", "no loss larger than the margin", "pays", "cannot tell"


@dataclass(frozen=True)
class Equivalence:
    """One claim that `condition` matches `against` on one measure, head to head over all seeds that both have.

    `effect` is the net win rate and `low`, `high` its 90 % interval. Where the protocol has a scale, the mean
    difference has to lie within its own margin as well. `p` is of the two one-sided tests of all that is required,
    `p_holm` corrected for all such claims of the study. `verdict` is "matches" where `p_holm` is at most 0.05, else
    "better" or "worse" where the pair's contrast survives its own correction, else "cannot tell".
    """

    condition: str
    against: str
    why: str
    judge: str
    protocol: str
    dimension: str
    n: int
    clusters: int
    margin: float
    effect: float | None
    low: float | None
    high: float | None
    difference_margin: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p: float | None
    p_holm: float | None
    verdict: str
    words: str


@dataclass(frozen=True)
class TaxTest:
    """What one condition costs on one measure outside of the objective, over all seeds, as a tested statement.

    `gain` is the net win rate against base turned so that below 0 is a loss, `low` and `high` its 90 % interval. `p` is
    of the hypothesis that the loss is at least the margin, `p_holm` corrected for all such tests of the study;
    `pays_p_holm` is that of the contrast with base in its own family. `verdict` is "pays" where that contrast is a loss
    that survives, "no loss larger than the margin" where `p_holm` is at most 0.05, else "cannot tell". A loss can be
    both, sure and smaller than the margin: then it is "pays", and `words` says so.
    """

    condition: str
    judge: str
    protocol: str
    dimension: str
    n: int
    clusters: int
    margin: float
    gain: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    pays_p_holm: float | None
    verdict: str
    words: str


class NonInferiority(NamedTuple):
    """Whether `condition` is not worse than `against` on one measure, head to head over all seeds that both have.

    `p` is one-sided, of the hypothesis that it loses by `margin` (a net win rate) or more, uncorrected; where the
    protocol has a scale, the larger one of that and of the mean difference's own (`SCALE_SHARE`).
    """

    condition: str
    against: str
    judge: str
    protocol: str
    dimension: str
    margin: float
    p: float


class Claim(NamedTuple):
    """That `condition` matches `against`, and what makes that one worth matching."""

    condition: str
    against: str
    why: str


def claims(
    measure: Measure, trained: Sequence[str], full: str | None, compared: Sequence[Contrast]
) -> list[Claim]:
    """That each of the `trained` conditions matches `full`, which trains all layers, and the one that gains most on
    `measure` over base. Of two references each is asked to match the other only once."""
    gains = {
        one.condition: one.gain
        for one in compared
        if one.key == measure.key and one.seed is None and one.n and one.condition in trained
    }
    why: dict[str, list[str]] = {} if full is None else {full: [ALL_LAYERS]}
    best = [name for name, gain in gains.items() if gain == max(gains.values())]
    if len(best) == 1:
        why.setdefault(best[0], []).append(HIGHEST)
    found: dict[frozenset[str], Claim] = {}
    for against, reasons in why.items():
        for condition in trained:
            if condition != against:
                claim = Claim(condition, against, " and ".join(reasons))
                found.setdefault(frozenset((condition, against)), claim)
    return list(found.values())


def equivalences(
    table: ScoreTable, claimed: Sequence[tuple[Measure, Sequence[Claim]]], pairs: Sequence[Contrast]
) -> tuple[Equivalence, ...]:
    """Each claim on its measure, corrected together by Holm.

    Args:
        table: the scores.
        claimed: the claims on each measure that the preferences are meant to move.
        pairs: the contrasts between conditions, after their own correction.
    """
    found: list[Equivalence] = []
    for measure, of_measure in claimed:
        why = {(one.condition, one.against): one.why for one in of_measure}
        sides = sides_of_pairs(table, list(why), measure)
        if not sides:
            continue
        found += [
            _claim(side.condition, side.against, why[side.condition, side.against], measure, rate, point)
            for side, rate, point in _margin_tests(sides, table, measure)
            if rate.n
        ]
    adjusted = stats.holm([one.p for one in found])
    return tuple(_concluded(one, p, pairs) for one, p in zip(found, adjusted, strict=True))


def non_inferiority(
    table: ScoreTable, conditions: Sequence[str], measures: Sequence[Measure]
) -> tuple[NonInferiority, ...]:
    """Both directions of every pair of `conditions` on each of `measures` that has a better direction."""
    found = []
    for measure in measures:
        if measure.better is None:
            continue
        sides = sides_of_pairs(table, list(combinations(conditions, 2)), measure)
        for side, *both in _margin_tests(sides, table, measure):
            tests = [test for test in both if test is not None and test.p_not_below is not None]
            if not tests or not tests[0].n:
                continue
            above, below = (
                max(p for test in tests if (p := getattr(test, name)) is not None)
                for name in ("p_not_above", "p_not_below")
            )
            if measure.better == "lower":
                above, below = below, above
            found.append(NonInferiority(side.condition, side.against, *measure.key, MARGIN, below))
            found.append(NonInferiority(side.against, side.condition, *measure.key, MARGIN, above))
    return tuple(found)


def _margin_tests(
    sides: Sequence[Side], table: ScoreTable, measure: Measure | None = None
) -> list[tuple[Side, stats.MarginTest, stats.MarginTest | None]]:
    """Each side's net win rate held against the margin, and where `measure` has a scale its mean difference too."""
    if not sides:
        return []
    rows = aligned(sides, table.cluster)
    shared: dict[str, Any] = {"seeds": rows.seeds, "resamples": RESAMPLES, "seed": SEED, "level": LEVEL}
    rates = stats.within_margins(rows.a, rows.b, rows.clusters, [MARGIN] * len(sides), **shared)
    points: list[stats.MarginTest | None] = [None] * len(sides)
    if measure is not None and measure.scale is not None:
        width = measure.scale[1] - measure.scale[0]
        points = list(stats.within_margins(
            rows.a, rows.b, rows.clusters, [SCALE_SHARE * width] * len(sides), statistic="mean difference",
            largest=[width] * len(sides), **shared,
        ))  # fmt: skip
    return list(zip(sides, rates, points, strict=True))


def tax_tests(
    table: ScoreTable, conditions: Sequence[str], measures: Sequence[Measure], compared: Sequence[Contrast]
) -> tuple[TaxTest, ...]:
    """Each of `conditions` on each of `measures`, which lie outside of the objective and have a better direction.

    Args:
        table: the scores.
        conditions: the trained conditions, without controls.
        measures: the measures, in the order to report them.
        compared: the contrasts with base, after their correction.
    """
    known = {(one.condition, one.key): one for one in compared if one.seed is None and one.n}
    found: list[TaxTest] = []
    for sides in sides_with_base(table, conditions, measures):
        for side, test, _ in _margin_tests(sides, table):
            contrast = known.get((side.condition, side.measure.key))
            if contrast is not None:
                found.append(_tax(contrast, test))
    adjusted = stats.holm([one.p for one in found])
    return tuple(
        _taxed(one, p, known[one.condition, (one.judge, one.protocol, one.dimension)])
        for one, p in zip(found, adjusted, strict=True)
    )


def tax_in_words(tests: Sequence[TaxTest]) -> tuple[str, ...]:
    """Where each condition pays, where it is shown to lose no more than the margin, and where neither can be told: one
    sentence for conditions of which the same is true."""
    alike: dict[str, list[str]] = {}
    for condition in dict.fromkeys(one.condition for one in tests):
        alike.setdefault(tax_clauses([one for one in tests if one.condition == condition]), []).append(
            condition
        )
    return tuple(f"{listed(names)}: {clauses}." for clauses, names in alike.items())


def tax_clauses(tests: Sequence[TaxTest]) -> str:
    """What the tests of one condition say, without its name."""
    by_verdict = {
        verdict: [one for one in tests if one.verdict == verdict]
        for verdict in (PAYS, NO_LARGER, CANNOT_TELL)
    }
    margin = plain(MARGIN, 2)
    clauses = [
        f"{lead} {_dimensions(mine, len(tests))}"
        for mine, lead in (
            (by_verdict[NO_LARGER], f"no loss beyond {margin} of a net win rate on"),
            (by_verdict[CANNOT_TELL], f"this sample cannot tell whether {margin} or more is lost on"),
        )
        if mine
    ]
    if by_verdict[PAYS]:
        paid = [
            f"{one.dimension} ({signed(one.gain, 2)}, Holm p {p_value(one.pays_p_holm)})"
            for one in by_verdict[PAYS]
        ]
        clauses.insert(0, f"pays on {listed(paid)}")
    return "; ".join(clauses)


def _dimensions(tests: Sequence[TaxTest], of: int) -> str:
    if len(tests) <= NAMED:
        return listed([one.dimension for one in tests])
    return f"all {of} other dimensions" if len(tests) == of else f"{len(tests)} of {of} other dimensions"


def _claim(
    condition: str,
    against: str,
    why: str,
    measure: Measure,
    rate: stats.MarginTest,
    point: stats.MarginTest | None,
) -> Equivalence:
    required = [test.p_within for test in (rate, point) if test is not None and test.p_within is not None]
    return Equivalence(
        condition=condition,
        against=against,
        why=why,
        judge=measure.judge,
        protocol=measure.protocol,
        dimension=measure.dimension,
        n=rate.n,
        clusters=rate.clusters,
        margin=rate.margin,
        effect=rate.effect,
        low=rate.low,
        high=rate.high,
        difference_margin=point.margin if point else None,
        difference=point.effect if point else None,
        difference_low=point.low if point else None,
        difference_high=point.high if point else None,
        p=max(required) if required else None,
        p_holm=None,
        verdict=CANNOT_TELL,
        words="",
    )


def _concluded(one: Equivalence, p_holm: float | None, pairs: Sequence[Contrast]) -> Equivalence:
    key = (one.judge, one.protocol, one.dimension)
    sure = [
        pair.verdict
        for listed in pairs
        for pair in (listed, listed.flipped())
        if (pair.condition, pair.against, pair.key) == (one.condition, one.against, key) and pair.sure
    ]
    # The interval's own verdict can be "cannot tell" where the p value survives: then no direction is claimed either.
    differs = next((verdict for verdict in sure if verdict in ("better", "worse")), None)
    matches = p_holm is not None and p_holm <= ALPHA
    verdict = MATCHES if matches else differs or CANNOT_TELL
    within = f"{plain(one.margin, 2)} of a net win rate"
    numbers = f"{signed(one.effect, 2)}, 90 % interval {interval(one.low, one.high, 2)}"
    if one.difference_margin is not None:
        within += f" and {plain(one.difference_margin, 2)} points"
        bounds = interval(one.difference_low, one.difference_high, 2)
        numbers += f"; mean difference {signed(one.difference, 2)} {bounds}"
    numbers += f"; two one-sided tests, Holm p {p_value(p_holm)}"
    who = f"{one.condition} matches {one.against} ({one.why}) on {one.dimension}"
    if matches:
        though = f", although it is {differs} than it head to head" if differs else ""
        words = f"{who} within {within}{though} ({numbers})."
    elif differs:
        words = (
            f"{one.condition} is {differs} than {one.against} ({one.why}) on {one.dimension} head to head, and not "
            f"shown to match it within {within} ({numbers})."
        )
    else:
        words = f"This sample cannot tell whether {who} within {within} ({numbers})."
        if one.clusters and (1 - one.margin) ** one.clusters > ALPHA:
            words += f" {one.clusters} clusters are too few for that, whatever they show."
    return replace(one, p_holm=p_holm, verdict=verdict, words=words)


def _tax(contrast: Contrast, test: stats.MarginTest) -> TaxTest:
    lower = contrast.better == "lower"
    low, high = (test.high, test.low) if lower else (test.low, test.high)
    sign = -1 if lower else 1

    def turned(value: float | None) -> float | None:
        return None if value is None else sign * value

    return TaxTest(
        condition=contrast.condition,
        judge=contrast.judge,
        protocol=contrast.protocol,
        dimension=contrast.dimension,
        n=test.n,
        clusters=test.clusters,
        margin=test.margin,
        gain=turned(test.effect),
        low=turned(low),
        high=turned(high),
        p=test.p_not_above if lower else test.p_not_below,
        p_holm=None,
        pays_p_holm=contrast.p_holm,
        verdict=CANNOT_TELL,
        words="",
    )


def _taxed(one: TaxTest, p_holm: float | None, contrast: Contrast) -> TaxTest:
    no_larger = p_holm is not None and p_holm <= ALPHA
    pays = contrast.sure and contrast.gain < 0
    margin = f"{plain(one.margin, 2)} of a net win rate"
    gain = f"gain {signed(one.gain, 2)}, 90 % interval {interval(one.low, one.high, 2)}"
    if pays:
        though = f", though no more than {margin} (Holm p {p_value(p_holm)})" if no_larger else ""
        words = (
            f"{one.condition} pays on {one.dimension} (Holm p {p_value(one.pays_p_holm)}; {gain}){though}."
        )
    elif no_larger:
        words = f"{one.condition} loses no more than {margin} on {one.dimension} (Holm p {p_value(p_holm)}; {gain})."
    else:
        words = (
            f"This sample cannot tell whether {one.condition} loses {margin} or more on {one.dimension} "
            f"(Holm p {p_value(p_holm)}; {gain})."
        )
    return replace(
        one, p_holm=p_holm, verdict=PAYS if pays else NO_LARGER if no_larger else CANNOT_TELL, words=words
    )
