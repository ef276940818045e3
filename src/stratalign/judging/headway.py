"""How far judging is: counted calls and tokens, cost, rate and time left, and one line that says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stratalign.judging.replies import State
from stratalign.records import duration


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
        bad = self._bad()
        parts = [
            f"{self.done:,} of {self.total:,}" + (f" ({bad})" if bad else ""),
            f"{self.rate * 60:,.0f} a minute",
            *self._spent(),
        ]
        if self.seconds_left is not None and self.done < self.total:
            parts.append(f"{duration(self.seconds_left)} left")
        return ", ".join(parts)

    def account(self) -> str:
        """What it took, and how many texts did not come out, without counts and times."""
        return ", ".join([*self._spent(), *([bad] if (bad := self._bad()) else [])])

    def _bad(self) -> str:
        return ", ".join(f"{count} {state}" for state, count in self.states.items() if state != "ok")

    def _spent(self) -> list[str]:
        cost = [] if self.cost is None else [f"{self.cost:,.2f} {self.currency}"]
        return [f"{self.tokens_in + self.tokens_out:,} tokens", *cost]


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
