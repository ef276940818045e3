"""A small protocol and settings for tests of the judge core; the packaged protocols are tested elsewhere."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from fake_server import NAMES

from stratalign.judging.keys import Row
from stratalign.judging.protocol import InvalidReply, Item
from stratalign.judging.running import judge_rows
from stratalign.judging.settings import JudgeSettings
from stratalign.records import Dimension


@dataclass(frozen=True)
class StubProtocol:
    """Three dimensions, a JSON array of them, optionally in one fence."""

    id: str = "stub"
    hash: str = "0" * 64
    kind: str = "single"
    dimensions: tuple = tuple(Dimension(name, "points", "higher", name) for name in NAMES)
    max_tokens: int = 500
    scale: tuple = (1, 5)
    anchor: int | None = 3

    def messages(self, item, mode="none"):
        return [
            {"role": "system", "content": "Judge."},
            {"role": "user", "content": f"{item.prompt}\n---\n{item.responses[0]}"},
        ]

    def allows(self, scores):
        return set(scores) == set(NAMES) and all(type(v) is int and 1 <= v <= 5 for v in scores.values())

    def response_format(self, mode):
        return None if mode == "none" else {"type": mode}

    def read(self, reply, item=None):
        text = reply.strip()
        if text.startswith("```json\n") and text.endswith("\n```"):
            text = text[8:-4]
        try:
            items = json.loads(text)
        except ValueError:
            raise InvalidReply("no JSON") from None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise InvalidReply("no array of objects")
        found = {}
        for item in items:
            name, score = item.get("dimension"), item.get("score")
            if name not in NAMES or name in found:
                raise InvalidReply(f"unknown or second {name}")
            if type(score) is not int or not 1 <= score <= 5:
                raise InvalidReply(f"score {score!r}")
            found[name] = score
        if len(found) != len(NAMES):
            raise InvalidReply("missing dimensions")
        return found


STUB = StubProtocol()


def settings_for(url: str, **changes) -> JudgeSettings:
    """Settings with short waits between calls, and time for each call that no slow machine uses up."""
    given = {"base_url": url, "model": "fake-judge", "backoff": 0.01, "timeout": 3600.0, "deadline": 36000.0}
    given["protocol"] = "stub"
    return JudgeSettings(**{**given, **changes})


def row(number: int, plan: str = "ok", run: str = "mid") -> Row:
    """A row whose text says what the server will answer."""
    return Row(run, f"p{number}", Item(f"Question {number}?", (f"Answer {number} plan={plan}",)))


def judge_in_a_process(url: str, store: str, count: int, key: str, changes: dict) -> None:
    """What a child process does that the tests kill; its key tells the server which one calls."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits it ignored
    os.environ["JUDGE_API_KEY"] = key
    judge_rows(settings_for(url, **changes), STUB, [row(number) for number in range(count)], Path(store))
