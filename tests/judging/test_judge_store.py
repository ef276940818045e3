"""The store survives: kills at any moment, several processes at once, dead claims. Real processes, real sockets."""

import os
import signal
import sqlite3
import sys
import threading
from multiprocessing.connection import wait

import pytest
from fake_server import FakeServer, scores_for
from judge_setups import STUB, judge_in_a_process, row, settings_for

from stratalign.judging.readings import models_from, scores_from
from stratalign.judging.replies import Reply, Trouble, Verdict
from stratalign.judging.running import judge_rows
from stratalign.judging.store import Link, Store
from stratalign.judging.store_calls import Call

IDENTITY = {"protocol": "p", "hash": "h", "model": "m", "host": "h"}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills and forks")


def start(processes, server, store, count, key="one", **changes):
    child = processes.Process(target=judge_in_a_process, args=(server.url, str(store), count, key, changes))
    child.start()
    return child


def ended(server, children):
    """Waits for the children; once one has ended nobody waits for its key any more, should it have failed early."""
    wait([child.sentinel for child in children])
    server.wait_for_keys = 0
    for child in children:
        child.join()


def table(server, store, count):
    rows = [row(number) for number in range(count)]
    judged = scores_from(store, settings_for(server.url), STUB, rows)
    return [(one.row.prompt_id, one.state, one.scores) for one in judged]


@pytest.mark.parametrize("killed_at", [1, 2, 5, 9, 14, 20, 26, 31, 36, 40])
def test_a_killed_run_goes_on_and_ends_with_the_same_table(tmp_path, processes, killed_at):
    count, concurrency = 40, 8
    with FakeServer(latency=0.01) as server:
        child = start(processes, server, tmp_path / "j.sqlite", count, concurrency=concurrency)
        server.on_call = lambda total: os.kill(child.pid, signal.SIGKILL) if total == killed_at else None
        child.join()
        assert child.exitcode == -signal.SIGKILL
        server.on_call = None
        tally = judge_rows(
            settings_for(server.url, concurrency=concurrency),
            STUB,
            [row(n) for n in range(count)],
            tmp_path / "j.sqlite",
        )
        # what an uninterrupted run gives, see the tests of faults
        truth = [(f"p{n}", "ok", scores_for(STUB.messages(row(n).item))) for n in range(count)]
        assert table(server, tmp_path / "j.sqlite", count) == truth
        assert tally.states == {"ok": count}
        twice = sum(calls == 2 for calls in server.calls.values())
        assert set(server.calls.values()) <= {1, 2}
        assert twice <= concurrency
        assert server.total == count + twice


def test_two_processes_on_one_store_ask_about_no_row_twice(tmp_path, processes):
    count = 150
    with FakeServer(latency=0.01) as server:
        server.wait_for_keys = 2
        children = [
            start(processes, server, tmp_path / "j.sqlite", count, key, concurrency=8)
            for key in ("one", "two")
        ]
        ended(server, children)
        assert [child.exitcode for child in children] == [0, 0]
        assert set(server.calls.values()) == {1}
        assert server.total == count
        assert server.authorizations == {"Bearer one", "Bearer two"}
        assert {state for _, state, _ in table(server, tmp_path / "j.sqlite", count)} == {"ok"}


def test_replies_are_counted_by_the_model_that_the_server_names(tmp_path):
    # A reply that breaks the protocol is a reply; an error is none. Row 3 is not asked about here, and does not count.
    plans = ["ok", "cheaper", "nameless", "cheaper", "missing,cheaper", "500,ok"]
    rows = [row(number, plan) for number, plan in enumerate(plans)]
    with FakeServer() as server:
        settings = settings_for(server.url)
        assert models_from(tmp_path / "j.sqlite", settings, STUB, rows) == []
        judge_rows(settings, STUB, rows, tmp_path / "j.sqlite")
        mine = [*rows[:3], *rows[4:]]
        assert models_from(tmp_path / "j.sqlite", settings, STUB, mine) == [
            ("fake-judge-2026-11-01", 3),  # rows 0 and 5, and the broken reply of row 4
            ("some-cheaper-model", 2),
            (None, 1),
        ]


def test_a_process_takes_over_what_a_killed_one_had_claimed(tmp_path, processes):
    count = 60
    with FakeServer(latency=0.02) as server:
        server.wait_for_keys = 2
        children = [
            start(processes, server, tmp_path / "j.sqlite", count, key, concurrency=8)
            for key in ("one", "two")
        ]
        server.on_call = lambda total: os.kill(children[0].pid, signal.SIGKILL) if total == 30 else None
        ended(server, children)
        assert [child.exitcode for child in children] == [-signal.SIGKILL, 0]
        assert server.total <= count + 8
        assert {state for _, state, _ in table(server, tmp_path / "j.sqlite", count)} == {"ok"}


def test_ctrl_c_keeps_what_was_done_and_gives_up_its_claims(tmp_path, processes):
    count = 60
    with FakeServer(latency=0.02) as server:
        child = start(processes, server, tmp_path / "j.sqlite", count, concurrency=4)
        server.on_call = lambda total: os.kill(child.pid, signal.SIGINT) if total == 30 else None
        child.join()
        assert child.exitcode == 1  # a KeyboardInterrupt that nobody caught
        done = sum(state == "ok" for _, state, _ in table(server, tmp_path / "j.sqlite", count))
        assert server.total - 4 <= done < count
        with sqlite3.connect(tmp_path / "j.sqlite") as kept:
            owned = kept.execute("SELECT count(*) FROM judgements WHERE owner IS NOT NULL").fetchone()
            workers = kept.execute("SELECT count(*) FROM workers").fetchone()
        kept.close()
        assert (owned, workers) == ((0,), (0,))


def filled(path, keys=("a", "b")):
    store = Store(path)
    judge = store.enter(IDENTITY, [Link("mid", "p", "", key, 0) for key in keys])
    return store, judge


def a_call(key, answer=None):
    return Call(key, "ok", answer or Reply("[]", "stop", "m", None, 3, 4), None, 5, 1.0, 2.0)


def test_a_claim_is_one_process_alone_and_ends_with_it(tmp_path):
    one, judge = filled(tmp_path / "j.sqlite")
    two = Store(tmp_path / "j.sqlite")
    assert one.claim("a", 0)
    assert not two.claim("a", 0)
    two.worker.sign_of_life()  # `one` lives in this very process
    assert not two.claim("a", 0)
    one.close()
    assert two.claim("a", 0)
    two.settle(judge, a_call("a"), "a", Verdict("invalid", reason="bad"))
    assert not two.claim("a", 0)  # settled once: who planned before that must look again
    assert two.claim("a", 1)
    two.close()


def test_claims_of_another_machine_end_when_it_is_silent(tmp_path, monkeypatch):
    one, _ = filled(tmp_path / "j.sqlite")
    monkeypatch.setattr("stratalign.judging.store_workers._machine", lambda: "elsewhere")
    assert one.claim("a", 0)
    monkeypatch.undo()
    two = Store(tmp_path / "j.sqlite")
    two.worker.sign_of_life()
    assert not two.claim("a", 0)
    two._db.execute("UPDATE workers SET seen = seen - 301 WHERE machine = 'elsewhere'")
    two.worker.sign_of_life()
    assert two.claim("a", 0)
    two.close()
    one.close()


def test_a_process_number_that_was_given_again_is_not_the_old_process(tmp_path):
    one, _ = filled(tmp_path / "j.sqlite")
    assert one.claim("a", 0)
    one._db.execute("UPDATE workers SET born = born - 1000")
    two = Store(tmp_path / "j.sqlite")
    two.worker.sign_of_life()
    assert two.claim("a", 0)
    two.close()
    one.close()


def test_a_valid_judgement_is_never_replaced(tmp_path):
    store, judge = filled(tmp_path / "j.sqlite")
    store.settle(judge, a_call("a"), "a", Verdict("ok", {"x": 3}))
    store.settle(judge, a_call("a", Trouble("failed", "late")), "a", Verdict("failed", reason="late"))
    assert store.scores(["a", "b"]) == {"a": {"x": 3}}
    assert store.standing(["a"])["a"].state == "ok"
    assert (store.calls.used(judge).calls, store.calls.used(judge).replies) == (2, 1)
    store.close()


def test_a_reader_sees_a_store_that_is_being_written(tmp_path):
    # No call is answered before the store has been read once more, and two are under way: one writes meanwhile.
    arrived, read = threading.Semaphore(0), threading.Semaphore(0)
    with FakeServer() as server:
        settings, rows = settings_for(server.url, concurrency=2), [row(number) for number in range(30)]

        def on_call(_):
            arrived.release()
            read.acquire()

        server.on_call = on_call
        work = threading.Thread(target=judge_rows, args=(settings, STUB, rows, tmp_path / "j.sqlite"))
        work.start()
        seen = []
        for _ in rows:
            arrived.acquire()
            judged = scores_from(tmp_path / "j.sqlite", settings, STUB, rows)
            assert all((one.scores is not None) == (one.state == "ok") for one in judged)
            seen.append(sum(one.state == "ok" for one in judged))
            read.release()
        work.join()
    # The n-th call begins when all but one of those before it are settled.
    assert all(max(0, n - 1) <= ok <= n for n, ok in enumerate(seen))


def test_a_store_without_its_tables_yet_is_empty(tmp_path):
    sqlite3.connect(tmp_path / "j.sqlite").close()
    (tmp_path / "j.sqlite").touch()
    judged = scores_from(tmp_path / "j.sqlite", settings_for("http://127.0.0.1:9/v1"), STUB, [row(0)])
    assert [one.state for one in judged] == ["pending"]


def test_no_store_is_all_pending_and_none_is_made(tmp_path):
    settings = settings_for("http://127.0.0.1:9/v1")
    judged = scores_from(tmp_path / "none.sqlite", settings, STUB, [row(0), row(1)])
    assert [(one.state, one.scores) for one in judged] == [("pending", None)] * 2
    assert list(tmp_path.iterdir()) == []
