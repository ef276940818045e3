"""Calls as they ended: each entered once and never changed, and what they used, exactly as servers counted it.

Knows nothing of what a call decided.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stratalign.judging.replies import Reply, Trouble
from stratalign.judging.store_file import in_parts

_USE = (
    "count(*), count(tokens_out), coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), "
    "coalesce(sum(CASE WHEN tokens_in IS NOT NULL THEN estimated_in END), 0)"
)


@dataclass(frozen=True)
class Call:
    """One call that ended: what was expected, when, and what came back. Times are Unix seconds."""

    key: str
    outcome: str
    answer: Reply | Trouble
    reason: str | None
    estimated_in: int
    began: float
    ended: float
    batch: int | None = None


@dataclass(frozen=True)
class Used:
    """What some calls have used. Replies are answers whose tokens the server counted.

    `estimated_in` is what had been estimated for `tokens_in`.
    """

    calls: int
    replies: int
    tokens_in: int
    tokens_out: int
    estimated_in: int


class Calls:
    """The calls of an open store."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, judge: int, call: Call) -> int | None:
        """Enter a call; its number."""
        answer = call.answer
        said = answer if isinstance(answer, Reply) else None
        cursor = self._db.execute(
            "INSERT INTO calls (key, judge, outcome, reason, raw, finish_reason, model, system_fingerprint, "
            "tokens_in, tokens_out, estimated_in, began, ended, batch) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                call.key,
                judge,
                call.outcome,
                call.reason,
                said.text if said else None,
                said.finish if said else None,
                said.model if said else None,
                said.fingerprint if said else None,
                said.tokens_in if said else None,
                said.tokens_out if said else None,
                call.estimated_in,
                call.began,
                call.ended,
                call.batch,
            ),
        )
        return cursor.lastrowid

    def used(self, judge: int) -> Used:
        """Calls and tokens of one judge, exactly as its server counted them."""
        return Used(*self._db.execute(f"SELECT {_USE} FROM calls WHERE judge = ?", (judge,)).fetchone())

    def used_for(self, keys: Sequence[str]) -> Used:
        """Calls and tokens of these judgements alone."""
        parts = [
            self._db.execute(
                f"SELECT {_USE} FROM calls WHERE key IN ({','.join('?' * len(part))})", part
            ).fetchone()
            for part in in_parts(keys)
        ]
        return Used(*(sum(column) for column in zip(*parts, strict=True))) if parts else Used(0, 0, 0, 0, 0)

    def models(self, keys: Sequence[str]) -> Counter[str | None]:
        """How many replies for these judgements came from which model, as the server named it; None: it did not."""
        found: Counter[str | None] = Counter()
        for part in in_parts(keys):
            marks = ",".join("?" * len(part))
            query = (
                f"SELECT model, count(*) FROM calls WHERE raw IS NOT NULL AND key IN ({marks}) GROUP BY model"
            )
            found.update(dict(self._db.execute(query, part).fetchall()))
        return found

    def outcomes(self, keys: Sequence[str]) -> dict[str, list[str]]:
        """The outcomes of all calls for these judgements, in the order in which they ended."""
        found: dict[str, list[str]] = {key: [] for key in keys}
        for part in in_parts(keys):
            marks = ",".join("?" * len(part))
            for key, outcome in self._db.execute(
                f"SELECT key, outcome FROM calls WHERE key IN ({marks}) ORDER BY id", part
            ):
                found[key].append(outcome)
        return found
