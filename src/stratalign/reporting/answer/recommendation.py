"""What a recommendation says, as recommendation.json has it: train these layers at this rate, or why not. Pure.

Knows nothing of times, hosts or where the study lies, so that the file is as repeatable as results.json; whoever shows
it adds those. A gain says that training some layers suffices for it under this recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stratalign.records import SCHEMA
from stratalign.reporting.answer.peft_config import PeftConfig
from stratalign.reporting.answer.reach import Reach
from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.findings.runs import Estimate

Outcome = Literal["better", "worse", "cannot tell", "not compared"]
Verdict = Literal["train", "no judge", "cannot tell", "nothing", "controls fail", "unfinished"]


@dataclass(frozen=True)
class Training:
    """What to train, as the recipe and the manifest say it. `modules` counts the exact modules, which
    `Recommendation.peft` names; `by_kind` has each kind's layers where not every kind is in every layer, and is empty
    elsewhere. `learning_rate` is one rate, or one for each block."""

    condition: str
    layers: tuple[int, ...]
    modules: int
    by_kind: dict[str, tuple[int, ...]]
    targets: tuple[str, ...]
    rank: int | None
    alpha: float | None
    learning_rate: float | dict[str, float] | None
    schedule: str | None
    loss: str | None
    beta: float | None
    steps: int
    phases: int


@dataclass(frozen=True)
class Size:
    """A contrast's numbers, with 95 % intervals. `outcome` counts what survives Holm's correction. Of a condition that
    was picked among several, `selected_low` and `selected_high` bound the net win rate with that allowed for."""

    dimension: str
    unit: str
    better: str | None
    against: str
    outcome: Literal["better", "worse", "cannot tell"]
    net_win_rate: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    mean_difference: float | None
    difference_low: float | None
    difference_high: float | None
    n: int
    clusters: int
    selected_low: float | None = None
    selected_high: float | None = None


@dataclass(frozen=True)
class Price:
    """Losses outside of the objective, as tested (`equivalences.TaxTest`): the contrasts that pay; the dimensions on
    which a loss of `margin` (a net win rate) or more is excluded, and on which it is not."""

    pays: tuple[Size, ...]
    margin: float
    no_larger: tuple[str, ...]
    cannot_tell: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Held:
    """The recommended condition head to head with another: full, random layers, or equal parameters. `draws` counts
    the random draws behind it."""

    condition: str
    kind: str
    outcome: Outcome
    words: str
    draws: int = 0


@dataclass(frozen=True)
class Alternative:
    """Another candidate, in the order of the rule; `gains` against base."""

    condition: str
    layers: tuple[int, ...]
    parameters: int | None
    gains: tuple[Size, ...]
    words: str


@dataclass(frozen=True)
class Recommendation:
    """The answer. What only a recommended condition has is None or empty where there is none."""

    verdict: Verdict
    line: str
    words: tuple[str, ...]
    model: str
    source: str
    objective: tuple[str, ...]
    train: Training | None
    gain: tuple[Size, ...]
    tax: Price | None
    parameters: int | None
    share_of_model: float | None
    adapter_bytes: int | None
    kl_to_base: dict[str, Estimate]
    held_against: tuple[Held, ...]
    any_layers_would_do: bool | None
    rule: str
    alternatives: tuple[Alternative, ...]
    prompts_needed: int | None
    reach: Reach
    adapters: tuple[str, ...]
    peft: PeftConfig | None
    next: tuple[str, ...]


def as_json(recommendation: Recommendation) -> dict[str, Any]:
    """The content of recommendation.json."""
    return {"schema": SCHEMA, **asdict(recommendation)}


def size_of(one: Contrast, candidates: int = 1) -> Size:
    """A contrast's numbers, for the record; its condition was picked among so many candidates."""
    low, high = (one.selected_bounds(candidates) if candidates > 1 else None) or (None, None)
    outcome: Literal["better", "worse", "cannot tell"] = "cannot tell"
    if one.sure and one.gain:
        outcome = "better" if one.gain > 0 else "worse"
    return Size(
        one.dimension,
        one.unit,
        one.better,
        one.against,
        outcome,
        one.net_win_rate,
        one.low,
        one.high,
        one.p_holm,
        one.mean_difference,
        one.difference_low,
        one.difference_high,
        one.n,
        one.clusters,
        low,
        high,
    )


def rate_words(rate: float | Mapping[str, float] | None) -> str:
    """'1e-05', or 'local 1e-05, global 5e-06'."""
    if isinstance(rate, Mapping):
        return ", ".join(f"{name} {one:g}" for name, one in rate.items())
    return "unknown" if rate is None else f"{rate:g}"
