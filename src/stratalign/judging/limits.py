"""How fast a server may be asked: limits per minute and per second, a slow start, less after "too many calls".

Knows no network and no clock: times come in as numbers, in seconds.
"""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass, field


class Bucket:
    """A token bucket that holds what one second may use.

    Its rate is `per_minute` / 61 a second and it holds one second's worth, at least 1, so that no second sees a burst
    and no minute more than the limit (60 seconds' refill and one full bucket). A call that needs more than the bucket
    holds is let through when it is full and leaves it in debt.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self.rate = per_minute / 61
        self.size = max(1.0, self.rate)
        self.level = self.size
        self.then = now

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken."""
        self._refill(now)
        missing = min(amount, self.size) - self.level
        return missing / self.rate if missing > 1e-9 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take `amount`; a negative one gives back what a call did not use."""
        self._refill(now)
        self.level = min(self.size, self.level - amount)

    def _refill(self, now: float) -> None:
        self.level = min(self.size, self.level + self.rate * max(0.0, now - self.then))
        self.then = max(self.then, now)


@dataclass
class Limiter:
    """Says when the next call may begin.

    The window is the number of calls at one time. It starts small and grows by one with each success, to twice its
    size in each round (slow start); "too many calls" halves it, once for all calls that were under way, and from then
    on a whole round of successes adds one (AIMD, as in TCP; Chiu & Jain 1989).
    """

    concurrency: int
    requests: Bucket | None = None
    tokens: Bucket | None = None
    running: int = 0
    window: float = field(init=False)
    paused_until: float = 0.0
    _eager: bool = True
    _cut_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.window = float(min(4, self.concurrency))

    def wait(self, amount: float, now: float) -> float | None:
        """Seconds until a call of `amount` tokens may begin; None: not before another call ends."""
        if self.running >= int(self.window):
            return None
        waits = [self.paused_until - now, 0.0]
        if self.requests:
            waits.append(self.requests.wait(1, now))
        if self.tokens:
            waits.append(self.tokens.wait(amount, now))
        return max(waits)

    def begin(self, amount: float, now: float) -> None:
        """A call of about `amount` tokens begins."""
        self.running += 1
        if self.requests:
            self.requests.take(1, now)
        if self.tokens:
            self.tokens.take(amount, now)

    def end(self, reserved: float, used: float | None, now: float) -> None:
        """A call ended that was thought to need `reserved` tokens and used `used` (None: unknown)."""
        self.running -= 1
        if self.tokens and used is not None:
            self.tokens.take(used - reserved, now)

    def went_well(self) -> None:
        """The server answered."""
        self.window = min(self.concurrency, self.window + (1.0 if self._eager else 1.0 / self.window))

    def too_fast(self, began: float, now: float, retry_after: float | None) -> None:
        """The server answered a call that began at `began` with "too many calls"."""
        if retry_after is not None:
            self.paused_until = max(self.paused_until, now + retry_after)
        if began > self._cut_at:
            self.window = max(1.0, self.window / 2)
            self._eager = False
            self._cut_at = now


def limiter_of(
    concurrency: int, requests_per_minute: float | None, tokens_per_minute: float | None, now: float
) -> Limiter:
    """A limiter for these settings; None is no limit."""
    return Limiter(
        concurrency,
        Bucket(requests_per_minute, now) if requests_per_minute else None,
        Bucket(tokens_per_minute, now) if tokens_per_minute else None,
    )


def backoff(first: float, attempt: int, luck: float) -> float:
    """Seconds before the call after the `attempt`-th (from 1) failed one: doubling, at most a minute, with jitter.

    `luck` is uniform in [0, 1) and spreads the wait over its upper half, so that calls that failed together do not
    come back together.
    """
    return min(60.0, first * 2.0 ** min(attempt - 1, 30)) * (0.5 + luck / 2)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that the server asks to wait: a number, or a date (RFC 9110, section 10.2.3); `now` is Unix time."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    given = headers.get("retry-after")
    seconds = _number(given)
    if seconds is not None or given is None:
        return seconds
    try:
        date = email.utils.parsedate_to_datetime(given)
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - now)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
