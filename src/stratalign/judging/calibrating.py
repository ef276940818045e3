"""A few rows to see what a judge is like before it is paid for thousands. Knows nothing of which run wrote what."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stratalign.errors import UserError
from stratalign.judging.cost import cost_of
from stratalign.judging.headway import Watcher, unwatched
from stratalign.judging.keys import Row, judgements_of
from stratalign.judging.protocol import Item, JudgeProtocol
from stratalign.judging.readings import scores_from
from stratalign.judging.running import judge_rows
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.store import Store
from stratalign.judging.store_file import readable
from stratalign.judging.tally import Tally

ANCHOR = "anchor"


@dataclass(frozen=True)
class Calibration:
    """What a judge did on a sample; every share is None where nothing could be counted.

    `malformed` is the share of first replies that broke the protocol, `cut` of those that were cut; `valid`,
    `blocked` and `failed` are shares of judgements, after all tries. `agreement` is the share of scores that came out
    the same when the same text was judged twice, `difference` their mean absolute difference in points.
    `anchor` holds the judge's scores of the anchor example, which should all be the protocol's anchor;
    None where it has none. Tokens are means over replies; `cost_per_1000` is for judgements, tries included.
    """

    texts: int
    judgements: int
    valid: float | None
    malformed: float | None
    cut: float | None
    blocked: float | None
    failed: float | None
    agreement: float | None
    difference: float | None
    anchor: dict[str, int] | None
    anchor_state: str | None
    tokens_in: float | None
    tokens_out: float | None
    cost_per_1000: float | None
    currency: str
    tally: Tally


def calibrate(
    settings: JudgeSettings,
    protocol: JudgeProtocol,
    rows: Sequence[Row],
    store: Path,
    *,
    anchor: Item | None = None,
    count: int = 50,
    seed: int = 0,
    progress: Watcher = unwatched,
) -> Calibration:
    """Judge `count` of the rows twice, and the anchor example once.

    Nothing is wasted: the first judgement of each is the one that the study needs, the second its first repeat.

    Args:
        settings: which judge.
        protocol: what is asked.
        rows: to draw from, each text at most once.
        store: the study's store.
        anchor: the protocol's anchor example as a response, if it has one.
        count: how many texts.
        seed: of the draw.
        progress: see `judge_rows`.

    Raises:
        UserError: there is no row, or see `judge_rows`.
    """
    if not rows:
        raise UserError(
            "There is nothing to calibrate with: the study has no answers yet. Generate them first."
        )
    twice = settings.model_copy(update={"repeats": 2, "repeat_share": 1.0})
    once = settings.model_copy(update={"repeats": 1})
    distinct = list({one.key: rows[one.row] for one in judgements_of(once, protocol, rows)}.values())
    sample = random.Random(seed).sample(distinct, min(count, len(distinct)))
    tally = judge_rows(twice, protocol, sample, store, progress=progress, seed=seed)
    anchor_rows = [Row(ANCHOR, ANCHOR, anchor)] if anchor is not None else []
    if anchor_rows:
        extra = judge_rows(once, protocol, anchor_rows, store, progress=progress, seed=seed)
        tally = replace(
            tally,
            calls=tally.calls + extra.calls,
            tokens_in=tally.tokens_in + extra.tokens_in,
            tokens_out=tally.tokens_out + extra.tokens_out,
            cost=None if tally.cost is None else tally.cost + (extra.cost or 0.0),
            seconds=tally.seconds + extra.seconds,
        )

    found = scores_from(store, twice, protocol, sample)
    keys = [one.key for one in judgements_of(twice, protocol, sample)]
    with readable(store), Store(store, read_only=True) as kept:
        outcomes = kept.calls.outcomes(keys)
        used = kept.calls.used_for(keys)
    # A reply is what the model said; a passing error before it says nothing of the model.
    replies = [
        [outcome for outcome in outcomes[key] if outcome in ("ok", "invalid", "truncated", "blocked")]
        for key in keys
    ]
    first = [said[0] for said in replies if said]
    states = [one.state for one in found]
    same = [
        abs(one.scores[name] - two.scores[name])
        for one, two in zip(found[::2], found[1::2], strict=True)
        if one.scores is not None and two.scores is not None
        for name in one.scores
    ]
    measured = scores_from(store, once, protocol, anchor_rows)
    cost = cost_of(settings.price, used.tokens_in, used.tokens_out) if settings.price else None
    return Calibration(
        texts=len(sample),
        judgements=len(found),
        valid=_share(states, "ok"),
        malformed=_share(first, "invalid"),
        cut=_share(first, "truncated"),
        blocked=_share(states, "blocked"),
        failed=_share(states, "failed"),
        agreement=same.count(0) / len(same) if same else None,
        difference=sum(same) / len(same) if same else None,
        anchor=measured[0].scores if measured else None,
        anchor_state=measured[0].state if measured else None,
        tokens_in=used.tokens_in / used.replies if used.replies else None,
        tokens_out=used.tokens_out / used.replies if used.replies else None,
        cost_per_1000=1000 * cost / len(found) if cost is not None else None,
        currency=settings.price.currency if settings.price else "",
        tally=tally,
    )


def _share(found: Sequence[str], wanted: str) -> float | None:
    return sum(one == wanted for one in found) / len(found) if found else None
