"""Judging rows: every text asked about once, in shuffled order, until each is settled or the run has to stop.

Knows when to ask, ask again and stop; how a call is made (`client`), what it means (`replies`, `profiles`), how fast
calls may follow (`limits`) and where judgements are kept (`store`) is known elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from stratalign.errors import StudyFailure, UserError
from stratalign.judging.client import Client, request_for
from stratalign.judging.cost import cost_of, longest_reply, tokens_of
from stratalign.judging.headway import Headway, Pace, Watcher, unwatched
from stratalign.judging.keys import Row, host_of, identity, judgements_of, messages_of
from stratalign.judging.limits import backoff, limiter_of
from stratalign.judging.protocol import Item, JudgeProtocol, Message
from stratalign.judging.replies import Reply, State, Trouble, Verdict, judge_reply
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.store import Link, Store, count_states
from stratalign.judging.store_calls import Call
from stratalign.judging.store_file import readable

T = TypeVar("T")
SIGN_OF_LIFE = 15.0
"""Seconds between two signs of life of this process in the store."""


@dataclass(frozen=True)
class Tally:
    """What a run of the judge did.

    `texts` judgements were asked for by `rows` rows; `known` of them were valid before; `states` counts all of them
    now, those in open batches (`in_batch`) as pending. Calls, tokens and cost are this run's.
    """

    rows: int
    texts: int
    known: int
    states: dict[State, int]
    in_batch: int
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    currency: str
    seconds: float


class Job(NamedTuple):
    """A judgement to ask for: the row that it is for, and how often it was settled before."""

    key: str
    round: int
    row: int


class Plan(NamedTuple):
    """Rows as entered in a store: the judge's number, key -> a row of that text, how many are valid, what to ask."""

    judge: int
    rows_of: dict[str, int]
    known: int
    jobs: list[Job]


def judge_rows(
    settings: JudgeSettings,
    protocol: JudgeProtocol,
    rows: Sequence[Row],
    store: Path,
    *,
    progress: Watcher = unwatched,
    seed: int = 0,
) -> Tally:
    """Ask the judge about every row whose text has no valid judgement in the store yet.

    One row that cannot be judged never ends the run: it gets a state. What is settled is in the store at once, so a
    run that was killed or stopped goes on where it was when it is started again.

    Args:
        settings: which judge, how fast, how often.
        protocol: what is asked and what counts as a reply.
        rows: what to judge, of all runs together, since they are asked in one shuffled order.
        store: the file of judgements; made if it is not there. Several processes may use it at once.
        progress: is told how far judging is, about once a second.
        seed: of the order and of the jitter of waits; no score depends on it.

    Raises:
        UserError: no call can succeed (key, balance, address, store), or `max_cost` is reached.
        StudyFailure: `max_failures` texts failed in a row.
    """
    return finished(judge_rows_async(settings, protocol, rows, store, progress=progress, seed=seed))


async def judge_rows_async(
    settings: JudgeSettings,
    protocol: JudgeProtocol,
    rows: Sequence[Row],
    store: Path,
    *,
    progress: Watcher = unwatched,
    seed: int = 0,
) -> Tally:
    """`judge_rows` for a program that has an event loop."""
    began = time.monotonic()
    with readable(store), Store(store) as kept:
        plan = enter_rows(settings, protocol, rows, kept, seed)
        calls = tokens_in = tokens_out = 0
        if plan.jobs:
            run = _Run(settings, protocol, rows, kept, plan, progress, seed)
            await run.all()
            calls, tokens_in, tokens_out = run.calls, run.tokens_in, run.tokens_out
        return tally_of(
            settings,
            rows,
            kept,
            plan,
            calls=calls,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            seconds=time.monotonic() - began,
        )


def enter_rows(
    settings: JudgeSettings, protocol: JudgeProtocol, rows: Sequence[Row], store: Store, seed: int
) -> Plan:
    """Enter what the rows ask for, and find what is left to ask, in shuffled order."""
    asked = list(judgements_of(settings, protocol, rows))
    rows_of = {one.key: one.row for one in reversed(asked)}
    links = (
        Link(rows[one.row].run, rows[one.row].prompt_id, rows[one.row].variant, one.key, one.repeat)
        for one in asked
    )
    judge = store.enter(identity(settings, protocol), links)
    store.worker.sign_of_life()
    standing = store.standing(list(rows_of))
    again = {"pending", *settings.ask_again}
    keys = sorted(rows_of)
    # Runs are mixed, so that a judge that drifts or a server that fails does not meet one run alone.
    random.Random(seed).shuffle(keys)
    jobs = [
        Job(key, standing[key].round, rows_of[key])
        for key in keys
        if standing[key].state in again and standing[key].batch is None
    ]
    return Plan(judge, rows_of, sum(one.state == "ok" for one in standing.values()), jobs)


def finished(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, also where an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class _Stopped(Exception):  # noqa: N818 - not an error: the run has ended
    """The run is ending; no further call begins."""


class _Run:
    """One run: its workers share the jobs, the limiter and the totals."""

    def __init__(
        self,
        settings: JudgeSettings,
        protocol: JudgeProtocol,
        rows: Sequence[Row],
        store: Store,
        plan: Plan,
        progress: Watcher,
        seed: int,
    ) -> None:
        self.settings, self.protocol, self.rows = settings, protocol, rows
        self.store, self.plan, self.progress = store, plan, progress
        self.client = Client(settings)
        now = time.monotonic()
        self.limiter = limiter_of(
            settings.concurrency, settings.requests_per_minute, settings.tokens_per_minute, now
        )
        self.pace = Pace(now)
        self.luck = random.Random(seed)
        self.jobs: deque[Job] = deque()
        self.held: list[Job] = []
        self.states: Counter[State] = Counter()
        self.calls = self.replies = self.tokens_in = self.tokens_out = 0
        self.used = store.calls.used(plan.judge)
        self.reserved = 0.0
        self.failures = 0
        self.error: Exception | None = None
        self.stopped = asyncio.Event()
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def all(self) -> None:
        """Settle every job, here or in another process that has claimed it."""
        pulse = asyncio.create_task(self._pulse())
        todo = self.plan.jobs
        try:
            while todo and not self.error:
                self.jobs.extend(todo)
                workers = [
                    asyncio.create_task(self._work())
                    for _ in range(min(len(todo), self.settings.concurrency))
                ]
                try:
                    await asyncio.gather(*workers)
                finally:
                    await _cancelled(workers)
                todo = await self._freed()
        finally:
            await _cancelled([pulse])
            await self.client.close()
        self.progress(self.headway())
        if self.error:
            raise self.error

    def headway(self) -> Headway:
        """How far this run is."""
        done, total = sum(self.states.values()), len(self.plan.jobs)
        rate = self.pace.rate(time.monotonic())
        price = self.settings.price
        return Headway(
            done=done,
            total=total,
            states=dict(self.states),
            calls=self.calls,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            cost=cost_of(price, self.tokens_in, self.tokens_out) if price else None,
            currency=price.currency if price else "",
            rate=rate,
            seconds_left=(total - done) / rate if rate else None,
        )

    async def _pulse(self) -> None:
        """Tell how far we are, and the store that we live."""
        next_sign = time.monotonic() + SIGN_OF_LIFE
        while True:
            self.progress(self.headway())
            await asyncio.sleep(1.0)
            if self.settings.max_cost is not None:
                self._look_up_cost()
            if time.monotonic() >= next_sign:
                self.store.worker.sign_of_life()
                next_sign = time.monotonic() + SIGN_OF_LIFE

    async def _freed(self) -> list[Job]:
        """Wait for what other processes have claimed; the jobs that they gave up without settling them."""
        while self.held and not self.error:
            self.store.worker.sign_of_life()
            standing = self.store.standing([job.key for job in self.held])
            open_jobs = [
                job
                for job in self.held
                if standing[job.key].round == job.round and standing[job.key].batch is None
            ]
            for job in self.held:
                if job not in open_jobs:
                    self._count(standing[job.key].state)
            free = [job for job in open_jobs if not standing[job.key].owned]
            self.held = [job for job in open_jobs if standing[job.key].owned]
            if free:
                return free
            if self.held:
                await self._nap(0.5)
        return []

    async def _work(self) -> None:
        while self.jobs and not self.error:
            job = self.jobs.popleft()
            if not self.store.claim(job.key, job.round):
                self.held.append(job)
                continue
            try:
                await self._judge(job)
            except _Stopped:
                return
            except sqlite3.Error:
                raise
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one row, the others are judged
                reason = self.client.redacted(f"{type(error).__name__}: {error}")
                self._settle(job, None, Verdict("failed", reason=reason))

    async def _judge(self, job: Job) -> None:
        """Ask about one text until it is settled."""
        settings = self.settings
        messages = messages_of(self.settings, self.protocol, self.rows[job.row].item)
        guess = tokens_of(messages)
        longest, lengthened = longest_reply(settings, self.protocol), False
        tries = invalid = 0
        start: float | None = None
        while True:
            answer, began = await self._call(messages, guess, longest)
            now = time.time()
            start = start or began
            verdict = self._verdict(answer, self.rows[job.row].item)
            outcome = answer.meaning if isinstance(answer, Trouble) else verdict.state
            call = Call(job.key, outcome, answer, verdict.reason, guess, began, now)
            wait = 0.0
            if isinstance(answer, Trouble):
                if answer.meaning == "stop":
                    self.store.record(self.plan.judge, call)
                    raise self._stop(UserError(self._told(answer.reason)))
                if answer.meaning in ("retry", "slow"):
                    tries += 1
                    wait = max(backoff(settings.backoff, tries, self.luck.random()), answer.retry_after or 0)
                    if answer.meaning == "slow" and wait > settings.deadline:
                        self.store.record(self.plan.judge, call)
                        raise self._stop(
                            UserError(
                                self._told(f"{answer.reason} (it asks to wait {wait:,.0f} s)", "Wait so long")
                            )
                        )
                    again = tries < settings.tries and now + wait - start <= settings.deadline
                else:
                    again = False
            elif verdict.state == "truncated":
                again, lengthened, longest = not lengthened, True, longest * 2
            elif verdict.state == "invalid":
                invalid += 1
                again = invalid < settings.invalid_tries and now - start <= settings.deadline
            else:
                again = False
            if not again:
                self._settle(job, call, verdict)
                return
            self.store.record(self.plan.judge, call)
            if wait:
                await self._nap(wait)

    async def _call(
        self, messages: Sequence[Message], guess: int, longest: int
    ) -> tuple[Reply | Trouble, float]:
        """One call, once the limits allow it; what came back, and when it began (Unix seconds)."""
        typical = self.tokens_out / self.replies if self.replies else longest
        amount = guess + typical
        price = self.settings.price
        worst = cost_of(price, guess, longest) if price else 0.0
        await self._enter(amount, worst)
        began, clock = time.time(), time.monotonic()
        used: float | None = None
        try:
            answer = await self.client.ask(request_for(self.settings, self.protocol, messages, longest))
            self.calls += 1
            if isinstance(answer, Reply):
                self.limiter.went_well()
                if answer.tokens_out is not None:
                    self.replies += 1
                    used = (answer.tokens_in or 0) + answer.tokens_out
                self.tokens_in += answer.tokens_in or 0
                self.tokens_out += answer.tokens_out or 0
            elif answer.meaning == "slow":
                self.limiter.too_fast(clock, time.monotonic(), answer.retry_after)
            return answer, began
        finally:
            self.reserved -= worst
            self.limiter.end(amount, used, time.monotonic())
            self._wake(max(1, int(self.limiter.window) - self.limiter.running))

    async def _enter(self, amount: float, worst: float) -> None:
        """Wait until a call of `amount` tokens, which costs at most `worst`, may begin."""
        while True:
            if self.error:
                raise _Stopped
            affordable = self._affordable(worst)
            if not affordable and self.limiter.running == 0:
                raise self._stop(self._too_dear())
            now = time.monotonic()
            wait = self.limiter.wait(amount, now) if affordable else None
            if wait is None:
                turn = asyncio.get_running_loop().create_future()
                self.waiting.append(turn)
                await turn
            elif wait > 0:
                await self._nap(wait)
            else:
                self.limiter.begin(amount, now)
                self.reserved += worst
                return

    def _affordable(self, worst: float) -> bool:
        most = self.settings.max_cost
        return most is None or self._spent() + self.reserved + worst <= most

    def _spent(self) -> float:
        """What the judge has cost in this store: what the store last said, and what has come back since."""
        price = self.settings.price
        if price is None:
            return 0.0
        tokens_in, tokens_out = self.used.tokens_in + self.tokens_in, self.used.tokens_out + self.tokens_out
        return cost_of(price, tokens_in, tokens_out)

    def _look_up_cost(self) -> None:
        """Take in what other processes have used. What has come back here is in the store already."""
        used = self.store.calls.used(self.plan.judge)
        self.used = replace(
            used, tokens_in=used.tokens_in - self.tokens_in, tokens_out=used.tokens_out - self.tokens_out
        )

    def _verdict(self, answer: Reply | Trouble, item: Item) -> Verdict:
        if isinstance(answer, Reply):
            return judge_reply(self.protocol, answer, item)
        return Verdict("blocked" if answer.meaning == "blocked" else "failed", reason=answer.reason)

    def _settle(self, job: Job, call: Call | None, verdict: Verdict) -> None:
        self.store.settle(self.plan.judge, call, job.key, verdict)
        self._count(verdict.state)
        self.failures = self.failures + 1 if verdict.state == "failed" else 0
        if self.failures >= self.settings.max_failures:
            told = self._told(f"{self.failures} texts failed in a row, the last with: {verdict.reason}")
            self._stop(StudyFailure(told))

    def _count(self, state: State) -> None:
        self.states[state] += 1
        self.pace.settled(time.monotonic())

    def _stop(self, error: Exception) -> _Stopped:
        """Let no further call begin; those under way are paid for, and end."""
        self.error = self.error or error
        self.stopped.set()
        self._wake(len(self.waiting))
        return _Stopped()

    def _told(self, reason: str, advice: str = "Mend that") -> str:
        return (
            f"The judge {self.settings.model} at {host_of(self.settings)} cannot go on: {reason}. Everything judged "
            f"so far is kept. {advice}, then run the same command again."
        )

    def _too_dear(self) -> UserError:
        currency = self.settings.price.currency if self.settings.price else ""
        return UserError(
            f"The judge has cost {self._spent():,.4f} {currency}, and another call might go beyond judge.max_cost "
            f"({self.settings.max_cost:,.4f}). Everything judged so far is kept. Raise judge.max_cost to go on."
        )

    def _wake(self, count: int) -> None:
        while count > 0 and self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1

    async def _nap(self, seconds: float) -> None:
        """Sleep, but not beyond the end of the run."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.stopped.wait(), seconds)


async def _cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def tally_of(
    settings: JudgeSettings,
    rows: Sequence[Row],
    store: Store,
    plan: Plan,
    *,
    calls: int,
    tokens_in: int,
    tokens_out: int,
    seconds: float,
) -> Tally:
    """What a run did, and the states that the store has now."""
    standing = store.standing(list(plan.rows_of))
    price = settings.price
    return Tally(
        rows=len(rows),
        texts=len(plan.rows_of),
        known=plan.known,
        states=count_states(standing.values()),
        in_batch=sum(one.batch is not None for one in standing.values()),
        calls=calls,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        cost=cost_of(price, tokens_in, tokens_out) if price else None,
        currency=price.currency if price else "",
        seconds=seconds,
    )
