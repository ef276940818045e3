"""Where judgements are kept: one sqlite file that several processes may use at once, and that survives a kill.

Every call is entered as it ends (`store_calls`); a judgement's state changes together with the call that decided
it. A process claims a judgement before asking for it, and claims of dead processes are void (`store_workers`); or it
lies in a batch (`store_batches`). Knows nothing of servers and of what a judgement means.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, get_args

from stratalign.judging.replies import State, Verdict
from stratalign.judging.store_batches import Batches
from stratalign.judging.store_calls import Call, Calls
from stratalign.judging.store_file import as_json, damaged, in_parts, open_file, transaction
from stratalign.judging.store_workers import Worker

_STATES = get_args(State)


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


class Store:
    """An open store, and this process's claims in it.

    Raises:
        UserError: the file cannot be made or read, or is no store of this version.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._db = open_file(path, read_only=read_only)
        self.worker = Worker(self._db)
        self.calls = Calls(self._db)
        self.batches = Batches(self._db, self.worker, self.calls)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give up this process's claims and close the file."""
        try:
            self.worker.leave()
        finally:
            self._db.close()

    def find_judge(self, identity: Mapping[str, Any]) -> int | None:
        """The number of a judge that the store knows."""
        row = self._db.execute("SELECT id FROM judges WHERE identity = ?", (as_json(identity),)).fetchone()
        return row[0] if row else None

    def enter(self, identity: Mapping[str, Any], links: Iterable[Link]) -> int:
        """Enter a judge, the judgements that rows ask for (as pending, if new) and the links; the judge's number."""
        entries, now = list(links), time.time()
        with transaction(self._db):
            self._db.execute(
                "INSERT OR IGNORE INTO judges (identity, protocol, hash, model, host) VALUES (?, ?, ?, ?, ?)",
                (as_json(identity), *(identity[name] for name in ("protocol", "hash", "model", "host"))),
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
        """What the store has of these judgements; a key that it does not know is left out.

        Raises:
            UserError: a judgement is in a state that there is not.
        """
        columns = "state, reason, round, owner IS NOT NULL, batch"
        found = {}
        for key, state, reason, rounds, owned, batch in self._select(columns, keys):
            if state not in _STATES:
                raise damaged(self._path, f"a judgement is in the state {state!r:.40}")
            found[key] = Standing(state, reason, rounds, bool(owned), batch)
        return found

    def scores(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        """The scores of those of these judgements that are valid.

        Raises:
            UserError: the scores of one cannot be read.
        """
        found = {}
        for key, state, scores in self._select("state, scores", keys):
            if state != "ok":
                continue
            try:
                found[key] = {sys.intern(name): value for name, value in json.loads(scores).items()}
            except (ValueError, TypeError, AttributeError, RecursionError):
                raise damaged(self._path, f"the scores of a judgement are {scores!r:.40}") from None
        return found

    def done(self, keys: Sequence[str]) -> set[str]:
        """Which of these judgements are valid."""
        return {key for key, standing in self.standing(keys).items() if standing.state == "ok"}

    def claim(self, key: str, expected_round: int) -> bool:
        """Take a judgement that nobody works on, was settled `expected_round` times, and lies in no batch."""
        cursor = self._db.execute(
            "UPDATE judgements SET owner = ? "
            "WHERE key = ? AND round = ? AND owner IS NULL AND batch IS NULL AND state <> 'ok'",
            (self.worker.number(), key, expected_round),
        )
        return cursor.rowcount == 1

    def record(self, judge: int, call: Call) -> None:
        """Enter a call that settles nothing."""
        with transaction(self._db):
            self.calls.add(judge, call)

    def settle(self, judge: int, call: Call | None, key: str, verdict: Verdict) -> None:
        """Enter the call that decided a judgement, with the judgement's state, and give up the claim.

        A valid judgement is never replaced.
        """
        with transaction(self._db):
            number = self.calls.add(judge, call) if call else None
            self._db.execute(
                "UPDATE judgements SET state = ?, scores = ?, reason = ?, call = ?, ended = ?, round = round + 1, "
                "owner = NULL, batch = NULL WHERE key = ? AND state <> 'ok'",
                (
                    verdict.state,
                    as_json(verdict.scores) if verdict.scores is not None else None,
                    verdict.reason,
                    number,
                    time.time(),
                    key,
                ),
            )

    def _select(self, columns: str, keys: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for part in in_parts(keys):
            marks = ",".join("?" * len(part))
            yield from self._db.execute(f"SELECT key, {columns} FROM judgements WHERE key IN ({marks})", part)


def count_states(standings: Iterable[Standing]) -> dict[State, int]:
    """How many judgements are in each state that occurs."""
    return dict(Counter(standing.state for standing in standings))
