"""A judge behind a server that we did not write: `transformers serve`, with the micro-world's model and with one that
answers validly. The micro-world's model knows no JSON; its rubbish has to come out as invalid, all of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stratalign.judging import JudgeSettings, load_protocol
from stratalign.judging.keys import Row
from stratalign.judging.protocol import Item
from stratalign.judging.readings import scores_from
from stratalign.judging.running import judge_rows
from stratalign.microworld.shipped import BASE

pytestmark = pytest.mark.peer
SCRIPT = Path(__file__).with_name("serve_scripted.py")
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
ROWS = [Row("mid", f"p{n}", Item(f"Question {n}?", (f"Answer {n}.",))) for n in range(6)]


@contextmanager
def served(command: list[str], log: Path) -> Iterator[str]:
    """The address of a running server; it is stopped afterwards."""
    pytest.importorskip("fastapi", reason="needs transformers[serving]: make test-peer installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cache = log.parent / "hub"
    cache.mkdir()
    given = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, *command, *options], stdout=out, stderr=out, env=given)
        try:
            while True:
                assert server.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                    break
                except OSError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.wait()


def settings_for(url: str, model: Path) -> JudgeSettings:
    return JudgeSettings(
        protocol="likert-16", base_url=url, model=str(model), concurrency=2, invalid_tries=2, max_tokens=64
    )


def test_the_micro_world_as_judge_gives_nothing_but_counted_rubbish(tmp_path: Path) -> None:
    model = tmp_path / "judge"
    shutil.copytree(BASE, model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    protocol = load_protocol("likert-16")
    command = ["-m", "transformers.cli.transformers", "serve", str(model)]
    with served(command, tmp_path / "log.txt") as url:
        settings = settings_for(url, model)
        tally = judge_rows(settings, protocol, ROWS, tmp_path / "judgements.sqlite")
        again = judge_rows(
            settings.model_copy(update={"ask_again": []}), protocol, ROWS, tmp_path / "judgements.sqlite"
        )
    states = {state for state, count in tally.states.items() if count}
    # What it writes is never JSON; it ends by itself (invalid) or runs on (truncated, asked once more with more room).
    assert states <= {"invalid", "truncated"}
    assert sum(tally.states.values()) == len(ROWS)
    assert tally.calls == 2 * len(ROWS)
    assert tally.tokens_out > 0
    assert again.calls == 0
    found = scores_from(tmp_path / "judgements.sqlite", settings, protocol, ROWS)
    assert Counter(one.state for one in found) == Counter({s: n for s, n in tally.states.items() if n})
    assert all(one.scores is None and one.reason for one in found)


def test_a_model_that_answers_validly_is_read(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = tmp_path / "judge"
    shutil.copytree(make_model("llama", layers=2), model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    protocol = load_protocol("likert-16")
    said = {dimension.name: 1 + at % 5 for at, dimension in enumerate(protocol.dimensions)}
    reply = tmp_path / "reply.txt"
    reply.write_text(
        json.dumps([{"dimension": name, "score": score, "reason": "so"} for name, score in said.items()])
    )
    with served([str(SCRIPT), str(reply), str(model)], tmp_path / "log.txt") as url:
        settings = settings_for(url, model).model_copy(update={"max_tokens": 4000})
        tally = judge_rows(settings, protocol, ROWS, tmp_path / "judgements.sqlite")
    assert {state: count for state, count in tally.states.items() if count} == {"ok": len(ROWS)}
    found = scores_from(tmp_path / "judgements.sqlite", settings, protocol, ROWS)
    assert [one.scores for one in found] == [said] * len(ROWS)
