"""What the calls of one run have used, and whether another call can be afforded under `max_cost`.

A call's greatest cost is reserved when it begins and released when it ends, so that calls under way together cannot
go beyond the limit. Knows no store and no clock.
"""

from __future__ import annotations

from dataclasses import replace

from stratalign.errors import UserError
from stratalign.judging.cost import cost_of
from stratalign.judging.replies import Reply, Trouble
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.store_calls import Used


class Spending:
    """Calls and tokens of one run; `used` is what the judge has used in the store when the run begins."""

    def __init__(self, settings: JudgeSettings, used: Used) -> None:
        self.calls = self.replies = self.tokens_in = self.tokens_out = 0
        self._price, self._most = settings.price, settings.max_cost
        self._besides = used
        self._reserved = 0.0

    def typical_reply(self, longest: int) -> float:
        """Tokens of a mean reply of this run; before there is one, of the longest that is allowed."""
        return self.tokens_out / self.replies if self.replies else longest

    def worst(self, tokens_in: int, longest: int) -> float:
        """The greatest cost of a call; 0 without a price."""
        return cost_of(self._price, tokens_in, longest) if self._price else 0.0

    def affords(self, worst: float) -> bool:
        """Whether a call that costs at most `worst` may begin."""
        return self._most is None or self._spent() + self._reserved + worst <= self._most

    def reserve(self, worst: float) -> None:
        """A call begins that costs at most `worst`."""
        self._reserved += worst

    def release(self, worst: float) -> None:
        """That call has ended."""
        self._reserved -= worst

    def add(self, answer: Reply | Trouble) -> int | None:
        """Count a call that came back; its tokens, None where the server did not count them."""
        self.calls += 1
        if isinstance(answer, Trouble):
            return None
        self.tokens_in += answer.tokens_in or 0
        self.tokens_out += answer.tokens_out or 0
        if answer.tokens_out is None:
            return None
        self.replies += 1
        return (answer.tokens_in or 0) + answer.tokens_out

    def look_up(self, used: Used) -> None:
        """Take in what other processes have used. What has come back here is in the store already."""
        self._besides = replace(
            used, tokens_in=used.tokens_in - self.tokens_in, tokens_out=used.tokens_out - self.tokens_out
        )

    def too_dear(self) -> UserError:
        """What to say when not even a single call can be afforded."""
        currency = self._price.currency if self._price else ""
        return UserError(
            f"The judge has cost {self._spent():,.4f} {currency}, and another call might go beyond judge.max_cost "
            f"({self._most:,.4f}). Everything judged so far is kept. Raise judge.max_cost to go on."
        )

    def _spent(self) -> float:
        """What the judge has cost in this store: what the store last said, and what has come back since."""
        if self._price is None:
            return 0.0
        tokens_in = self._besides.tokens_in + self.tokens_in
        tokens_out = self._besides.tokens_out + self.tokens_out
        return cost_of(self._price, tokens_in, tokens_out)
