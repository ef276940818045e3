"""What a run of the judge did, and how the judgements that it was for stand in the store now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stratalign.judging.cost import cost_of
from stratalign.judging.jobs import Plan
from stratalign.judging.keys import Row
from stratalign.judging.replies import State
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.store import Store, count_states


@dataclass(frozen=True)
class Tally:
    """What a run of the judge did.

    `texts` judgements were asked for by `rows` rows; `known` of them were valid before; `states` counts all of them
    now, those in open batches (`in_batch`) as pending. Calls, tokens and cost are this run's.
    """

    rows: int
    texts: int
    known: int
    states: dict[State, int]
    in_batch: int
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    currency: str
    seconds: float


def tally_of(
    settings: JudgeSettings,
    rows: Sequence[Row],
    store: Store,
    plan: Plan,
    *,
    calls: int,
    tokens_in: int,
    tokens_out: int,
    seconds: float,
) -> Tally:
    """What a run did, and the states that the store has now."""
    standing = store.standing(list(plan.rows_of))
    price = settings.price
    return Tally(
        rows=len(rows),
        texts=len(plan.rows_of),
        known=plan.known,
        states=count_states(standing.values()),
        in_batch=sum(one.batch is not None for one in standing.values()),
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=cost_of(price, tokens_in, tokens_out) if price else None,
        currency=price.currency if price else "",
        seconds=seconds,
    )
