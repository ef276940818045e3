"""Judging against a real server on 127.0.0.1 that fails in every way: states, counted calls, no invented score."""

import json
import logging
import sqlite3
import time

import pytest
from fake_server import FakeServer, scores_for
from judge_setups import STUB, StubProtocol, row, settings_for

from stratalign.errors import StudyFailure, UserError
from stratalign.judging.keys import Row
from stratalign.judging.limits import Limiter
from stratalign.judging.protocol import Item
from stratalign.judging.readings import scores_from
from stratalign.judging.running import judge_rows

# plan of the server -> (state, calls) with 4 tries for passing errors and 3 for invalid replies
TABLE = {
    "ok": ("ok", 1),
    "fence": ("ok", 1),
    "parts": ("ok", 1),
    "429,ok": ("ok", 2),
    "429-plain,429-plain,ok": ("ok", 3),
    "500,503,ok": ("ok", 3),
    "drop,ok": ("ok", 2),
    "html,no-choices,ok": ("ok", 3),
    "no-json,ok": ("ok", 2),
    "length-once": ("ok", 2),  # the second call may be twice as long
    "missing,ok": ("ok", 2),
    "prose,cut,ok": ("ok", 3),
    "500,missing,429,duplicate,ok": (
        "ok",
        5,
    ),  # two passing errors and two invalid replies: neither count is full
    "missing": ("invalid", 3),
    "duplicate": ("invalid", 3),
    "unknown": ("invalid", 3),
    "decimal": ("invalid", 3),
    "string": ("invalid", 3),
    "true": ("invalid", 3),
    "null": ("invalid", 3),
    "zero": ("invalid", 3),
    "six": ("invalid", 3),
    "empty": ("invalid", 3),
    "deep": ("invalid", 3),
    "surrogate": ("invalid", 3),
    "length": ("truncated", 2),  # cut again at twice the length
    "blocked": ("blocked", 1),
    "500,blocked": ("blocked", 2),
    "filter": ("blocked", 1),
    "refusal": ("blocked", 1),
    "400": ("failed", 1),
    "500": ("failed", 4),
    "drop": ("failed", 4),
    "thinking": ("failed", 4),
    "no-type": ("failed", 4),
    "no-text": ("failed", 4),
}


def check_faults(count, store):
    plans = [list(TABLE)[number % len(TABLE)] for number in range(count)]
    rows = [row(number, plan) for number, plan in enumerate(plans)]
    with FakeServer() as server:
        settings = settings_for(server.url, tries=4, invalid_tries=3, concurrency=32)
        tally = judge_rows(settings, STUB, rows, store)
        judged = scores_from(store, settings, STUB, rows)
    states = [TABLE[plan][0] for plan in plans]
    assert [one.state for one in judged] == states
    asked = [server.calls[json.dumps(STUB.messages(one.item), sort_keys=True)] for one in rows]
    assert list(zip(plans, asked, strict=True)) == [(plan, TABLE[plan][1]) for plan in plans]
    calls = sum(TABLE[plan][1] for plan in plans)
    assert server.total == tally.calls == calls
    assert server.most_running <= 32
    for one in judged:
        truth = scores_for(STUB.messages(one.row.item))
        assert one.scores == (truth if one.state == "ok" else None)
        assert one.state == "ok" or one.reason
    with sqlite3.connect(store) as kept:
        (stored,) = kept.execute("SELECT count(*) FROM judgements WHERE scores IS NOT NULL").fetchone()
        (entered,) = kept.execute("SELECT count(*) FROM calls").fetchone()
    kept.close()
    assert (stored, entered) == (states.count("ok"), calls)


def test_every_fault_ends_in_its_state_with_its_number_of_calls(tmp_path):
    check_faults(200, tmp_path / "judgements.sqlite")


@pytest.mark.slow
def test_two_thousand_rows_end_in_their_states(tmp_path):
    check_faults(2000, tmp_path / "judgements.sqlite")


def test_an_answer_that_does_not_come_in_time_is_asked_for_again(tmp_path):
    # The server never answers the first call. On a busy machine further ones may be late, too, and are repeated.
    with FakeServer() as server:
        settings = settings_for(server.url, tries=100_000, timeout=0.5, concurrency=1)
        tally = judge_rows(settings, STUB, [row(0, "late,ok")], tmp_path / "j.sqlite")
        assert tally.states == {"ok": 1}
        assert (
            2 <= server.total <= tally.calls
        )  # one that was given up before it was sent is a call all the same
    with sqlite3.connect(tmp_path / "j.sqlite") as kept:
        calls = kept.execute("SELECT outcome, reason FROM calls ORDER BY id").fetchall()
    kept.close()
    assert set(calls[:-1]) == {("retry", "no answer within 0.5 s")}
    assert calls[-1] == ("ok", None)
    assert len(calls) == tally.calls


def test_a_later_run_asks_what_is_not_valid_but_not_what_was_blocked(tmp_path):
    store = tmp_path / "j.sqlite"
    rows = [
        row(0),
        row(1, "blocked"),
        row(2, "missing,missing,ok"),
        row(3, "400,ok"),
        row(4, "length,length,ok"),
    ]
    with FakeServer() as server:
        settings = settings_for(server.url, invalid_tries=2)
        first = judge_rows(settings, STUB, rows, store)
        assert first.states == {"ok": 1, "blocked": 1, "invalid": 1, "failed": 1, "truncated": 1}
        assert server.total == 1 + 1 + 2 + 1 + 2
        second = judge_rows(settings, STUB, rows, store)
        assert second.states == {"ok": 4, "blocked": 1}
        assert (second.known, second.calls) == (1, 3)
        third = judge_rows(settings.model_copy(update={"ask_again": ["blocked"]}), STUB, rows, store)
        assert third.calls == 1


def test_a_store_that_has_everything_needs_neither_key_nor_server(tmp_path, monkeypatch):
    store = tmp_path / "j.sqlite"
    with FakeServer() as server:
        judge_rows(settings_for(server.url), STUB, [row(0)], store)
        monkeypatch.delenv("JUDGE_API_KEY", raising=False)
        tally = judge_rows(settings_for(server.url, profile="openai"), STUB, [row(0)], store)
    assert tally.calls == 0


def test_the_same_text_of_several_runs_is_judged_once_and_linked_to_each(tmp_path):
    store = tmp_path / "j.sqlite"
    rows = [row(number, run=run) for run in ("base", "mid", "full") for number in range(4)]
    with FakeServer() as server:
        settings = settings_for(server.url)
        judge_rows(settings, STUB, rows, store)
        assert server.total == 4
        judged = scores_from(store, settings, STUB, rows)
    assert [one.scores for one in judged[:4]] == [one.scores for one in judged[8:]]
    assert all(one.state == "ok" for one in judged)
    with sqlite3.connect(store) as kept:
        links = kept.execute(
            "SELECT run, count(DISTINCT key) FROM links GROUP BY run ORDER BY run"
        ).fetchall()
    kept.close()
    assert links == [("base", 4), ("full", 4), ("mid", 4)]


def test_repeats_are_further_calls_of_a_share_of_the_texts(tmp_path):
    rows = [row(number) for number in range(40)]
    with FakeServer() as server:
        settings = settings_for(server.url, repeats=3, repeat_share=0.5)
        judge_rows(settings, STUB, rows, tmp_path / "j.sqlite")
        judged = scores_from(tmp_path / "j.sqlite", settings, STUB, rows)
        repeated = sum(one.repeat == 1 for one in judged)
        # binomial(40, 1/2): outside 8 to 32 once in ten thousand draws, and the draw is fixed by the texts
        assert 8 <= repeated <= 32
        assert sum(one.repeat == 2 for one in judged) == repeated
        assert server.total == len(judged) == 40 + 2 * repeated
        assert set(server.calls.values()) == {1, 3}


def test_runs_are_asked_in_one_shuffled_order(tmp_path):
    rows = [Row(run, f"p{number}", Item(f"{run} {number}", ("x",))) for run in "ab" for number in range(40)]
    with FakeServer() as server:

        def order(seed, store):
            server.order.clear()
            # one at a time, so that the order is the order of arrival
            judge_rows(settings_for(server.url, concurrency=1), STUB, rows, tmp_path / store, seed=seed)
            return [json.loads(text)[1]["content"].split("\n")[0] for text in server.order]

        once = order(0, "a.sqlite")
        assert sorted(once) == sorted(one.item.prompt for one in rows)
        # of a mixed order about half of the first forty are of run a (hypergeometric, standard deviation 2.2)
        assert 8 <= sum(name.startswith("a") for name in once[:40]) <= 32
        assert order(0, "b.sqlite") == once
        assert order(1, "c.sqlite") != once


@pytest.mark.parametrize("fault", ["401", "402", "404", "quota"])
def test_an_error_that_no_call_survives_ends_the_run_and_keeps_what_was_judged(tmp_path, fault):
    store = tmp_path / "j.sqlite"
    good = [row(number) for number in range(10)]
    with FakeServer() as server:
        settings = settings_for(server.url, concurrency=4)
        judge_rows(settings, STUB, good, store)
        bad = [row(number, fault) for number in range(10, 200)]
        with pytest.raises(UserError, match=r"cannot go on: HTTP 4.*Everything judged so far is kept"):
            judge_rows(settings, STUB, good + bad, store)
        assert server.total <= 10 + 4
        states = [one.state for one in scores_from(store, settings, STUB, good + bad)]
    assert states == ["ok"] * 10 + ["pending"] * 190


def test_no_money_at_openai_is_a_rate_limit_at_dashscope(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", "sk-something-long")
    rows = [row(0, "quota,ok")]
    with FakeServer() as server, pytest.raises(UserError, match="insufficient_quota"):
        judge_rows(settings_for(server.url, profile="openai"), STUB, rows, tmp_path / "a.sqlite")
    with FakeServer() as server:
        tally = judge_rows(settings_for(server.url, profile="dashscope"), STUB, rows, tmp_path / "b.sqlite")
    assert (tally.states, tally.calls) == ({"ok": 1}, 2)


def test_a_server_that_is_gone_ends_the_run_after_so_many_failures_in_a_row(tmp_path):
    with FakeServer() as server:
        settings = settings_for(server.url, tries=2, max_failures=5, concurrency=2)
    rows = [row(number) for number in range(100)]
    with pytest.raises(StudyFailure, match=r"[5-9] texts failed in a row.*Connection error"):
        judge_rows(settings, STUB, rows, tmp_path / "j.sqlite")
    states = [one.state for one in scores_from(tmp_path / "j.sqlite", settings, STUB, rows)]
    assert 5 <= states.count("failed") <= 6
    assert states.count("pending") == 100 - states.count("failed")


@pytest.fixture
def begins(monkeypatch):
    """When calls began and when the server asked for a pause, as the client's own clock says: ("begin", second) and
    ("pause", second, seconds)."""
    seen = []
    begin, too_fast = Limiter.begin, Limiter.too_fast

    def noted_begin(self, amount, now):
        seen.append(("begin", now))
        begin(self, amount, now)

    def noted_pause(self, began, now, retry_after):
        seen.append(("pause", now, retry_after))
        too_fast(self, began, now, retry_after)

    monkeypatch.setattr(Limiter, "begin", noted_begin)
    monkeypatch.setattr(Limiter, "too_fast", noted_pause)
    return seen


def test_a_wait_that_the_server_asks_for_is_kept_by_all_calls(tmp_path, begins):
    rows = [row(0, "429-second,ok"), *(row(number) for number in range(1, 30))]
    with FakeServer() as server:
        judge_rows(settings_for(server.url, concurrency=2), STUB, rows, tmp_path / "j.sqlite")
    ((at, pause),) = [(place, one) for place, one in enumerate(begins) if one[0] == "pause"]
    assert pause[2] == 1.0
    later = [second for _, second in begins[at + 1 :]]
    assert later  # the row itself, at least
    assert min(later) >= pause[1] + 1.0
    text = next(text for text in server.calls if "Question 0?" in text)
    assert server.calls[text] == 2


def test_a_wait_beyond_the_deadline_ends_the_run(tmp_path):
    with FakeServer() as server, pytest.raises(UserError, match=r"asks to wait 7,200 s"):
        judge_rows(
            settings_for(server.url, deadline=900.0), STUB, [row(0, "429-hours")], tmp_path / "j.sqlite"
        )
    assert server.total == 1


def test_no_more_calls_at_once_than_allowed(tmp_path):
    with FakeServer() as server:
        server.wait_for_running = 4  # as many as begin before the first is answered
        judge_rows(
            settings_for(server.url, concurrency=7), STUB, [row(n) for n in range(80)], tmp_path / "j.sqlite"
        )
    assert 4 <= server.most_running <= 7


def test_requests_per_minute_are_spread_over_its_seconds(tmp_path, begins):
    with FakeServer() as server:
        settings = settings_for(server.url, requests_per_minute=61 * 20, concurrency=16)
        judge_rows(settings, STUB, [row(number) for number in range(50)], tmp_path / "j.sqlite")
    times = [second for _, second in begins]
    # a bucket of 20 that gains 20 a second: the other 30 take 1.5 s
    assert len(times) == 50
    assert times[-1] - times[0] >= 1.5 - 1e-6


def test_the_run_ends_before_it_costs_more_than_allowed(tmp_path):
    # A call has 100 tokens in and 50 out: at 1,000 and 2,000 a million, 0.1 + 0.1 = 0.2 each. Before a call its
    # cost counts as (26 or so + 500) tokens: about 1.03, so calls begin while less than 5 - 1.03 is spent.
    price = {"input": 1000, "output": 2000, "date": "2026-11-01"}
    rows = [row(number) for number in range(100)]
    with FakeServer() as server:
        settings = settings_for(server.url, price=price, max_cost=5.0, concurrency=4)
        with pytest.raises(UserError, match=r"judge.max_cost \(5.0000\)"):
            judge_rows(settings, STUB, rows, tmp_path / "j.sqlite")
        asked = server.total
        assert 3.9 / 0.2 <= asked <= 5.0 / 0.2
        with pytest.raises(UserError, match="max_cost"):
            judge_rows(settings, STUB, rows, tmp_path / "j.sqlite")
        assert server.total == asked  # what earlier runs cost counts, too


def test_progress_tells_rate_tokens_cost_and_time_left(tmp_path):
    told = []
    with FakeServer(latency=0.05) as server:
        settings = settings_for(
            server.url,
            concurrency=2,
            price={"input": 1, "output": 1, "date": "2026-11-01", "currency": "CNY"},
        )
        rows = [row(number, "missing" if number == 3 else "ok") for number in range(60)]
        judge_rows(settings, STUB, rows, tmp_path / "j.sqlite", progress=told.append)
    assert (told[0].done, told[0].seconds_left) == (0, None)
    assert any(0 < one.done < 60 and one.seconds_left > 0 for one in told)
    last = told[-1]
    assert (last.done, last.total, last.calls) == (60, 60, 62)
    assert (last.tokens_in, last.tokens_out) == (6200, 3100)
    assert last.cost == pytest.approx(0.0093)
    assert "60 of 60 (1 invalid)" in last.line()
    assert "9,300 tokens, 0.01 CNY" in last.line()


def test_the_key_is_sent_and_is_nowhere_else(tmp_path, monkeypatch, caplog):
    secret = "sk-very-secret-0123456789"
    monkeypatch.setenv("JUDGE_API_KEY", secret)
    caplog.set_level(logging.DEBUG)
    told = []
    with FakeServer() as server:
        settings = settings_for(server.url, profile="openai", concurrency=1)
        judge_rows(settings, STUB, [row(0), row(1, "500,ok")], tmp_path / "j.sqlite", progress=told.append)
        with pytest.raises(UserError, match=r"you sent Bearer \[key\]") as caught:
            judge_rows(settings, STUB, [row(2, "echo")], tmp_path / "j.sqlite", progress=told.append)
        assert server.authorizations == {f"Bearer {secret}"}
    assert caught.value.__cause__ is None
    chain, error = [], caught.value
    while error is not None:
        chain.append(repr(error))
        error = error.__context__
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir())
    assert secret not in caplog.text + repr(told) + "".join(chain) + repr(settings)


def test_a_server_that_needs_a_key_says_which_variable_is_empty(tmp_path, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    settings = settings_for("http://127.0.0.1:9/v1", profile="dashscope", api_key_env="MY_KEY")
    with pytest.raises(UserError, match="environment variable MY_KEY"):
        judge_rows(settings, STUB, [row(0)], tmp_path / "j.sqlite")


def test_a_protocol_whose_reader_gives_other_scores_is_not_believed(tmp_path):
    class Careless(StubProtocol):
        def read(self, reply, item=None):
            return {"overall": 3, "factuality": 3.5, "safety": 9}

    class Forgetful(StubProtocol):
        def read(self, reply, item=None):
            return {"overall": 3}

    class Broken(StubProtocol):
        def read(self, reply, item=None):
            raise ZeroDivisionError("a bug")

    with FakeServer() as server:
        settings = settings_for(server.url)
        assert judge_rows(settings, Careless(id="c"), [row(0)], tmp_path / "j.sqlite").states == {
            "invalid": 1
        }
        assert judge_rows(settings, Forgetful(id="f"), [row(0)], tmp_path / "j.sqlite").states == {
            "invalid": 1
        }
        assert judge_rows(settings, Broken(id="b"), [row(0)], tmp_path / "j.sqlite").states == {"failed": 1}


def test_judging_works_where_an_event_loop_is_running(tmp_path):
    import asyncio

    async def notebook():
        with FakeServer() as server:
            return judge_rows(settings_for(server.url), STUB, [row(0)], tmp_path / "j.sqlite")

    assert asyncio.run(notebook()).states == {"ok": 1}


def test_what_came_back_is_kept_with_each_call(tmp_path):
    before = time.time()
    with FakeServer() as server:
        judge_rows(settings_for(server.url), STUB, [row(0, "missing,ok")], tmp_path / "j.sqlite")
    with sqlite3.connect(tmp_path / "j.sqlite") as kept:
        calls = kept.execute(
            "SELECT outcome, reason, finish_reason, model, system_fingerprint, tokens_in, tokens_out, raw, began, "
            "ended FROM calls ORDER BY id"
        ).fetchall()
        (call,) = kept.execute("SELECT call FROM judgements").fetchone()
    kept.close()
    assert [one[:7] for one in calls] == [
        ("invalid", "missing dimensions", "stop", "fake-judge-2026-11-01", "fp_1", 100, 50),
        ("ok", None, "stop", "fake-judge-2026-11-01", "fp_1", 100, 50),
    ]
    assert call == 2
    assert json.loads(calls[1][7])[0]["dimension"] == "overall"
    assert before <= calls[0][8] <= calls[0][9] <= calls[1][8] <= time.time()


def test_a_file_of_another_program_is_refused(tmp_path):
    (tmp_path / "j.sqlite").write_text("not a store " * 100)
    with pytest.raises(UserError, match="is damaged: file is not a database"):
        judge_rows(settings_for("http://127.0.0.1:9/v1"), STUB, [row(0)], tmp_path / "j.sqlite")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(UserError, match="is no store of judgements"):
        judge_rows(settings_for("http://127.0.0.1:9/v1"), STUB, [row(0)], tmp_path / "other.sqlite")
