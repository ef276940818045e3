"""The file of a store: its tables, how it is opened, changes that happen together, and what a refusal of sqlite means.

Text and JSON only. Knows nothing of judges, and nothing of what the rows mean.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stratalign.errors import UserError
from stratalign.records import refuse_link, told

SCHEMA = 1

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


def open_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the store at `path`, made with its tables if it is not there.

    Raises:
        UserError: the file cannot be made or read, or is no store of this version.
    """
    for end in ("", "-wal", "-shm", "-journal"):
        refuse_link(path.with_name(f"{path.name}{end}"))
    if not read_only:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    with readable(path):
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        db = sqlite3.connect(uri, uri=True, timeout=60.0, isolation_level=None)
        try:
            if not read_only:
                # With NORMAL a kill loses nothing; a power cut may lose the last seconds, which are then asked again.
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                with transaction(db):
                    if _is_new(db):
                        _make(db)
            elif _is_new(db):
                # Another process has just made the file, and will make the tables.
                db.close()
                db = sqlite3.connect(":memory:", isolation_level=None)
                _make(db)
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA:
                raise UserError(
                    f"{path} is no store of judgements that this version reads. Move it away or restore it."
                )
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """The block's changes happen all together or, if it raises, not at all."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turns a refusal of sqlite into a message that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        said = str(error)
        # no lock and no full disk, but pages that sqlite cannot read, and tables or texts that are none of ours
        if type(error) is sqlite3.DatabaseError or said.startswith(("no such", "Could not decode")):
            raise damaged(path, said) from error
        raise UserError(
            f"The store of judgements {path} cannot be used: {error}. Check that there is space, that you may write "
            "there and that the file is none of another program; nothing that was judged is lost."
        ) from error


def damaged(path: Path, what: str) -> UserError:
    """The message for a store that was damaged or changed from outside."""
    return UserError(
        f"The store of judgements {path} is damaged: {what}. Restore it from a copy, or move it away with its -wal and "
        "-shm files: the judge is then asked again."
    )


def as_json(value: object) -> str:
    """One text for equal values, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def in_parts(keys: Sequence[str], size: int = 500) -> Iterator[list[str]]:
    """The keys in parts that fit into one statement."""
    for start in range(0, len(keys), size):
        yield list(keys[start : start + size])


def _is_new(db: sqlite3.Connection) -> bool:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(version == 0 and tables == 0)


def _make(db: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA user_version={SCHEMA}")
