"""What the lines and rows of a study's files are: one dataclass for each kind of record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Progress = Callable[[str, float, int], None]
"""How a stage says how far it is: what it does, how many are done, how many there are.

Where begun ones count in part, how many are done is a float. What it does may be followed by ": " and how it goes,
which changes. Where there are 0, it is a sentence to show once.
"""


def silent(_what: str, _done: float, _total: int) -> None:
    """Progress that nobody watches."""


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class StepRecord:
    """One line of training.jsonl: one run after one optimizer step.

    Rewards are beta x (log pi - log pi_ref), in nats, summed over a response's tokens and averaged over the
    step's pairs with the step's pair weights. SimPO has no reference: its are beta x log pi per token, and do not
    start at 0. Where only the chosen response was computed (`sft` on demonstrations, or in a study of nothing else),
    the reward of rejected, the margin and the accuracy are None. `grad_norm` is the run's own norm before clipping.
    """

    run: str
    step: int
    loss: float
    reward_chosen: float
    reward_rejected: float | None
    margin: float | None
    accuracy: float | None
    grad_norm: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True)
class LogProbRecord:
    """One line of logprobs.jsonl: log-probabilities of one held-out pair under one run, and under the base.

    Summed over the tokens of the response, in nats. A demonstration is what was chosen; what was rejected is None.
    """

    run: str
    prompt_id: str
    cluster: str
    chosen: float
    rejected: float | None
    base_chosen: float
    base_rejected: float | None
    tokens_chosen: int
    tokens_rejected: int | None


@dataclass(frozen=True)
class Response:
    """One line of responses.jsonl: the answer of one run to one held-out prompt.

    `finish` is "stop" (the model ended its answer) or "length" (it was cut at max_new_tokens). `kl_to_base` is
    KL(run || base) along the answer in nats, None for an empty one.
    """

    run: str
    prompt_id: str
    cluster: str
    prompt: str
    response: str
    tokens: int
    finish: str
    sampling_seed: int
    kl_to_base: float | None


STATES = ("ok", "undefined", "pending", "failed", "blocked", "truncated", "invalid", "missing")
"""The states of a score. Only "ok" has a value; "undefined" is a measure that has none for such an answer; with the
others there is no judgement."""


@dataclass(frozen=True, slots=True)
class Score:
    """One row of the long table of scores. `value` is None unless `state` is "ok", one of `STATES`."""

    prompt_id: str
    cluster: str
    run: str
    seed: int
    judge: str
    protocol: str
    dimension: str
    repeat: int
    value: float | None
    state: str


@dataclass(frozen=True)
class Dimension:
    """What a judge scores: its unit, which direction is better (None: neither), what it means, and the category
    that its protocol counts it to, if any."""

    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    about: str
    category: str | None = None
