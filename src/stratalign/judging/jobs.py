"""What there is to ask: rows entered in a store, and of their judgements those that are left, in shuffled order.

The same for calls and batches. Knows nothing of servers.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from stratalign.judging.keys import Row, identity, judgements_of
from stratalign.judging.protocol import JudgeProtocol
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.store import Link, Store


class Job(NamedTuple):
    """A judgement to ask for: the row that it is for, and how often it was settled before."""

    key: str
    round: int
    row: int


class Plan(NamedTuple):
    """Rows as entered in a store: the judge's number, key -> a row of that text, how many are valid, what to ask."""

    judge: int
    rows_of: dict[str, int]
    known: int
    jobs: list[Job]


def enter_rows(
    settings: JudgeSettings, protocol: JudgeProtocol, rows: Sequence[Row], store: Store, seed: int
) -> Plan:
    """Enter what the rows ask for, and find what is left to ask, in shuffled order."""
    asked = list(judgements_of(settings, protocol, rows))
    rows_of = {one.key: one.row for one in reversed(asked)}
    links = (
        Link(rows[one.row].run, rows[one.row].prompt_id, rows[one.row].variant, one.key, one.repeat)
        for one in asked
    )
    judge = store.enter(identity(settings, protocol), links)
    store.worker.sign_of_life()
    standing = store.standing(list(rows_of))
    again = {"pending", *settings.ask_again}
    keys = sorted(rows_of)
    # Runs are mixed, so that a judge that drifts or a server that fails does not meet one run alone.
    random.Random(seed).shuffle(keys)
    jobs = [
        Job(key, standing[key].round, rows_of[key])
        for key in keys
        if standing[key].state in again and standing[key].batch is None
    ]
    return Plan(judge, rows_of, sum(one.state == "ok" for one in standing.values()), jobs)
