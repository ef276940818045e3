"""Selectors at equal budget: what each gains, beside full, and beside modules drawn at random. Pure.

Which conditions these are says the recipe's `selectors` section; conditions of the user's own with about as many
parameters stand among them. Knows nothing of how a selector chose, or of pages.

A selector's difference to the random draws is that of `comparisons.draws`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from stratalign import stats
from stratalign.blocks import SelectorsSettings, draws_of_kinds
from stratalign.reporting.comparisons.comparing import Floats, ScoreTable
from stratalign.reporting.comparisons.contrasts import ALPHA, LEVEL, RESAMPLES, SEED, Measure
from stratalign.reporting.comparisons.draws import Outcomes, ToDraws, outcomes_against_base, to_draws
from stratalign.reporting.comparisons.equivalences import MARGIN
from stratalign.reporting.comparisons.shares import Share, one_more_draw, shares_of_full
from stratalign.reporting.findings.roles import ALIKE, Role
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import interval, p_value, signed

Verdict = Literal["beats random draws", "no better than random", "cannot tell"]
OWN = "your own"
"""What stands for the selector of a condition that the recipe's author chose."""


@dataclass(frozen=True)
class Contestant:
    """One selector on one dimension. `gain` is the net win rate against base, turned so that above 0 is better,
    `share` that of full's mean gain; `difference` is to the mean of the draws, in net win rate. `beaten` of `draws`
    draws gain less. The same beside draws of as many modules of its own kinds, where there are `kinds_draws` of them:
    what is above 0 there is the choice of places, not of kinds. `parameters_of_full` and `arithmetic_of_full` are
    shares of what full costs. What is None is not known.

    The verdict is "beats random draws" where the difference is above 0 after Holm's correction over the conditions and
    all draws are beaten; "no better than random" where its interval lies below the margin; else "cannot tell".
    """

    selector: str
    condition: str
    dimension: str
    n: int
    clusters: int
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    share: float | None
    share_low: float | None
    share_high: float | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    p_holm: float | None
    beaten: int
    draws: int
    kinds_difference: float | None
    kinds_low: float | None
    kinds_high: float | None
    kinds_p_holm: float | None
    kinds_beaten: int
    kinds_draws: int
    parameters: int | None
    parameters_of_full: float | None
    arithmetic_of_full: float | None
    verdict: Verdict
    words: str


@dataclass(frozen=True)
class DrawGain:
    """What one random draw, or full, gains: net win rate against base with its bounds, above 0 being better."""

    condition: str
    gain: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Contest:
    """The selectors on one dimension; `margin` is what "no better than random" allows. `why_no_share` says why there
    are no shares of full's gain, None where there are."""

    judge: str
    protocol: str
    dimension: str
    full: DrawGain | None
    draws: tuple[DrawGain, ...]
    mean_of_draws: float | None
    margin: float
    why_no_share: str | None
    rows: tuple[Contestant, ...]

    @property
    def band(self) -> tuple[float, float] | None:
        """The least and the most that a draw gains."""
        gains = [one.gain for one in self.draws if one.gain is not None]
        return (min(gains), max(gains)) if gains else None


def selector_contests(
    records: StudyRecords,
    table: ScoreTable,
    measures: Sequence[Measure],
    roles: Sequence[Role],
    full: str | None,
) -> tuple[Contest, ...]:
    """The contest on each measure that has a better direction; none without selectors or without judged draws.

    Args:
        measures: what the preferences are meant to move.
        full: the condition that trains every layer.
    """
    settings = _settings(records.recipe.get("selectors"))
    if settings is None or not settings.by:
        return ()
    entries = _entries(records.manifest)
    trained = [role.condition for role in roles if role.eligible and role.condition != full]
    sizes = [entries[name]["parameters"] for name in settings.draws if name in entries]
    own = [
        name
        for name in trained
        if name not in settings.by and sizes and _alike(entries.get(name, {}).get("parameters"), fmean(sizes))
    ]
    found = (
        _contest(table, measure, [*settings.by, *own], settings, full, entries)
        for measure in measures
        if measure.better is not None
    )
    return tuple(one for one in found if one is not None)


def _contest(
    table: ScoreTable,
    measure: Measure,
    names: Sequence[str],
    settings: SelectorsSettings,
    full: str | None,
    entries: Mapping[str, Mapping[str, Any]],
) -> Contest | None:
    kinds = [own for name in names for own in draws_of_kinds(settings, name)]
    asked = [*names, *settings.draws, *kinds, *([] if full is None else [full])]
    outcomes = outcomes_against_base(table, asked, measure)
    if outcomes is None:
        return None
    places = list(outcomes.by_name)
    draws = [name for name in settings.draws if name in places]
    there = [name for name in names if name in places]
    if not draws or not there:
        return None
    every = np.stack(list(outcomes.by_name.values()), axis=1)
    compared = _means(every, np.zeros_like(every), outcomes)
    gains = {name: _gain(name, one) for name, one in zip(places, compared, strict=True)}
    of_kinds = {name: [own for own in draws_of_kinds(settings, name) if own in places] for name in there}
    beside = to_draws(outcomes, dict.fromkeys(there, draws))
    beside_kinds = to_draws(outcomes, {name: own for name, own in of_kinds.items() if own})
    shares, why = _shares(table, measure, there, full)
    found = [
        _contestant(
            name if name in settings.by else OWN,
            name,
            measure,
            gains[name],
            shares.get(name),
            beside[name],
            beside_kinds.get(name),
            entries.get(name, {}),
        )
        for name in there
    ]
    return Contest(
        judge=measure.judge,
        protocol=measure.protocol,
        dimension=measure.dimension,
        full=gains.get(full) if full is not None else None,
        draws=tuple(gains[name] for name in draws),
        mean_of_draws=_mean(np.mean([outcomes.by_name[name] for name in draws], axis=0)),
        margin=MARGIN,
        why_no_share=why,
        rows=tuple(found),
    )


def _contestant(
    selector: str,
    condition: str,
    measure: Measure,
    gain: DrawGain,
    share: Share | None,
    beside: ToDraws,
    beside_kinds: ToDraws | None,
    entry: Mapping[str, Any],
) -> Contestant:
    comparison, own = beside.comparison, None if beside_kinds is None else beside_kinds.comparison
    of_full = entry.get("of_full") or {}
    found = Contestant(
        selector=selector,
        condition=condition,
        dimension=measure.dimension,
        n=comparison.n,
        clusters=comparison.clusters,
        gain=gain.gain,
        gain_low=gain.low,
        gain_high=gain.high,
        share=None if share is None else share.share,
        share_low=None if share is None else share.low,
        share_high=None if share is None else share.high,
        difference=comparison.mean_difference,
        difference_low=comparison.difference_low,
        difference_high=comparison.difference_high,
        p_value=beside.p_value,
        p_holm=beside.p_holm,
        beaten=beside.beaten,
        draws=beside.draws,
        kinds_difference=None if own is None else own.mean_difference,
        kinds_low=None if own is None else own.difference_low,
        kinds_high=None if own is None else own.difference_high,
        kinds_p_holm=None if beside_kinds is None else beside_kinds.p_holm,
        kinds_beaten=0 if beside_kinds is None else beside_kinds.beaten,
        kinds_draws=0 if beside_kinds is None else beside_kinds.draws,
        parameters=entry.get("parameters"),
        parameters_of_full=of_full.get("parameters"),
        arithmetic_of_full=of_full.get("arithmetic"),
        verdict="cannot tell",
        words="",
    )
    found = replace(found, verdict=_verdict(found))
    return replace(found, words=_words(found))


def _verdict(one: Contestant) -> Verdict:
    sure = one.p_holm is not None and one.p_holm <= ALPHA
    if sure and (one.difference or 0.0) > 0 and one.beaten == one.draws:
        return "beats random draws"
    if one.difference_high is not None and one.difference_high < MARGIN:
        return "no better than random"
    return "cannot tell"


def _words(one: Contestant) -> str:
    numbers = (
        f"{signed(one.difference, 2)} {interval(one.difference_low, one.difference_high, 2)} to the mean of "
        f"{one.draws} draws, Holm p {p_value(one.p_holm)}, better than {one.beaten} of {one.draws}"
    )
    if one.kinds_draws:
        numbers += (
            f"; to that of draws of its own kinds {signed(one.kinds_difference, 2)} "
            f"{interval(one.kinds_low, one.kinds_high, 2)}, Holm p {p_value(one.kinds_p_holm)}, better than "
            f"{one.kinds_beaten} of {one.kinds_draws}"
        )
    return {
        "beats random draws": f"{one.condition} beats random draws on {one.dimension}: {numbers}; "
        f"{one_more_draw(one.draws)}.",
        "no better than random": f"{one.condition} is no better than random draws on {one.dimension} "
        f"(by less than {MARGIN:.2f} at most): {numbers}.",
        "cannot tell": f"{one.condition}: this sample cannot tell it from random draws on {one.dimension}: {numbers}.",
    }[one.verdict]


def _means(a: Floats, b: Floats, outcomes: Outcomes) -> list[stats.Comparison]:
    return stats.compare_dimensions(
        a, b, outcomes.clusters, seeds=outcomes.seeds, resamples=RESAMPLES, seed=SEED, level=LEVEL
    )


def _gain(name: str, one: stats.Comparison) -> DrawGain:
    return DrawGain(name, one.mean_difference, one.difference_low, one.difference_high)


def _mean(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _shares(
    table: ScoreTable, measure: Measure, names: Sequence[str], full: str | None
) -> tuple[dict[str, Share], str | None]:
    if full is None:
        return {}, "No condition trains every layer, so there is no gain of full to share."
    found = shares_of_full(table, measure, full, names)
    return {one.condition: one for one in found.conditions}, found.why_none


def _settings(written: Any) -> SelectorsSettings | None:
    try:
        return SelectorsSettings.model_validate(written or {})
    except ValidationError:  # not written by a study
        return None


def _entries(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Condition -> what the manifest holds of it; the same for every seed but the seed."""
    runs = manifest.get("runs") or {}
    return {
        str(entry.get("condition", run)): entry for run, entry in runs.items() if isinstance(entry, Mapping)
    }


def _alike(parameters: int | None, drawn: float) -> bool:
    return parameters is not None and abs(parameters - drawn) <= ALIKE * drawn
