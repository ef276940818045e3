"""Servers and recipes from elsewhere: endless answers, redirects, echoed keys, fields that would falsify the record."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from stratalign.judging import connection
from stratalign.judging.client import Client
from stratalign.judging.connection import within
from stratalign.judging.replies import Reply, Trouble
from stratalign.judging.secrets import Secret
from stratalign.judging.settings import JudgeSettings

KEY = "sk-aB3dE5gH7jK9mN1pQ3sT5vW7yZ"
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers every request so, and the hosts and keys that it was asked with."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            asked.append(str(self.headers["Authorization"]))
            self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(OSError):  # the client has left
                answer(self)

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{made.server_port}/v1", asked
    finally:
        made.shutdown()
        made.server_close()


def sends(body: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    return answer


def completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "model": "m"}).encode()


def ask(url: str, monkeypatch: pytest.MonkeyPatch, timeout: float = 3600) -> Reply | Trouble:
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    settings = JudgeSettings(
        protocol="likert-16", base_url=url, model="m", api_key_env="JUDGE_API_KEY", timeout=timeout
    )

    async def once() -> Reply | Trouble:
        client = Client(settings)
        try:
            return await client.ask({"model": "m", "messages": []})
        finally:
            await client.close()

    return asyncio.run(once())


def endless(to: BaseHTTPRequestHandler) -> None:
    """Spaces without end, as an answer that never says how long it is."""
    to.send_response(200)
    to.send_header("Content-Type", "application/json")
    to.end_headers()
    while True:
        to.wfile.write(b" " * 65536)


@pytest.mark.parametrize(
    "answer",
    [
        endless,
        sends(b" " * 2000),
        sends(gzip.compress(b" " * 10_000_000), Content_Encoding="gzip"),
        sends(b" " * 2000, status=500),
    ],
    ids=["endless", "long", "packed", "long error"],
)
def test_an_answer_beyond_the_limit_is_a_failed_call_and_not_read_on(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    monkeypatch.setattr(connection, "LARGEST", 1000)
    with server(answer) as (url, _):
        found = ask(url, monkeypatch)
    assert isinstance(found, Trouble)
    assert found.meaning == "failed"
    assert "larger than" in found.reason


def test_a_packed_answer_within_the_limit_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(sends(gzip.compress(completion("hello")), Content_Encoding="gzip")) as (url, _):
        found = ask(url, monkeypatch)
    assert isinstance(found, Reply)
    assert found.text == "hello"


def test_a_redirect_to_another_server_stops_and_sends_it_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as both:
        other, asked = both.enter_context(server(sends(completion("stolen"))))
        sent_on = sends(b"", status=307, Location=f"{other}/chat/completions")
        url, _ = both.enter_context(server(sent_on))
        found = ask(url, monkeypatch)
    assert isinstance(found, Trouble)
    assert found.meaning == "stop"
    assert "redirects to another server" in found.reason
    assert asked == []


@pytest.mark.parametrize(
    "written",
    [
        KEY,
        KEY[:-4],
        KEY[4:],
        f"{KEY[:9]}...{KEY[-9:]}",
        KEY.upper(),
        quote(KEY),
        base64.b64encode(f"Bearer {KEY}".encode()).decode(),
        KEY.encode().hex(),
        json.dumps(json.dumps(KEY)),
    ],
)
def test_no_eight_characters_of_a_key_are_left_in_what_a_server_says(
    monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    said = []
    for answer in (
        sends(completion(f"a {written} b")),
        sends(json.dumps({"error": {"message": written}}).encode(), 400),
    ):
        with server(answer) as (url, _):
            found = ask(url, monkeypatch)
        said.append(found.text if isinstance(found, Reply) else found.reason)
    parts = {form[at : at + 8].lower() for form in (KEY, KEY.encode().hex()) for at in range(len(form) - 7)}
    for text in said:
        assert "[key]" in text
        assert not any(part in text.lower() for part in parts)


def test_texts_without_the_key_stay_and_a_placeholder_hides_nothing() -> None:
    assert Secret(KEY).hidden("sk-aB3d is only seven") == "sk-aB3d is only seven"
    assert Secret("none").hidden("none of this") == "none of this"


@pytest.mark.parametrize(
    "extra",
    [
        {"messages": []},
        {"Model": "other"},
        {"temperature": 2},
        {"stream": True},
        {"n": 4},
        {"seed": float("nan")},
        {"top_p": float("inf")},
        {"since": datetime.date(2026, 1, 1)},
        {1: "number"},
        {"big": 10**30},
    ],
)
def test_extra_fields_that_cannot_be_sent_or_change_what_is_asked_are_refused(extra: dict) -> None:
    with pytest.raises(ValueError, match="extra_body"):
        JudgeSettings(extra_body=extra)


def test_extra_fields_that_hold_themselves_are_refused() -> None:
    endless: dict = {}
    endless["again"] = endless
    with pytest.raises(ValueError, match="refers to itself"):
        JudgeSettings(extra_body=endless)
    assert JudgeSettings(extra_body={"enable_thinking": False}).extra_body == {"enable_thinking": False}


@pytest.mark.parametrize("name", ["HOME", "AWS_SECRET_ACCESS_KEY_ID", "PATH", "A KEY", ""])
def test_only_variables_that_are_named_as_keys_are_sent(name: str) -> None:
    with pytest.raises(ValueError, match="KEY or TOKEN"):
        JudgeSettings(api_key_env=name)


def test_what_has_arrived_is_read_before_a_call_is_given_up() -> None:
    """A process that did not get to run for longer than the time limit finds the answer already there."""

    async def starved() -> str:
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def call() -> str:
            return await ready

        asyncio.get_running_loop().call_soon(ready.set_result, "arrived")
        return await within(1e-9, call())

    assert asyncio.run(starved()) == "arrived"


def test_a_call_that_brings_nothing_ends_at_the_limit() -> None:
    async def silent() -> None:
        await within(0.01, asyncio.sleep(3600))

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(silent())
