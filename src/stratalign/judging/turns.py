"""Which of a run's calls begins when: they queue for the limiter and for what is left to spend, until the run stops.

Knows nothing of what a call asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

from stratalign.judging.limits import Limiter
from stratalign.judging.spending import Spending


class Stopped(Exception):  # noqa: N818 - not an error: the run has ended
    """The run is ending; no further call begins."""


class Turns:
    """The queue of one run's calls; `error` says why the run stops, once it does."""

    def __init__(self, limiter: Limiter, spending: Spending) -> None:
        self.error: Exception | None = None
        self._limiter, self._spending = limiter, spending
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._stopped = asyncio.Event()

    async def begin(self, amount: float, worst: float) -> None:
        """Wait until a call of `amount` tokens, which costs at most `worst`, may begin.

        Raises:
            Stopped: the run is ending, perhaps because this call cannot be afforded.
        """
        while True:
            if self.error:
                raise Stopped
            affordable = self._spending.affords(worst)
            if not affordable and self._limiter.running == 0:
                raise self.stop(self._spending.too_dear())
            now = time.monotonic()
            wait = self._limiter.wait(amount, now) if affordable else None
            if wait is None:
                turn = asyncio.get_running_loop().create_future()
                self._waiting.append(turn)
                await turn
            elif wait > 0:
                await self.nap(wait)
            else:
                self._limiter.begin(amount, now)
                self._spending.reserve(worst)
                return

    def end(self, amount: float, worst: float, used: float | None) -> None:
        """That call ended, having used so many tokens (None: unknown); whoever may begin now is woken."""
        self._spending.release(worst)
        self._limiter.end(amount, used, time.monotonic())
        self._wake(max(1, int(self._limiter.window) - self._limiter.running))

    def stop(self, error: Exception) -> Stopped:
        """Let no further call begin; those under way are paid for, and end."""
        self.error = self.error or error
        self._stopped.set()
        self._wake(len(self._waiting))
        return Stopped()

    async def nap(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the run."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    def _wake(self, count: int) -> None:
        while count > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1
