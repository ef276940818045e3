"""Batches against a server on 127.0.0.1: same judging, one submission whatever happens."""

import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from fake_server import FakeServer, scores_for
from judge_setups import STUB, row, settings_for

from stratalign.errors import UserError
from stratalign.judging import batches
from stratalign.judging.batches import judge_in_batches
from stratalign.judging.readings import scores_from
from stratalign.judging.running import judge_rows

PLANS = ["ok", "fence", "missing", "length", "blocked", "filter", "500", "lost", "parts", "thinking"]
STATES = [
    "ok", "ok", "invalid", "truncated", "blocked", "blocked", "failed", "pending", "ok", "failed",
]  # fmt: skip
COUNT = 12


def states(store, settings, rows):
    return [one.state for one in scores_from(store, settings, STUB, rows)]


def batch_in_a_process(url: str, store: str) -> None:
    judge_in_batches(settings_for(url), STUB, [row(n) for n in range(COUNT)], Path(store), poll=0.05)


def test_replies_of_a_batch_are_judged_as_those_of_calls(tmp_path):
    rows = [row(number, plan) for number, plan in enumerate(PLANS)]
    with FakeServer() as server:
        settings = settings_for(server.url)
        tally = judge_in_batches(settings, STUB, rows, tmp_path / "j.sqlite", poll=0.01)
        assert states(tmp_path / "j.sqlite", settings, rows) == STATES
        judged = scores_from(tmp_path / "j.sqlite", settings, STUB, rows)
        assert judged[0].scores == scores_for(STUB.messages(rows[0].item))
        assert judged[8].scores == scores_for(STUB.messages(rows[8].item))
        assert judged[9].reason == "the reply has a part of type 'thinking'; only text is read"
        assert (server.submissions, tally.in_batch, tally.calls) == (1, 0, 9)
        # six replies; two errors, a lost line and what is no reply to a judge have no tokens
        assert tally.tokens_in == 6 * 100
        lines = [json.loads(line) for line in server.files["file-0"].splitlines()]
        assert len({line["custom_id"] for line in lines}) == 10
        assert {line["body"]["model"] for line in lines} == {"fake-judge"}
        # what a batch left open is asked one by one, or in a further batch; the blocked ones are not
        tally = judge_rows(
            settings.model_copy(update={"tries": 1, "invalid_tries": 1}), STUB, rows, tmp_path / "j.sqlite"
        )
        assert tally.calls == 6  # invalid, truncated twice, failed twice, lost


@pytest.mark.skipif(sys.platform == "win32", reason="kills and forks")
@pytest.mark.parametrize("moment", ["before the id is known", "while it is waited for"])
def test_a_kill_between_submitting_and_polling_makes_no_second_submission(tmp_path, processes, moment):
    rows = [row(number) for number in range(COUNT)]
    with FakeServer() as server:
        server.polls_until_done = 10**6
        child = processes.Process(target=batch_in_a_process, args=(server.url, str(tmp_path / "j.sqlite")))
        child.start()

        def kill(*_):
            os.kill(child.pid, signal.SIGKILL)

        if moment == "before the id is known":
            server.on_submit = kill
        else:
            server.on_poll = kill
        child.join()
        assert child.exitcode == -signal.SIGKILL
        server.on_submit = server.on_poll = None
        server.polls_until_done = 1
        with sqlite3.connect(tmp_path / "j.sqlite") as kept:
            (remote,) = kept.execute("SELECT remote FROM batches").fetchone()
        kept.close()
        assert (remote is None) == (moment == "before the id is known")
        settings = settings_for(server.url)
        # single calls leave alone what lies in a batch
        assert judge_rows(settings, STUB, rows, tmp_path / "j.sqlite").in_batch == COUNT
        assert server.total == 0
        tally = judge_in_batches(settings, STUB, rows, tmp_path / "j.sqlite", poll=0.01)
        assert tally.states == {"ok": COUNT}
        assert server.submissions == 1
        assert set(server.calls.values()) == {1}


def test_a_batch_that_was_never_sent_is_free_again(tmp_path):
    rows = [row(number) for number in range(3)]
    with FakeServer() as server:
        settings = settings_for(server.url)
        server.refuse_files = True
        with pytest.raises(UserError, match="does not take or give back a batch: HTTP 404"):
            judge_in_batches(settings, STUB, rows, tmp_path / "j.sqlite")
        assert judge_rows(settings, STUB, rows, tmp_path / "j.sqlite").states == {"ok": 3}


def test_without_waiting_a_batch_stays_open_and_is_looked_at_later(tmp_path):
    rows = [row(number) for number in range(3)]
    with FakeServer() as server:
        settings = settings_for(server.url)
        first = judge_in_batches(settings, STUB, rows, tmp_path / "j.sqlite", wait=False)
        assert (first.in_batch, first.states) == (3, {"pending": 3})
        second = judge_in_batches(settings, STUB, rows, tmp_path / "j.sqlite", wait=False)
        assert (second.in_batch, second.states) == (0, {"ok": 3})
        assert server.submissions == 1


def test_many_rows_are_several_files(tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "MOST_LINES", 4)
    rows = [row(number) for number in range(10)]
    with FakeServer() as server:
        tally = judge_in_batches(settings_for(server.url), STUB, rows, tmp_path / "j.sqlite", poll=0.01)
        lines = sorted(len(server.files[f"file-{n}"].splitlines()) for n in range(3))
    assert (tally.states, server.submissions, lines) == ({"ok": 10}, 3, [2, 4, 4])


def test_a_batch_that_could_cost_too_much_is_not_sent(tmp_path):
    # 3 replies of up to 500 tokens at 1,000 a million are 1.5, and the prompts are not free
    price = {"input": 1000, "output": 1000, "date": "2026-11-01"}
    with FakeServer() as server:
        settings = settings_for(server.url, price=price, max_cost=1.5)
        with pytest.raises(UserError, match=r"judge\.max_cost \(1\.50\)"):
            judge_in_batches(settings, STUB, [row(n) for n in range(3)], tmp_path / "j.sqlite")
        assert (server.submissions, len(server.files)) == (0, 0)
