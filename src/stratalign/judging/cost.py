"""What judging costs: an estimate before, exact amounts from counted tokens after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stratalign.judging.keys import Row, identity, judgements_of, messages_of
from stratalign.judging.protocol import JudgeProtocol, Message
from stratalign.judging.settings import JudgeSettings, Price
from stratalign.judging.store import Store
from stratalign.judging.store_file import readable

_BYTES_PER_TOKEN = 3
"""English has about 4 bytes a token and Chinese about 3, so this is too many tokens rather than too few."""


@dataclass(frozen=True)
class Estimate:
    """What judging these rows would take.

    `texts` are judgements that the rows ask for, each text once and every repeat; `known` of them are in the store;
    `calls` are left, without tries that fail. `measured` is the number of earlier replies that the tokens of a reply
    are a mean of; with 0 they are the most that a reply may have. `cost` is None without a price; `minutes` is what
    the limits per minute allow at best, None without limits.
    """

    rows: int
    texts: int
    known: int
    calls: int
    tokens_in: int
    tokens_out: int
    measured: int
    cost: float | None
    currency: str
    minutes: float | None


def cost_of(price: Price, tokens_in: int, tokens_out: int) -> float:
    """The price of tokens, in its currency."""
    return (tokens_in * price.input + tokens_out * price.output) / 1e6


def tokens_of(messages: Sequence[Message]) -> int:
    """About how many tokens the messages have, from their bytes: rather too many."""
    text = sum(len(message["content"].encode()) for message in messages)
    return text // _BYTES_PER_TOKEN + 4 * len(messages)


def longest_reply(settings: JudgeSettings, protocol: JudgeProtocol) -> int:
    """The most tokens that a reply may have at first."""
    return settings.max_tokens or protocol.max_tokens


def estimate(
    settings: JudgeSettings, protocol: JudgeProtocol, rows: Sequence[Row], store: Path | None = None
) -> Estimate:
    """What judging the rows would cost, without asking anything; what the store holds is not asked again.

    Raises:
        UserError: the settings name no server or no model, or the file is no store.
    """
    asked = {one.key: one.row for one in judgements_of(settings, protocol, rows)}
    known: set[str] = set()
    counted_in, counted_out, estimated, replies = 0, 0, 0, 0
    if store is not None and store.exists():
        with readable(store), Store(store, read_only=True) as kept:
            known = kept.done(list(asked))
            judge = kept.find_judge(identity(settings, protocol))
            if judge is not None:
                used = kept.calls.used(judge)
                replies, counted_in, counted_out = used.replies, used.tokens_in, used.tokens_out
                estimated = used.estimated_in
    left = [row for key, row in asked.items() if key not in known]
    tokens_in = sum(tokens_of(messages_of(settings, protocol, rows[row].item)) for row in left)
    if counted_in and estimated:
        tokens_in = round(tokens_in * counted_in / estimated)
    each = counted_out / replies if replies else longest_reply(settings, protocol)
    tokens_out = round(each * len(left))
    minutes = [
        need / limit
        for need, limit in (
            (len(left), settings.requests_per_minute),
            (tokens_in + tokens_out, settings.tokens_per_minute),
        )
        if limit
    ]
    return Estimate(
        rows=len(rows),
        texts=len(asked),
        known=len(known),
        calls=len(left),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        measured=replies,
        cost=cost_of(settings.price, tokens_in, tokens_out) if settings.price else None,
        currency=settings.price.currency if settings.price else "",
        minutes=max(minutes) if minutes else None,
    )
