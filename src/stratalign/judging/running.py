"""Judging rows: every text asked about once, in shuffled order, until each is settled or the run has to stop.

Knows the loop alone: what there is to ask (`jobs`), when a call may begin (`turns`), how it is made (`client`), what
it means (`replies`, `profiles`), whether to ask again (`retries`) and where judgements are kept (`store`) is known
elsewhere.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path

from stratalign.errors import StudyFailure, UserError
from stratalign.judging.client import Client, request_for
from stratalign.judging.cost import cost_of, longest_reply, tokens_of
from stratalign.judging.event_loop import cancelled, finished
from stratalign.judging.headway import Headway, Pace, Watcher, unwatched
from stratalign.judging.jobs import Job, Plan, enter_rows
from stratalign.judging.keys import Row, host_of, messages_of
from stratalign.judging.limits import limiter_of
from stratalign.judging.protocol import Item, JudgeProtocol, Message
from stratalign.judging.replies import Reply, State, Trouble, Verdict, judge_reply
from stratalign.judging.retries import Retries
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.spending import Spending
from stratalign.judging.store import Store
from stratalign.judging.store_calls import Call
from stratalign.judging.store_file import readable
from stratalign.judging.tally import Tally, tally_of
from stratalign.judging.turns import Stopped, Turns

SIGN_OF_LIFE = 15.0
"""Seconds between two signs of life of this process in the store."""


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
        spending = Spending(settings, kept.calls.used(plan.judge))
        if plan.jobs:
            await _Run(settings, protocol, rows, kept, plan, spending, progress, seed).all()
        return tally_of(
            settings,
            rows,
            kept,
            plan,
            calls=spending.calls,
            tokens_in=spending.tokens_in,
            tokens_out=spending.tokens_out,
            seconds=time.monotonic() - began,
        )


class _Run:
    """One run: its workers share the jobs, the limiter and the totals."""

    def __init__(
        self,
        settings: JudgeSettings,
        protocol: JudgeProtocol,
        rows: Sequence[Row],
        store: Store,
        plan: Plan,
        spending: Spending,
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
        self.spending = spending
        self.turns = Turns(self.limiter, spending)
        self.pace = Pace(now)
        self.luck = random.Random(seed)
        self.jobs: deque[Job] = deque()
        self.held: list[Job] = []
        self.states: Counter[State] = Counter()
        self.failures = 0

    async def all(self) -> None:
        """Settle every job, here or in another process that has claimed it."""
        pulse = asyncio.create_task(self._pulse())
        todo = self.plan.jobs
        try:
            while todo and not self.turns.error:
                self.jobs.extend(todo)
                workers = [
                    asyncio.create_task(self._work())
                    for _ in range(min(len(todo), self.settings.concurrency))
                ]
                try:
                    await asyncio.gather(*workers)
                finally:
                    await cancelled(workers)
                todo = await self._freed()
        finally:
            await cancelled([pulse])
            await self.client.close()
        self.progress(self.headway())
        if self.turns.error:
            raise self.turns.error

    def headway(self) -> Headway:
        """How far this run is."""
        done, total = sum(self.states.values()), len(self.plan.jobs)
        rate = self.pace.rate(time.monotonic())
        price, spending = self.settings.price, self.spending
        return Headway(
            done=done,
            total=total,
            states=dict(self.states),
            calls=spending.calls,
            tokens_in=spending.tokens_in,
            tokens_out=spending.tokens_out,
            cost=cost_of(price, spending.tokens_in, spending.tokens_out) if price else None,
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
                self.spending.look_up(self.store.calls.used(self.plan.judge))
            if time.monotonic() >= next_sign:
                self.store.worker.sign_of_life()
                next_sign = time.monotonic() + SIGN_OF_LIFE

    async def _freed(self) -> list[Job]:
        """Wait for what other processes have claimed; the jobs that they gave up without settling them."""
        while self.held and not self.turns.error:
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
                await self.turns.nap(0.5)
        return []

    async def _work(self) -> None:
        while self.jobs and not self.turns.error:
            job = self.jobs.popleft()
            if not self.store.claim(job.key, job.round):
                self.held.append(job)
                continue
            try:
                await self._judge(job)
            except Stopped:
                return
            except sqlite3.Error:
                raise
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one row, the others are judged
                reason = self.client.redacted(f"{type(error).__name__}: {error}")
                self._settle(job, None, Verdict("failed", reason=reason))

    async def _judge(self, job: Job) -> None:
        """Ask about one text until it is settled."""
        item = self.rows[job.row].item
        messages = messages_of(self.settings, self.protocol, item)
        guess = tokens_of(messages)
        retries = Retries(self.settings, longest_reply(self.settings, self.protocol), self.luck)
        while True:
            answer, began, clock = await self._call(messages, guess, retries.longest)
            verdict = self._verdict(answer, item)
            outcome = answer.meaning if isinstance(answer, Trouble) else verdict.state
            call = Call(job.key, outcome, answer, verdict.reason, guess, began, time.time())
            then = retries.after(answer, verdict, clock, time.monotonic())
            if then.stop is None and not then.again:
                self._settle(job, call, verdict)
                return
            self.store.record(self.plan.judge, call)
            if then.stop is not None:
                raise self.turns.stop(UserError(self._told(then.stop, then.advice)))
            if then.wait:
                await self.turns.nap(then.wait)

    async def _call(
        self, messages: Sequence[Message], guess: int, longest: int
    ) -> tuple[Reply | Trouble, float, float]:
        """One call, once its turn has come; what came back, and when it began: in Unix seconds, which are kept, and by
        a clock that nobody sets, by which deadlines are counted."""
        amount = guess + self.spending.typical_reply(longest)
        worst = self.spending.worst(guess, longest)
        await self.turns.begin(amount, worst)
        began, clock = time.time(), time.monotonic()
        used: int | None = None
        try:
            answer = await self.client.ask(request_for(self.settings, self.protocol, messages, longest))
            used = self.spending.add(answer)
            if isinstance(answer, Reply):
                self.limiter.went_well()
            elif answer.meaning == "slow":
                self.limiter.too_fast(clock, time.monotonic(), answer.retry_after)
            return answer, began, clock
        finally:
            self.turns.end(amount, worst, used)

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
            self.turns.stop(StudyFailure(told))

    def _count(self, state: State) -> None:
        self.states[state] += 1
        self.pace.settled(time.monotonic())

    def _told(self, reason: str, advice: str = "Mend that") -> str:
        return (
            f"The judge {self.settings.model} at {host_of(self.settings)} cannot go on: {reason}. Everything judged "
            f"so far is kept. {advice}, then run the same command again."
        )
