"""How far judges agree: the deciding one with itself, with further judges and with people, on the same answers. Pure.

Further judges and repeats are there for this alone: no contrast counts them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from stratalign import stats
from stratalign.records import Score
from stratalign.reporting.comparisons.comparing import valid

Kind = Literal["itself", "another judge", "people"]
GOOD, FAIR = 0.8, 0.667
"""Krippendorff (2004, Content Analysis, ch. 11): rely on alpha from 0.8, tentative conclusions from 0.667."""


@dataclass(frozen=True)
class Agreed:
    """The deciding judge's scores beside `other`'s on one dimension, over answers that both scored.

    `alpha` is Krippendorff's, ordinal, with its clustered 95 % interval; `kappa` is Cohen's with quadratic weights,
    None where more than two ratings of an answer are compared; `exact` is the share of equal scores. None where a
    measure is undefined, as where all scores are equal.
    """

    kind: Kind
    judge: str
    other: str
    protocol: str
    dimension: str
    answers: int
    alpha: float | None
    low: float | None
    high: float | None
    kappa: float | None
    exact: float | None
    words: str


class _Answer(NamedTuple):
    run: str
    prompt_id: str


def second_judges(judges: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """(judge, protocol) of the entries of judges.json that never decide."""
    return {(str(one.get("judge")), str(one.get("protocol"))) for one in judges if one.get("second")}


def agreements(
    scores: Sequence[Score], judges: Sequence[Mapping[str, Any]], decides: tuple[str, str] | None
) -> tuple[Agreed, ...]:
    """The deciding judge held against itself, further judges and people, dimension by dimension.

    Args:
        scores: the long table, with repeats and further judges.
        judges: the entries of judges.json.
        decides: judge and protocol of the deciding one; without it there is nothing to hold against.
    """
    if decides is None:
        return ()
    judge, protocol = decides
    entry = next((one for one in judges if (one.get("judge"), one.get("protocol")) == decides), {})
    names = [str(one.get("name")) for one in entry.get("dimensions") or ()]
    ratings: dict[tuple[str, str], dict[_Answer, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    clusters: dict[_Answer, str] = {}
    mine = [score for score in scores if score.protocol == protocol]
    # Most answers are rated once, and have nothing to be held against.
    again = {_Answer(one.run, one.prompt_id) for one in mine if one.repeat or one.judge != judge}
    for score in mine:
        answer = _Answer(score.run, score.prompt_id)
        if answer in again:
            ratings[score.judge, score.dimension][answer][score.repeat] = valid(score)
            clusters[answer] = score.cluster
    found: list[Agreed] = []
    for name in names:
        own = ratings[judge, name]
        repeated = {answer: list(by.values()) for answer, by in own.items() if len(by) > 1}
        if repeated:
            found.append(_agreed("itself", judge, judge, protocol, name, repeated, clusters))
    for other in judges:
        label = str(other.get("judge"))
        if not other.get("second") or other.get("protocol") != protocol:
            continue
        kind: Kind = "people" if other.get("kind") == "people" else "another judge"
        for name in names:
            theirs = ratings[label, name]
            both = {
                answer: [own_by[0], theirs[answer][0]]
                for answer, own_by in ratings[judge, name].items()
                if 0 in own_by and 0 in theirs.get(answer, {})
            }
            if both:
                found.append(_agreed(kind, judge, label, protocol, name, both, clusters))
    return tuple(found)


def _agreed(
    kind: Kind,
    judge: str,
    other: str,
    protocol: str,
    dimension: str,
    rated: Mapping[_Answer, Sequence[float]],
    clusters: Mapping[_Answer, str],
) -> Agreed:
    answers = sorted(rated)
    most = max(len(values) for values in rated.values())
    table = np.full((most, len(answers)), np.nan)
    for column, answer in enumerate(answers):
        table[: len(rated[answer]), column] = rated[answer]
    of = [clusters[answer] for answer in answers]
    alpha = stats.krippendorff_alpha(table, clusters=of)
    kappa = stats.quadratic_kappa(table, of).value if most == 2 else None
    exact = stats.exact_agreement(table, of)
    return Agreed(
        kind,
        judge,
        other,
        protocol,
        dimension,
        alpha.units,
        alpha.value,
        alpha.low,
        alpha.high,
        kappa,
        exact.value,
        _words(alpha.value, alpha.low),
    )


def _words(alpha: float | None, low: float | None) -> str:
    if alpha is None:
        return "undefined: too few answers, or all scores are equal"
    if low is not None and low >= GOOD:
        return "good"
    if alpha >= GOOD:
        return "good in this sample, not surely so"
    return "fair: tentative conclusions only" if alpha >= FAIR else "poor: do not rely on this dimension"
