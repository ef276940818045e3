"""The HTTP client under the judge's library: answers of limited size, from one server, in limited time.

Knows no judging; it is built on the HTTP client that the library brings.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Coroutine
from typing import Any, TypeVar

import openai

T = TypeVar("T")

LARGEST = 4 * 2**20
"""Bytes of one answer, as sent and unpacked: some hundred times the longest reply of a judge."""

LARGEST_FILE = 512 * 2**20
"""Bytes of a batch's results."""

_TICK = 1.0
"""Seconds after which a waiting call counts the time anew."""

_REDIRECTS = 5
_PASSES = 500
"""Passes of the event loop in which what has arrived is read before a call is given up."""


class Refused(Exception):  # noqa: N818 - handled by the client
    """An answer that is not taken, and would not be taken if it were asked for again."""


class Redirected(Refused):
    """The server sends its callers to another one."""


class Connection(openai.DefaultAsyncHttpxClient):
    """Reads every answer whole, up to a limit, and follows redirects within one server only."""

    def __init__(self) -> None:
        super().__init__(follow_redirects=False, headers={"Accept-Encoding": "gzip, deflate"})

    async def send(self, request: Any, **options: Any) -> Any:
        """The answer to a request, read to its end.

        Raises:
            Refused: it is larger than allowed, packed in a way that was not asked for, or another server's.
        """
        first = request.url
        for _ in range(_REDIRECTS):
            answer = await super().send(request, **{**options, "stream": True, "follow_redirects": False})
            try:
                following = answer.next_request
                if following is None:
                    return await _whole(answer, request)
            finally:
                await answer.aclose()
            if _server(following.url) != _server(first):
                scheme, host, port = _server(following.url)
                raise Redirected(
                    f"it redirects to another server, {scheme}://{host}:{port}, which gets neither texts nor key; if "
                    "that one is meant, name it in base_url"
                )
            request = following
        raise Refused("it redirects in a circle")


def _server(url: Any) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


async def _whole(answer: Any, request: Any) -> Any:
    """An answer with its whole body, unpacked."""
    limit = LARGEST_FILE if request.url.path.endswith("/content") else LARGEST
    packing = answer.headers.get("content-encoding", "identity").strip().casefold()
    if packing not in ("identity", "", "gzip", "deflate"):
        raise Refused(f"it is packed with {packing[:40]}, which was not asked for")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if packing in ("gzip", "deflate") else None
    body = bytearray()
    sent = 0
    async for piece in answer.aiter_raw():
        sent += len(piece)
        try:
            body += unpack.decompress(piece, limit + 1 - len(body)) if unpack else piece
        except zlib.error as error:
            raise ValueError(f"the answer cannot be unpacked: {error}") from None
        if max(sent, len(body)) > limit:
            raise Refused(f"it is larger than {limit // 2**20} MiB")
    dropped = ("content-encoding", "content-length", "transfer-encoding")
    headers = [(name, value) for name, value in answer.headers.multi_items() if name not in dropped]
    return type(answer)(answer.status_code, headers=headers, content=bytes(body), request=request)


async def within(seconds: float, call: Coroutine[Any, Any, T]) -> T:
    """What `call` returns, if it does within so many seconds.

    Time in which this process did not get to run is not the server's: each tick counts for no more than its length.
    What has arrived is read before the call is given up.

    Raises:
        TimeoutError: it does not.
    """
    task = asyncio.ensure_future(call)
    try:
        left = seconds
        while left > 0 and not task.done():
            tick = min(left, _TICK, seconds / 4)
            began = time.monotonic()
            await asyncio.wait({task}, timeout=tick)
            left -= min(tick, max(time.monotonic() - began, tick / 2))
        for _ in range(_PASSES):
            if task.done():
                break
            await asyncio.sleep(0)
        if not task.done():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
