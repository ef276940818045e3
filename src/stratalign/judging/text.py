"""Measures that need no judge: of an answer's text, and of log-probabilities that training recorded.

Each measure is one function from an `Answer`, `Pair` or `Demonstration` to a number, or None where it is not
defined, and one line in a catalogue. None of them has a better direction: those of pairs and demonstrations say
whether training took hold, those of answers what became of the text, and neither says whether answers are better. A
refrain repeats itself for good reason, and a quotation copies the prompt. Knows nothing of which run an answer is from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from stratalign.records import Dimension


class Answer(NamedTuple):
    """One answer as a measure sees it; `kl_to_base` is KL(run || base) along it in nats."""

    prompt: str
    text: str
    tokens: int
    kl_to_base: float | None


class Pair(NamedTuple):
    """Log-probabilities of a held-out pair under a run and under the base, in nats, summed over tokens."""

    chosen: float
    rejected: float
    base_chosen: float
    base_rejected: float


class Demonstration(NamedTuple):
    """Log-probability of a held-out demonstration under a run, in nats, summed over its tokens."""

    log_probability: float
    tokens: int


def length(answer: Answer) -> float | None:
    """Tokens of the answer, its end token not counted."""
    return float(answer.tokens)


def repetition(answer: Answer) -> float | None:
    """Share of the answer's word 4-grams that occurred before in it; undefined below four words."""
    grams = ngrams(words(answer.text), 4)
    return 1 - len(set(grams)) / len(grams) if grams else None


def distinct_1(answer: Answer) -> float | None:
    """Distinct words over all words (Li et al. 2016, arXiv 1510.03055, section 5.2); undefined when empty."""
    return _distinct(answer, 1)


def distinct_2(answer: Answer) -> float | None:
    """Distinct word pairs over all word pairs (Li et al. 2016); undefined below two words."""
    return _distinct(answer, 2)


def copy_rate(answer: Answer) -> float | None:
    """Share of the answer's word 3-grams that stand in the prompt; undefined below three words."""
    grams = ngrams(words(answer.text), 3)
    known = set(ngrams(words(answer.prompt), 3))
    return sum(gram in known for gram in grams) / len(grams) if grams else None


def kl_to_base(answer: Answer) -> float | None:
    """KL(run || base) along the answer, in nats; 0 for the base itself, undefined for an empty answer."""
    return answer.kl_to_base


def preference_accuracy(pair: Pair) -> float | None:
    """1 where the chosen response is likelier than the rejected one under the run itself; a tie counts half."""
    return _half_step(pair.chosen - pair.rejected)


def reward_accuracy(pair: Pair) -> float | None:
    """1 where the implicit reward prefers chosen (Rafailov et al. 2023); the base ties everywhere, at one half."""
    return _half_step(margin_nats(pair))


def margin_nats(pair: Pair) -> float:
    """Log-ratio of chosen minus log-ratio of rejected, in nats: the implicit reward margin over beta."""
    return (pair.chosen - pair.base_chosen) - (pair.rejected - pair.base_rejected)


def log_probability_per_token(demonstration: Demonstration) -> float:
    """Mean log-probability of the demonstration's tokens, its end token included, in nats."""
    return demonstration.log_probability / demonstration.tokens


ANSWER_MEASURES: dict[str, tuple[Dimension, Callable[[Answer], float | None]]] = {
    "length": (Dimension("length", "tokens", None, "tokens of the answer"), length),
    "repetition": (
        Dimension("repetition", "share", None, "share of word 4-grams that occurred before in the answer"),
        repetition,
    ),
    "distinct_1": (Dimension("distinct_1", "share", None, "distinct words over all words"), distinct_1),
    "distinct_2": (
        Dimension("distinct_2", "share", None, "distinct word pairs over all word pairs"),
        distinct_2,
    ),
    "copy_rate": (
        Dimension("copy_rate", "share", None, "share of the answer's word 3-grams that stand in the prompt"),
        copy_rate,
    ),
    "kl_to_base": (
        Dimension("kl_to_base", "nats", None, "KL(run || base) along the answer, summed over its tokens"),
        kl_to_base,
    ),
}

PAIR_MEASURES: dict[str, tuple[Dimension, Callable[[Pair], float | None]]] = {
    "reward_accuracy": (
        Dimension(
            "reward_accuracy",
            "share",
            None,
            "held-out pairs whose implicit reward prefers the chosen response; the base ties at one half",
        ),
        reward_accuracy,
    ),
    "margin": (
        Dimension("margin", "nats", None, "log-ratio of chosen minus log-ratio of rejected, held-out pairs"),
        margin_nats,
    ),
    "preference_accuracy": (
        Dimension(
            "preference_accuracy",
            "share",
            None,
            "held-out pairs whose chosen response is likelier under the run",
        ),
        preference_accuracy,
    ),
}


DEMONSTRATION_MEASURES: dict[str, tuple[Dimension, Callable[[Demonstration], float]]] = {
    "log_probability": (
        Dimension(
            "log_probability",
            "nats per token",
            None,
            "log-probability of held-out demonstrations, where the preferences hold those in place of pairs",
        ),
        log_probability_per_token,
    ),
}


def words(text: str) -> list[str]:
    """Lower-case words; apostrophes belong to them."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def ngrams(items: list[str], n: int) -> list[tuple[str, ...]]:
    """All runs of `n` neighbours."""
    return [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]


def _distinct(answer: Answer, n: int) -> float | None:
    grams = ngrams(words(answer.text), n)
    return len(set(grams)) / len(grams) if grams else None


def _half_step(value: float) -> float:
    return 0.5 if value == 0 else float(value > 0)
