"""An OpenAI-compatible server on 127.0.0.1 that fails in every way that judges fail in. Standard library alone.

What it answers is written in what it is asked: a text holds "plan=429,500,ok", and the n-th request with the same
messages gets the n-th answer of the plan; the last one is given for good. Scores follow from the messages alone, so
that two servers judge alike. Run as a program, it gives every request the same long reply until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter, defaultdict

NAMES = ("overall", "factuality", "safety")
SECRET_ECHO = "you sent "


def scores_for(messages) -> dict[str, int]:
    """What the server scores: from the bytes of the messages, 1 to 5."""
    raw = hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).digest()
    return {name: 1 + raw[number] % 5 for number, name in enumerate(NAMES)}


def reply_text(fault: str, scores: dict[str, int]) -> str:
    """The text of a reply with a fault in it."""
    items = [{"dimension": name, "reason": "so it is", "score": score} for name, score in scores.items()]
    if fault == "missing":
        items = items[1:]
    if fault == "duplicate":
        items.append(items[0])
    if fault == "unknown":
        items[0] = {**items[0], "dimension": "charm"}
    bad = {"decimal": 3.7, "string": "4", "true": True, "null": None, "zero": 0, "six": 6}
    if fault in bad:
        items[0] = {**items[0], "score": bad[fault]}
    text = json.dumps(items)
    if fault == "fence":
        return f"```json\n{text}\n```"
    if fault == "prose":
        return f"Here you are: {text}"
    if fault == "deep":
        return "[" * 20000
    if fault == "surrogate":
        return "\ud800"
    return text[: len(text) // 2] if fault in ("length", "cut") else text


PARTS = {
    "parts": lambda text: [{"type": "text", "text": text[:9]}, {"type": "text", "text": text[9:]}],
    "thinking": lambda text: [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}],
    "no-type": lambda text: [{"text": text}],
    "no-text": lambda text: [{"type": "text", "text": None}],
}
"""A reply's content as a list of parts."""


def refusal(fault: str) -> tuple[int, dict[str, str], object] | None:
    """Status, headers and body of an answer that is an error."""
    errors = {
        "429": (429, {"Retry-After": "0.05"}, {"code": "rate_limit_exceeded", "message": "too fast"}),
        "429-plain": (429, {}, {"code": "Throttling.RateQuota", "message": "too fast"}),
        "429-second": (429, {"Retry-After": "1"}, {"code": "rate_limit_exceeded", "message": "too fast"}),
        "429-hours": (429, {"Retry-After": "7200"}, {"code": "rate_limit_exceeded", "message": "too fast"}),
        "quota": (429, {}, {"code": "insufficient_quota", "message": "You exceeded your current quota"}),
        "500": (500, {}, {"message": "internal error"}),
        "503": (503, {"Retry-After": "0.01"}, {"message": "overloaded"}),
        "400": (400, {}, {"code": "context_length_exceeded", "message": "the context is too long"}),
        "blocked": (400, {}, {"code": "data_inspection_failed", "message": "inappropriate content"}),
        "401": (401, {}, {"code": "invalid_api_key", "message": "wrong key"}),
        "402": (402, {}, {"message": "no money"}),
        "404": (404, {}, {"code": "model_not_found", "message": "no such model"}),
    }
    if fault not in errors:
        return None
    status, headers, error = errors[fault]
    return status, headers, {"error": error}


class FakeServer:
    """Serves in a thread of its own; counts what it is asked."""

    def __init__(self, latency: float = 0.0) -> None:
        self.latency = latency
        self.port = 0
        self.calls: Counter[str] = Counter()  # messages -> requests
        self.times: dict[str, list[float]] = defaultdict(list)
        self.order: list[str] = []
        self.authorizations: set[str] = set()
        self.requests: list[dict] = []
        self.wait_for_keys = 0  # nobody is answered before so many different keys were sent
        self.wait_for_running = 0  # nobody is answered before so many calls were under way at one time
        self.running = self.most_running = 0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict] = {}
        self.submissions = 0
        self.polls_until_done = 1
        self.on_call = None
        self.on_submit = None
        self.on_poll = None
        self.refuse_files = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def total(self) -> int:
        return sum(self.calls.values())

    def __enter__(self) -> FakeServer:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *_error) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self, ready: threading.Event | None = None, port: int = 0) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._handlers: set[asyncio.Task] = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, limit=2**24, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        if ready:
            ready.set()
        await self._end.wait()
        server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    async def _connection(self, reader, writer) -> None:
        task = asyncio.current_task()
        self._handlers.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                headers = {
                    name.casefold(): value.strip()
                    for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.authorizations.add(headers.get("authorization", ""))
                answer = await self._answer(method, path, headers, body)
                if answer is None:
                    return
                status, more, content = answer
                lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **more}
                text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
                writer.write(f"HTTP/1.1 {status} Said\r\n{text}\r\n".encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.close()

    async def _answer(self, method, path, headers, body):
        if path == "/v1/chat/completions":
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            try:
                return await self._complete(json.loads(body), headers)
            finally:
                self.running -= 1
        return self._batch_api(method, path, headers, body)

    async def _complete(self, request, headers):
        text = json.dumps(request["messages"], sort_keys=True)
        number = self.calls[text]
        self.calls[text] += 1
        self.times[text].append(time.monotonic())
        self.order.append(text)
        self.requests.append({name: value for name, value in request.items() if name != "messages"})
        if self.on_call:
            self.on_call(self.total)
        fault = self.fault(text, number)
        while len(self.authorizations) < self.wait_for_keys:
            await asyncio.sleep(0.005)
        while self.most_running < self.wait_for_running:
            await asyncio.sleep(0.005)
        if self.latency:
            await asyncio.sleep(self.latency)
        if fault == "late":  # never: whoever asked has to give up, however slow the machine is
            await self._end.wait()
        if fault == "drop":
            return None
        if fault == "echo":  # some servers repeat the key that they refuse
            error = {"error": {"message": SECRET_ECHO + headers.get("authorization", "")}}
            return 401, {}, json.dumps(error).encode()
        if fault == "html":
            return 200, {"Content-Type": "text/html"}, b"<html>login</html>"
        if fault == "no-json":
            return 200, {}, b"<html>login</html>"
        if fault == "no-choices":
            return 200, {}, b'{"id": "x", "choices": []}'
        refused = refusal(fault)
        if refused:
            status, more, content = refused
            return status, more, json.dumps(content).encode()
        return 200, {}, json.dumps(self.completion(request, fault)).encode()

    @staticmethod
    def fault(text: str, number: int) -> str:
        """The fault of the n-th request with this text."""
        found = re.search(r"plan=([\w,-]+)", text)
        plan = found.group(1).split(",") if found else ["ok"]
        return plan[min(number, len(plan) - 1)]

    @staticmethod
    def completion(request, fault: str) -> dict:
        """A chat completion; "length" is cut unless the request allows 1,000 tokens and more."""
        longest = request.get("max_tokens") or request.get("max_completion_tokens") or 0
        if fault == "length-once":
            fault = "length" if longest < 1000 else "ok"
        finish = {"length": "length", "filter": "content_filter"}.get(fault, "stop")
        content = None if fault in ("filter", "empty") else reply_text(fault, scores_for(request["messages"]))
        message = {"role": "assistant", "content": content}
        if fault in PARTS:
            message["content"] = PARTS[fault](content)
        if fault == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I cannot help with that"}
        return {
            "id": "x",
            "object": "chat.completion",
            "created": 1,
            "model": {"cheaper": "some-cheaper-model", "nameless": None}.get(fault, "fake-judge-2026-11-01"),
            "system_fingerprint": "fp_1",
            "choices": [{"index": 0, "finish_reason": finish, "message": message}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150},
        }

    # Files and batches

    def _batch_api(self, method, path, headers, body):
        def said(value) -> tuple[int, dict[str, str], bytes]:
            return 200, {}, json.dumps(value).encode()

        parts = path.partition("?")[0].split("/")[2:]
        if parts == ["files"] and method == "POST" and not self.refuse_files:
            boundary = re.search(r"boundary=(\S+)", headers["content-type"]).group(1).encode()
            sections = body.split(b"--" + boundary)
            content = next(part for part in sections if b'name="file"' in part)
            name = f"file-{len(self.files)}"
            self.files[name] = content.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            return said(
                {
                    "id": name,
                    "object": "file",
                    "bytes": 1,
                    "created_at": 1,
                    "filename": "x",
                    "purpose": "batch",
                }
            )
        if parts[0] == "files" and parts[-1] == "content":
            return 200, {"Content-Type": "application/octet-stream"}, self.files[parts[1]]
        if parts == ["batches"] and method == "POST":
            request = json.loads(body)
            name = f"batch-{self.submissions}"
            self.submissions += 1
            self.batches[name] = {
                "id": name,
                "object": "batch",
                "endpoint": request["endpoint"],
                "input_file_id": request["input_file_id"],
                "completion_window": request["completion_window"],
                "status": "validating",
                "created_at": 1,
                "polls": 0,
            }
            if self.on_submit:
                self.on_submit()
            return said(self.batches[name])
        if parts == ["batches"]:
            data = list(self.batches.values())
            return said({"object": "list", "data": data, "has_more": False})
        if parts[0] == "batches" and len(parts) == 2:
            batch = self.batches[parts[1]]
            batch["polls"] += 1
            if self.on_poll:
                self.on_poll()
            if batch["polls"] >= self.polls_until_done and batch["status"] != "completed":
                self._work_off(batch)
            return said(batch)
        return 404, {}, b'{"error": {"message": "no such page"}}'

    def _work_off(self, batch) -> None:
        good, bad = [], []
        for line in self.files[batch["input_file_id"]].decode().splitlines():
            request = json.loads(line)
            text = json.dumps(request["body"]["messages"], sort_keys=True)
            fault = self.fault(text, self.calls[text])
            self.calls[text] += 1
            refused = refusal(fault)
            if fault == "lost":
                continue
            status, body = (
                (refused[0], refused[2]) if refused else (200, self.completion(request["body"], fault))
            )
            entry = {"id": "r", "custom_id": request["custom_id"]}
            entry |= {"response": {"status_code": status, "request_id": "q", "body": body}, "error": None}
            (bad if refused else good).append(json.dumps(entry))
        batch["status"] = "completed"
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                self.files[f"{batch['id']}-{name}"] = "\n".join(lines).encode()
                batch[name] = f"{batch['id']}-{name}"


LONG = [
    {"dimension": f"dimension {n}", "reason": "so it is, because " * 10, "score": 1 + n % 5}
    for n in range(16)
]


async def serve_long_replies() -> None:
    """A reply of sixteen dimensions for each request, with as little work as that takes; prints its port."""
    said = FakeServer.completion({"messages": []}, "ok")
    said["choices"][0]["message"]["content"] = json.dumps(LONG)
    content = json.dumps(said).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content)

    async def connection(reader, writer) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"(?i)content-length: *(\d+)", head).group(1)))
                writer.write(answer + content)
                await writer.drain()

    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve_long_replies())
