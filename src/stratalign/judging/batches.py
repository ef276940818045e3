"""Judging in batches over the Files and Batches API of OpenAI, which DashScope speaks too: slower and cheaper.

What the server calls a batch is kept before anything is waited for, so that a killed run is not paid for twice.
Replies are judged as those of single calls are. Knows nothing of prompts and scores.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import openai
from openai.types import Batch as RemoteBatch

from stratalign.errors import UserError
from stratalign.judging.client import Client, request_for
from stratalign.judging.cost import cost_of, longest_reply, tokens_of
from stratalign.judging.event_loop import finished
from stratalign.judging.jobs import Job, Plan, enter_rows
from stratalign.judging.keys import Row, messages_of
from stratalign.judging.protocol import JudgeProtocol
from stratalign.judging.replies import Reply, Trouble, Verdict, judge_reply, read_completion
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.store import Store
from stratalign.judging.store_batches import Batch
from stratalign.judging.store_calls import Call
from stratalign.judging.store_file import readable
from stratalign.judging.tally import Tally, tally_of

MOST_LINES = 10_000
MOST_BYTES = 50_000_000
"""Of one file. OpenAI takes 50,000 lines and 200 MB, DashScope 50,000 and 500 MB; a file is held in memory here."""

_OVER = ("completed", "failed", "expired", "cancelled")


def judge_in_batches(
    settings: JudgeSettings,
    protocol: JudgeProtocol,
    rows: Sequence[Row],
    store: Path,
    *,
    wait: bool = True,
    poll: float = 60.0,
    seed: int = 0,
) -> Tally:
    """Submit what the rows ask for as batches, and enter what comes back.

    Open batches of an earlier run are gone on with, not submitted again. One round: what comes back invalid, cut or
    not at all keeps that state, for another round or for `judge_rows`.

    Args:
        settings: which judge; `completion_window` goes to the server, limits and tries are not used.
        protocol: what is asked and what counts as a reply.
        rows: what to judge.
        store: the file of judgements.
        wait: ask every `poll` seconds until all are over; otherwise look once and leave what is open.
        poll: in seconds.
        seed: of the order.

    Raises:
        UserError: key, balance, address or store; the server has no batches; or `max_cost` might be exceeded.
    """
    return finished(_judge(settings, protocol, rows, store, wait=wait, poll=poll, seed=seed))


async def _judge(
    settings: JudgeSettings,
    protocol: JudgeProtocol,
    rows: Sequence[Row],
    store: Path,
    *,
    wait: bool,
    poll: float,
    seed: int,
) -> Tally:
    began = time.monotonic()
    with readable(store), Store(store) as kept:
        plan = enter_rows(settings, protocol, rows, kept, seed)
        before = kept.calls.used(plan.judge)
        if plan.jobs or kept.batches.open(plan.judge):
            await _Batches(settings, protocol, rows, kept, plan).all(wait, poll)
        used = kept.calls.used(plan.judge)
        tokens_in, tokens_out = used.tokens_in - before.tokens_in, used.tokens_out - before.tokens_out
        return tally_of(
            settings,
            rows,
            kept,
            plan,
            calls=used.calls - before.calls,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            seconds=time.monotonic() - began,
        )


class _Batches:
    """The open batches of one judge, old and new."""

    def __init__(
        self,
        settings: JudgeSettings,
        protocol: JudgeProtocol,
        rows: Sequence[Row],
        store: Store,
        plan: Plan,
    ) -> None:
        self.settings, self.protocol, self.rows = settings, protocol, rows
        self.store, self.plan = store, plan
        self.rows_of = plan.rows_of
        self.client = Client(settings)

    async def all(self, wait: bool, poll: float) -> None:
        try:
            self._check_cost()
            for jobs in self._files(self.plan.jobs):
                self.store.batches.begin(self.plan.judge, {job.key: job.round for job in jobs})
            while True:
                for batch in self.store.batches.open(self.plan.judge):
                    if batch.remote is not None:
                        await self._look(batch, batch.remote)
                    elif self.store.batches.claim(batch.id):
                        await self._submit(batch)
                if not wait or not self.store.batches.open(self.plan.judge):
                    return
                await asyncio.sleep(poll)
                self.store.worker.sign_of_life()
        except openai.OpenAIError as error:
            trouble = self.client.trouble(error)
            raise UserError(
                f"The server does not take or give back a batch: {trouble.reason}. What was submitted is kept, and "
                "the same command goes on with it; with a server that has no batches, judge without them."
            ) from None
        finally:
            await self.client.close()

    def _files(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        """The jobs, in parts that fit into a file."""
        part: list[Job] = []
        size = 0
        for job in jobs:
            length = len(self._line(job.key, job.row))
            if part and (len(part) == MOST_LINES or size + length > MOST_BYTES):
                yield part
                part, size = [], 0
            part.append(job)
            size += length
        if part:
            yield part

    def _line(self, key: str, row: int) -> bytes:
        messages = messages_of(self.settings, self.protocol, self.rows[row].item)
        body = request_for(
            self.settings, self.protocol, messages, longest_reply(self.settings, self.protocol)
        )
        line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(line, ensure_ascii=False).encode() + b"\n"

    async def _submit(self, batch: Batch) -> None:
        """Bring a batch to the server, from where an earlier run was killed on that way."""
        try:
            if batch.file is None:
                file = await self._upload(batch)
                if file is None:
                    return
                remote = None
            else:
                file, remote = batch.file, await self._find(batch.file)
            if remote is None:
                made = await self.client.sdk.batches.create(
                    input_file_id=file,
                    endpoint="/v1/chat/completions",
                    # The library knows OpenAI's one window; other servers have more.
                    completion_window=cast(Literal["24h"], self.settings.completion_window),
                )
                remote = made.id
        except openai.APIStatusError as error:
            if error.status_code < 500:
                # Refused for good: its judgements are free for single calls.
                reason = self.client.trouble(error).reason
                self.store.batches.end(self.plan.judge, batch.id, "refused", [], reason)
            raise
        self.store.batches.note(batch.id, "submitted", remote=remote)

    async def _upload(self, batch: Batch) -> str | None:
        """The server's id of the batch's file; None if other processes left nothing for it."""
        keys = self.store.batches.keys_in(batch.id)
        if not keys:
            self.store.batches.end(self.plan.judge, batch.id, "dropped", [], "nothing was left to ask")
            return None
        content = b"".join(self._line(key, self.rows_of[key]) for key in keys)
        sent = await self.client.sdk.files.create(file=("judge.jsonl", content), purpose="batch")
        self.store.batches.note(batch.id, "uploaded", file=sent.id)
        return sent.id

    async def _find(self, file: str) -> str | None:
        """The batch that an earlier run made of a file but was killed before it could note it."""
        try:
            async for batch in self.client.sdk.batches.list(limit=100):
                if batch.input_file_id == file:
                    return batch.id
        except openai.NotFoundError:
            pass  # a server that keeps no list
        return None

    async def _look(self, batch: Batch, name: str) -> None:
        """Ask how a batch is, and enter its results when it is over."""
        remote = await self.client.sdk.batches.retrieve(name)
        if remote.status not in _OVER:
            self.store.batches.note(batch.id, remote.status)
            return
        lines: list[dict[str, Any]] = []
        for file in (remote.output_file_id, remote.error_file_id):
            if file:
                answer = await self.client.sdk.files.content(file)
                lines += _objects(answer.content)
        keys = set(self.store.batches.keys_in(batch.id))
        results = {}
        for line in lines:
            key = line.get("custom_id")
            if isinstance(key, str) and key in keys:
                results[key] = self._result(key, line, batch.id)
        self.store.batches.end(
            self.plan.judge, batch.id, remote.status, list(results.values()), self._reason(remote)
        )

    def _result(self, key: str, line: dict[str, Any], batch: int) -> tuple[Call, Verdict]:
        response = line.get("response") or {}
        status, body = response.get("status_code"), response.get("body")
        answer: Reply | Trouble
        if status == 200:
            answer = self.client.clean(read_completion(body))
        else:
            answer = self.client.trouble_of(
                status if isinstance(status, int) else 0, body or line.get("error")
            )
        if isinstance(answer, Reply):
            row = self.rows_of.get(key)
            verdict = judge_reply(self.protocol, answer, None if row is None else self.rows[row].item)
            outcome: str = verdict.state
        else:
            state: Literal["blocked", "failed"] = "blocked" if answer.meaning == "blocked" else "failed"
            verdict, outcome = Verdict(state, reason=answer.reason), answer.meaning
        now = time.time()
        return Call(key, outcome, answer, verdict.reason, self._guess(key), now, now, batch), verdict

    def _reason(self, remote: RemoteBatch) -> str | None:
        errors = remote.errors.data if remote.errors and remote.errors.data else []
        return self.client.redacted("; ".join(error.message or "" for error in errors)) or None

    def _check_cost(self) -> None:
        """A batch cannot be stopped halfway, so its greatest cost, and that of open ones, must be allowed before."""
        price, most = self.settings.price, self.settings.max_cost
        if price is None or most is None or not self.plan.jobs:
            return
        asked = [job.key for job in self.plan.jobs]
        for batch in self.store.batches.open(self.plan.judge):
            asked += self.store.batches.keys_in(batch.id)
        used = self.store.calls.used(self.plan.judge)
        longest = len(asked) * longest_reply(self.settings, self.protocol)
        worst = cost_of(price, used.tokens_in + sum(map(self._guess, asked)), used.tokens_out + longest)
        if worst > most:
            raise UserError(
                f"The batch may bring the cost to {worst:,.2f} {price.currency}, beyond judge.max_cost "
                f"({most:,.2f}). Raise judge.max_cost, or judge without a batch, which stops in time."
            )

    def _guess(self, key: str) -> int:
        """About how many tokens a prompt has; 0 for one that is not among the rows."""
        row = self.rows_of.get(key)
        return 0 if row is None else tokens_of(messages_of(self.settings, self.protocol, self.rows[row].item))


def _objects(content: bytes) -> list[dict[str, Any]]:
    """The JSON objects of a line file; a damaged line is left out, so that its judgement stays open."""
    found = []
    for line in content.decode("utf-8", "replace").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found
