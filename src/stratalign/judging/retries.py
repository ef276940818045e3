"""Whether a text is asked about again after a call, how long to wait before that, and when no call can succeed.

Knows no network and no clock: times come in as numbers, in seconds.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from stratalign.judging.limits import backoff
from stratalign.judging.replies import Reply, Trouble, Verdict
from stratalign.judging.settings import JudgeSettings


class Next(NamedTuple):
    """What follows a call: the same text `again` after `wait` seconds, or no more of it.

    `stop` is the reason why no call of the run can succeed, with the `advice` that goes with it.
    """

    again: bool
    wait: float = 0.0
    stop: str | None = None
    advice: str = "Mend that"


class Retries:
    """The calls for one text so far; `longest` is the length that its next reply may have.

    A cut reply may be twice as long, once.
    """

    def __init__(self, settings: JudgeSettings, longest: int, luck: random.Random) -> None:
        self.longest = longest
        self._settings = settings
        self._luck = luck
        self._lengthened = False
        self._troubles = self._invalid = 0
        self._start: float | None = None

    def after(self, answer: Reply | Trouble, verdict: Verdict, began: float, now: float) -> Next:
        """What follows a call from `began` to `now` that brought `answer`, which is worth `verdict`."""
        self._start = began if self._start is None else self._start
        if isinstance(answer, Trouble):
            return self._after_trouble(answer, self._start, now)
        if verdict.state == "truncated":
            again, self._lengthened, self.longest = not self._lengthened, True, self.longest * 2
            return Next(again)
        if verdict.state == "invalid":
            self._invalid += 1
            in_time = now - self._start <= self._settings.deadline
            return Next(self._invalid < self._settings.invalid_tries and in_time)
        return Next(again=False)

    def _after_trouble(self, trouble: Trouble, start: float, now: float) -> Next:
        settings = self._settings
        if trouble.meaning == "stop":
            return Next(again=False, stop=trouble.reason)
        if trouble.meaning not in ("retry", "slow"):
            return Next(again=False)
        self._troubles += 1
        wait = max(backoff(settings.backoff, self._troubles, self._luck.random()), trouble.retry_after or 0)
        if trouble.meaning == "slow" and wait > settings.deadline:
            reason = f"{trouble.reason} (it asks to wait {wait:,.0f} s)"
            return Next(again=False, stop=reason, advice="Wait so long")
        return Next(self._troubles < settings.tries and now + wait - start <= settings.deadline, wait)
