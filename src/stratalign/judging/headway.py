"""How far judging is: counted calls and tokens, cost, rate and time left, and one line that says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stratalign.judging.replies import State


@dataclass(frozen=True)
class Headway:
    """How far a run of the judge is.

    `done` of `total` texts are settled, in whatever state; `states` counts them. Calls, tokens and cost are this
    run's; `cost` is None without a price. `rate` is in texts per second, over the last of them.
    """

    done: int
    total: int
    states: Mapping[State, int]
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    currency: str
    rate: float
    seconds_left: float | None

    def line(self) -> str:
        """All of it in one line."""
        bad = ", ".join(f"{count} {state}" for state, count in self.states.items() if state != "ok")
        parts = [
            f"{self.done:,} of {self.total:,}" + (f" ({bad})" if bad else ""),
            f"{self.rate * 60:,.0f} a minute",
            f"{self.tokens_in + self.tokens_out:,} tokens",
        ]
        if self.cost is not None:
            parts.append(f"{self.cost:,.2f} {self.currency}")
        if self.seconds_left is not None and self.done < self.total:
            parts.append(f"{_duration(self.seconds_left)} left")
        return ", ".join(parts)


Watcher = Callable[[Headway], None]
"""Who is told how far judging is, about once a second."""


def unwatched(_headway: Headway) -> None:
    """Nobody."""


class Pace:
    """Texts per second, over the last `of` that were settled."""

    def __init__(self, now: float, of: int = 256) -> None:
        self._times = deque([now], maxlen=of + 1)

    def settled(self, now: float) -> None:
        """One more text is settled at `now`, in seconds."""
        self._times.append(now)

    def rate(self, now: float) -> float:
        """Texts per second up to `now`, so that a standstill shows."""
        past = now - self._times[0]
        return (len(self._times) - 1) / past if past > 0 else 0.0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
