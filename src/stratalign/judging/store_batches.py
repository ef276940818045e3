"""Batches as a store has them: which judgements lie in each, and how far the server is with it.

A batch's results are entered all at once, and only once. Knows nothing of servers.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stratalign.judging.replies import Verdict
from stratalign.judging.store_calls import Call, Calls
from stratalign.judging.store_file import as_json, transaction
from stratalign.judging.store_workers import Worker


class Batch(NamedTuple):
    """A batch as the store has it; `file` and `remote` are the server's ids."""

    id: int
    state: str
    file: str | None
    remote: str | None


class Batches:
    """The batches of an open store."""

    def __init__(self, db: sqlite3.Connection, worker: Worker, calls: Calls) -> None:
        self._db = db
        self._worker = worker
        self._calls = calls

    def open(self, judge: int) -> list[Batch]:
        """The judge's batches whose results are not in."""
        rows = self._db.execute(
            "SELECT id, state, file, remote FROM batches WHERE judge = ? AND ended IS NULL ORDER BY id",
            (judge,),
        )
        return [Batch(*row) for row in rows]

    def begin(self, judge: int, rounds: Mapping[str, int]) -> tuple[int, list[str]]:
        """A new batch of those judgements (key -> times settled) that are free, and their keys."""
        taken, owner = [], self._worker.number()
        with transaction(self._db):
            cursor = self._db.execute(
                "INSERT INTO batches (judge, state, owner, made) VALUES (?, 'new', ?, ?)",
                (judge, owner, time.time()),
            )
            batch = cursor.lastrowid
            assert batch is not None
            for key, expected in rounds.items():
                claimed = self._db.execute(
                    "UPDATE judgements SET batch = ? "
                    "WHERE key = ? AND round = ? AND owner IS NULL AND batch IS NULL AND state <> 'ok'",
                    (batch, key, expected),
                )
                if claimed.rowcount == 1:
                    taken.append(key)
        return batch, taken

    def note(self, batch: int, state: str, *, file: str | None = None, remote: str | None = None) -> None:
        """Keep what the server said of a batch, at once."""
        self._db.execute(
            "UPDATE batches SET state = ?, file = coalesce(?, file), remote = coalesce(?, remote) WHERE id = ?",
            (state, file, remote, batch),
        )

    def claim(self, batch: int) -> bool:
        """Take a batch whose submission nobody else works on."""
        owner = self._worker.number()
        cursor = self._db.execute(
            "UPDATE batches SET owner = ? WHERE id = ? AND ended IS NULL AND remote IS NULL "
            "AND (owner IS NULL OR owner = ?)",
            (owner, batch, owner),
        )
        return cursor.rowcount == 1

    def keys_in(self, batch: int) -> list[str]:
        """The judgements that still lie in a batch."""
        rows = self._db.execute("SELECT key FROM judgements WHERE batch = ? ORDER BY key", (batch,))
        return [key for (key,) in rows]

    def end(
        self, judge: int, batch: int, state: str, results: Sequence[tuple[Call, Verdict]], reason: str | None
    ) -> None:
        """Enter a batch's results, free what it left without one, and close it: all at once, and only once."""
        now = time.time()
        with transaction(self._db):
            (ended,) = self._db.execute("SELECT ended FROM batches WHERE id = ?", (batch,)).fetchone()
            if ended is not None:
                return
            for call, verdict in results:
                number = self._calls.add(judge, call)
                scores = as_json(verdict.scores) if verdict.scores is not None else None
                self._db.execute(
                    "UPDATE judgements SET state = ?, scores = ?, reason = ?, call = ?, ended = ?, "
                    "round = round + 1, batch = NULL WHERE key = ? AND batch = ?",
                    (verdict.state, scores, verdict.reason, number, now, call.key, batch),
                )
            self._db.execute("UPDATE judgements SET batch = NULL WHERE batch = ?", (batch,))
            self._db.execute(
                "UPDATE batches SET state = ?, reason = ?, ended = ? WHERE id = ?",
                (state, reason, now, batch),
            )
