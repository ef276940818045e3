"""Where judgements are kept: one sqlite file that several processes may use at once, and that survives a kill.

Text and JSON only. Every call is entered as it ends; a judgement's state changes together with the call that decided
it. A process claims a judgement before asking for it, and claims of dead processes are void. Knows nothing of
servers and of what a judgement means.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import psutil

from stratalign.errors import UserError
from stratalign.judging.replies import Reply, State, Trouble, Verdict
from stratalign.records import told

SCHEMA = 1
SILENT_FOR = 300.0
"""Seconds without a sign of life after which a process on another machine counts as dead."""

_TABLES = """
CREATE TABLE judges (
  id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, protocol TEXT NOT NULL, hash TEXT NOT NULL,
  model TEXT NOT NULL, host TEXT NOT NULL
);
CREATE TABLE workers (
  id INTEGER PRIMARY KEY AUTOINCREMENT, machine TEXT NOT NULL, pid INTEGER NOT NULL, born REAL NOT NULL,
  seen REAL NOT NULL
);
CREATE TABLE judgements (
  key TEXT PRIMARY KEY, judge INTEGER NOT NULL REFERENCES judges, repeat INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending', scores TEXT, reason TEXT, round INTEGER NOT NULL DEFAULT 0,
  owner INTEGER, batch INTEGER, call INTEGER, entered REAL NOT NULL, ended REAL
) WITHOUT ROWID;
CREATE INDEX judgements_owned ON judgements (owner) WHERE owner IS NOT NULL;
CREATE INDEX judgements_in_batch ON judgements (batch) WHERE batch IS NOT NULL;
CREATE TABLE calls (
  id INTEGER PRIMARY KEY, key TEXT NOT NULL, judge INTEGER NOT NULL, outcome TEXT NOT NULL, reason TEXT, raw TEXT,
  finish_reason TEXT, model TEXT, system_fingerprint TEXT, tokens_in INTEGER, tokens_out INTEGER,
  estimated_in INTEGER NOT NULL, began REAL NOT NULL, ended REAL NOT NULL, batch INTEGER
);
CREATE INDEX calls_of_key ON calls (key);
CREATE INDEX calls_use ON calls (judge, tokens_in, tokens_out, estimated_in);
CREATE TABLE links (
  run TEXT NOT NULL, prompt_id TEXT NOT NULL, variant TEXT NOT NULL, key TEXT NOT NULL,
  PRIMARY KEY (run, prompt_id, variant, key)
) WITHOUT ROWID;
CREATE TABLE batches (
  id INTEGER PRIMARY KEY, judge INTEGER NOT NULL, state TEXT NOT NULL, file TEXT, remote TEXT, reason TEXT,
  owner INTEGER, made REAL NOT NULL, ended REAL
);
"""

_USE = (
    "count(*), count(tokens_out), coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), "
    "coalesce(sum(CASE WHEN tokens_in IS NOT NULL THEN estimated_in END), 0)"
)


class Link(NamedTuple):
    """Which row of which run a judgement is for."""

    run: str
    prompt_id: str
    variant: str
    key: str
    repeat: int


class Standing(NamedTuple):
    """A judgement as the store has it: `round` counts how often it was settled; `batch` is open."""

    state: State
    reason: str | None
    round: int
    owned: bool
    batch: int | None


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
    """What one judge has used in a store. Replies are answers whose tokens the server counted.

    `estimated_in` is what had been estimated for `tokens_in`.
    """

    calls: int
    replies: int
    tokens_in: int
    tokens_out: int
    estimated_in: int


class Batch(NamedTuple):
    """A batch as the store has it; `file` and `remote` are the server's ids."""

    id: int
    state: str
    file: str | None
    remote: str | None


class Store:
    """An open store, and this process's claims in it.

    Raises:
        UserError: the file cannot be made or read, or is no store of this version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._worker: int | None = None
        if not read_only:
            with told(path):
                path.parent.mkdir(parents=True, exist_ok=True)
        with readable(path):
            mode = "ro" if read_only else "rwc"
            uri = f"{path.absolute().as_uri()}?mode={mode}"
            self._db = sqlite3.connect(uri, uri=True, timeout=60.0, isolation_level=None)
            try:
                self._open(read_only)
            except BaseException:
                self._db.close()
                raise

    def _open(self, read_only: bool) -> None:
        if not read_only:
            # With NORMAL a kill loses nothing; a power cut may lose the last seconds, which are then asked again.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            with self._transaction():
                if self._is_new():
                    self._make()
        elif self._is_new():
            # Another process has just made the file, and will make the tables.
            self._db.close()
            self._db = sqlite3.connect(":memory:", isolation_level=None)
            self._make()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA:
            raise UserError(
                f"{self.path} is no store of judgements that this version reads. Move it away or restore it."
            )

    def _is_new(self) -> bool:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return bool(version == 0 and tables == 0)

    def _make(self) -> None:
        for statement in _TABLES.split(";"):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version={SCHEMA}")

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up this process's claims and close the file."""
        try:
            if self._worker is not None:
                with self._transaction():
                    self._dismiss([self._worker])
                self._worker = None
        finally:
            self._db.close()

    # Judges and judgements

    def find_judge(self, identity: Mapping[str, Any]) -> int | None:
        """The number of a judge that the store knows."""
        row = self._db.execute("SELECT id FROM judges WHERE identity = ?", (_json(identity),)).fetchone()
        return row[0] if row else None

    def enter(self, identity: Mapping[str, Any], links: Iterable[Link]) -> int:
        """Enter a judge, the judgements that rows ask for (as pending, if new) and the links; the judge's number."""
        entries, now = list(links), time.time()
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO judges (identity, protocol, hash, model, host) VALUES (?, ?, ?, ?, ?)",
                (_json(identity), *(identity[name] for name in ("protocol", "hash", "model", "host"))),
            )
            judge = self.find_judge(identity)
            assert judge is not None
            self._db.executemany(
                "INSERT OR IGNORE INTO judgements (key, judge, repeat, entered) VALUES (?, ?, ?, ?)",
                ((link.key, judge, link.repeat, now) for link in entries),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO links (run, prompt_id, variant, key) VALUES (?, ?, ?, ?)",
                ((link.run, link.prompt_id, link.variant, link.key) for link in entries),
            )
        return judge

    def standing(self, keys: Sequence[str]) -> dict[str, Standing]:
        """What the store has of these judgements; a key that it does not know is left out."""
        columns = "state, reason, round, owner IS NOT NULL, batch"
        return {
            key: Standing(state, reason, rounds, bool(owned), batch)
            for key, state, reason, rounds, owned, batch in self._select(columns, keys)
        }

    def scores(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        """The scores of those of these judgements that are valid."""
        return {
            key: {sys.intern(name): value for name, value in json.loads(scores).items()}
            for key, state, scores in self._select("state, scores", keys)
            if state == "ok"
        }

    def done(self, keys: Sequence[str]) -> set[str]:
        """Which of these judgements are valid."""
        return {key for key, standing in self.standing(keys).items() if standing.state == "ok"}

    def used(self, judge: int) -> Used:
        """Calls and tokens of one judge, exactly as its server counted them."""
        return Used(*self._db.execute(f"SELECT {_USE} FROM calls WHERE judge = ?", (judge,)).fetchone())

    def used_for(self, keys: Sequence[str]) -> Used:
        """Calls and tokens of these judgements alone."""
        parts = [
            self._db.execute(
                f"SELECT {_USE} FROM calls WHERE key IN ({','.join('?' * len(part))})", part
            ).fetchone()
            for part in _parts(keys)
        ]
        return Used(*(sum(column) for column in zip(*parts, strict=True))) if parts else Used(0, 0, 0, 0, 0)

    def outcomes(self, keys: Sequence[str]) -> dict[str, list[str]]:
        """The outcomes of all calls for these judgements, in the order in which they ended."""
        found: dict[str, list[str]] = {key: [] for key in keys}
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            for key, outcome in self._db.execute(
                f"SELECT key, outcome FROM calls WHERE key IN ({marks}) ORDER BY id", part
            ):
                found[key].append(outcome)
        return found

    # Claims

    def claim(self, key: str, expected_round: int) -> bool:
        """Take a judgement that nobody works on, was settled `expected_round` times, and lies in no batch."""
        cursor = self._db.execute(
            "UPDATE judgements SET owner = ? "
            "WHERE key = ? AND round = ? AND owner IS NULL AND batch IS NULL AND state <> 'ok'",
            (self._me(), key, expected_round),
        )
        return cursor.rowcount == 1

    def sign_of_life(self) -> None:
        """Say that this process lives, and void the claims of those that do not."""
        self._db.execute("UPDATE workers SET seen = ? WHERE id = ?", (time.time(), self._me()))
        others = self._db.execute(
            "SELECT id, machine, pid, born, seen FROM workers WHERE id <> ?", (self._me(),)
        ).fetchall()
        dead = [worker for worker, *about in others if not _alive(*about)]
        if dead:
            with self._transaction():
                self._dismiss(dead)

    def record(self, judge: int, call: Call) -> None:
        """Enter a call that settles nothing."""
        with self._transaction():
            self._add(judge, call)

    def settle(self, judge: int, call: Call | None, key: str, verdict: Verdict) -> None:
        """Enter the call that decided a judgement, with the judgement's state, and give up the claim.

        A valid judgement is never replaced.
        """
        with self._transaction():
            number = self._add(judge, call) if call else None
            self._db.execute(
                "UPDATE judgements SET state = ?, scores = ?, reason = ?, call = ?, ended = ?, round = round + 1, "
                "owner = NULL, batch = NULL WHERE key = ? AND state <> 'ok'",
                (
                    verdict.state,
                    _json(verdict.scores) if verdict.scores is not None else None,
                    verdict.reason,
                    number,
                    time.time(),
                    key,
                ),
            )

    # Batches

    def open_batches(self, judge: int) -> list[Batch]:
        """The judge's batches whose results are not in."""
        rows = self._db.execute(
            "SELECT id, state, file, remote FROM batches WHERE judge = ? AND ended IS NULL ORDER BY id",
            (judge,),
        )
        return [Batch(*row) for row in rows]

    def begin_batch(self, judge: int, rounds: Mapping[str, int]) -> tuple[int, list[str]]:
        """A new batch of those judgements (key -> times settled) that are free, and their keys."""
        taken = []
        self._me()
        with self._transaction():
            cursor = self._db.execute(
                "INSERT INTO batches (judge, state, owner, made) VALUES (?, 'new', ?, ?)",
                (judge, self._me(), time.time()),
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

    def note_batch(
        self, batch: int, state: str, *, file: str | None = None, remote: str | None = None
    ) -> None:
        """Keep what the server said of a batch, at once."""
        self._db.execute(
            "UPDATE batches SET state = ?, file = coalesce(?, file), remote = coalesce(?, remote) WHERE id = ?",
            (state, file, remote, batch),
        )

    def claim_batch(self, batch: int) -> bool:
        """Take a batch whose submission nobody else works on."""
        cursor = self._db.execute(
            "UPDATE batches SET owner = ? WHERE id = ? AND ended IS NULL AND remote IS NULL "
            "AND (owner IS NULL OR owner = ?)",
            (self._me(), batch, self._me()),
        )
        return cursor.rowcount == 1

    def keys_in(self, batch: int) -> list[str]:
        """The judgements that still lie in a batch."""
        rows = self._db.execute("SELECT key FROM judgements WHERE batch = ? ORDER BY key", (batch,))
        return [key for (key,) in rows]

    def end_batch(
        self, judge: int, batch: int, state: str, results: Sequence[tuple[Call, Verdict]], reason: str | None
    ) -> None:
        """Enter a batch's results, free what it left without one, and close it: all at once, and only once."""
        now = time.time()
        with self._transaction():
            (ended,) = self._db.execute("SELECT ended FROM batches WHERE id = ?", (batch,)).fetchone()
            if ended is not None:
                return
            for call, verdict in results:
                number = self._add(judge, call)
                scores = _json(verdict.scores) if verdict.scores is not None else None
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

    # Below: how it is done

    def _select(self, columns: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            yield from self._db.execute(f"SELECT key, {columns} FROM judgements WHERE key IN ({marks})", part)

    def _add(self, judge: int, call: Call) -> int | None:
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

    def _me(self) -> int:
        """This process's number, entered when it is first needed."""
        if self._worker is None:
            process = psutil.Process(os.getpid())
            cursor = self._db.execute(
                "INSERT INTO workers (machine, pid, born, seen) VALUES (?, ?, ?, ?)",
                (_machine(), process.pid, process.create_time(), time.time()),
            )
            self._worker = cursor.lastrowid
            assert self._worker is not None
        return self._worker

    def _dismiss(self, workers: Sequence[int]) -> None:
        """Void the claims of processes; of a batch that has no file yet, the server knows nothing."""
        unsent = "SELECT id FROM batches WHERE owner = ? AND file IS NULL AND ended IS NULL"
        for worker in workers:
            self._db.execute(f"UPDATE judgements SET batch = NULL WHERE batch IN ({unsent})", (worker,))
            self._db.execute(
                "UPDATE batches SET state = 'dropped', ended = ? WHERE owner = ? AND file IS NULL AND ended IS NULL",
                (time.time(), worker),
            )
            self._db.execute("UPDATE batches SET owner = NULL WHERE owner = ?", (worker,))
            self._db.execute("UPDATE judgements SET owner = NULL WHERE owner = ?", (worker,))
            self._db.execute("DELETE FROM workers WHERE id = ?", (worker,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns a refusal of sqlite into a message that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise UserError(
            f"The store of judgements {path} cannot be used: {error}. Check that there is space, that you may write "
            "there and that the file is none of another program; nothing that was judged is lost."
        ) from error


def count_states(standings: Iterable[Standing]) -> dict[State, int]:
    """How many judgements are in each state that occurs."""
    return dict(Counter(standing.state for standing in standings))


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


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _parts(keys: Sequence[str], size: int = 500) -> Iterator[list[str]]:
    """The keys in parts that fit into one statement."""
    for start in range(0, len(keys), size):
        yield list(keys[start : start + size])
