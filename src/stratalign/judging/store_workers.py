"""The processes that work on a store: each enters itself, gives signs of life, and voids the claims of dead ones.

On one machine the system knows who lives; of another machine's processes only their last sign of life tells. Knows
nothing of judgements but that a process may have claimed them.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Sequence

import psutil

from stratalign.judging.store_file import transaction

SILENT_FOR = 300.0
"""Seconds without a sign of life after which a process on another machine counts as dead."""


class Worker:
    """This process, as a store that it has opened knows it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._number: int | None = None

    def number(self) -> int:
        """This process's number, entered when it is first needed."""
        if self._number is None:
            process = psutil.Process(os.getpid())
            cursor = self._db.execute(
                "INSERT INTO workers (machine, pid, born, seen) VALUES (?, ?, ?, ?)",
                (_machine(), process.pid, process.create_time(), time.time()),
            )
            self._number = cursor.lastrowid
            assert self._number is not None
        return self._number

    def sign_of_life(self) -> None:
        """Say that this process lives, and void the claims of those that do not."""
        self._db.execute("UPDATE workers SET seen = ? WHERE id = ?", (time.time(), self.number()))
        others = self._db.execute(
            "SELECT id, machine, pid, born, seen FROM workers WHERE id <> ?", (self.number(),)
        ).fetchall()
        dead = [worker for worker, *about in others if not _alive(*about)]
        if dead:
            with transaction(self._db):
                _dismiss(self._db, dead)

    def leave(self) -> None:
        """Give up this process's claims."""
        if self._number is not None:
            with transaction(self._db):
                _dismiss(self._db, [self._number])
            self._number = None


def _dismiss(db: sqlite3.Connection, workers: Sequence[int]) -> None:
    """Void the claims of processes; of a batch that has no file yet, the server knows nothing."""
    unsent = "SELECT id FROM batches WHERE owner = ? AND file IS NULL AND ended IS NULL"
    for worker in workers:
        db.execute(f"UPDATE judgements SET batch = NULL WHERE batch IN ({unsent})", (worker,))
        db.execute(
            "UPDATE batches SET state = 'dropped', ended = ? WHERE owner = ? AND file IS NULL AND ended IS NULL",
            (time.time(), worker),
        )
        db.execute("UPDATE batches SET owner = NULL WHERE owner = ?", (worker,))
        db.execute("UPDATE judgements SET owner = NULL WHERE owner = ?", (worker,))
        db.execute("DELETE FROM workers WHERE id = ?", (worker,))


def _alive(machine: str, pid: int, born: float, seen: float) -> bool:
    """Whether a process works on: on this machine the system knows, elsewhere its last sign of life tells."""
    if machine != _machine():
        return time.time() - seen < SILENT_FOR
    try:
        return bool(abs(psutil.Process(pid).create_time() - born) < 2.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return time.time() - seen < SILENT_FOR


def _machine() -> str:
    """This machine's name and, on Linux, its space of process ids: containers share the one but not the other."""
    try:
        return f"{platform.node()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()
