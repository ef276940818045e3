"""From stored answers and log-probabilities to the long table of scores. Runs without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from stratalign.errors import UserError, unknown_name
from stratalign.judging.exact import WORLD_DIMENSIONS, answerable, score_exactly
from stratalign.judging.rows import score_row
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.text import (
    ANSWER_MEASURES,
    DEMONSTRATION_MEASURES,
    PAIR_MEASURES,
    Answer,
    Demonstration,
    Pair,
)
from stratalign.microworld import OVERALL
from stratalign.records import Dimension, LogProbRecord, Response, Score, digest

Scorer = Callable[[Iterable[Response], Iterable[LogProbRecord], Mapping[str, int]], list[Score]]


def score_text(
    responses: Iterable[Response],
    logprobs: Iterable[LogProbRecord],
    seeds: Mapping[str, int],
) -> list[Score]:
    """Every measure of every answer, and of every held-out pair or demonstration.

    Args:
        responses: the answers of all runs.
        logprobs: the held-out log-probabilities of all runs.
        seeds: run -> its seed; runs that are not named here are left out.

    Returns:
        Scores in the order of the inputs; `state` is "undefined" where a measure has no value.
    """
    scores: list[Score] = []
    for response in responses:
        if response.run in seeds:
            answer = Answer(response.prompt, response.response, response.tokens, response.kl_to_base)
            for name, (_, measure) in ANSWER_MEASURES.items():
                scores.append(score_row(response, seeds[response.run], "text", name, measure(answer)))
    for record in logprobs:
        if record.run in seeds:
            for name, value in _held_out(record).items():
                scores.append(score_row(record, seeds[record.run], "text", name, value))
    return scores


def _held_out(record: LogProbRecord) -> dict[str, float | None]:
    """The measures of a pair; of a demonstration, which has no preference to be right about, its own."""
    if record.rejected is None or record.base_rejected is None:
        demonstration = Demonstration(record.chosen, record.tokens_chosen)
        return {name: measure(demonstration) for name, (_, measure) in DEMONSTRATION_MEASURES.items()}
    pair = Pair(record.chosen, record.rejected, record.base_chosen, record.base_rejected)
    return {name: measure(pair) for name, (_, measure) in PAIR_MEASURES.items()}


def _text_dimensions() -> list[Dimension]:
    entries = (*PAIR_MEASURES.values(), *DEMONSTRATION_MEASURES.values(), *ANSWER_MEASURES.values())
    return [entry[0] for entry in entries]


class Protocol(NamedTuple):
    """A way of scoring: its dimensions, what scores, and which prompts it can judge answers to (None: all)."""

    dimensions: Sequence[Dimension]
    score: Scorer
    accepts: Callable[[str], bool] | None = None


PROTOCOLS: dict[str, Protocol] = {
    "microworld": Protocol(WORLD_DIMENSIONS, score_exactly, answerable),
    "text": Protocol(_text_dimensions(), score_text),
}


def protocols(settings: JudgeSettings) -> dict[str, Protocol]:
    """The protocol that the settings name, and after it the measures that need no judge.

    Raises:
        UserError: there is no such protocol.
    """
    if settings.protocol not in PROTOCOLS:
        raise unknown_name("judging protocol", settings.protocol, PROTOCOLS)
    return {name: PROTOCOLS[name] for name in (settings.protocol, "text")}


def check_judge(
    settings: JudgeSettings, prompts: Iterable[str], objective: Sequence[str], further: Sequence[str] = ()
) -> None:
    """Make sure that the judge can judge answers to these prompts, and that it, or a scorer with the dimensions
    `further`, has those of the objective.

    Raises:
        UserError: there is no such protocol, it judges none of the prompts, or an objective names no dimension.
    """
    found = protocols(settings)
    accepts = found[settings.protocol].accepts
    if accepts is not None and not any(accepts(prompt) for prompt in prompts):
        raise UserError(
            f"The protocol {settings.protocol!r} can judge none of the held-out prompts: it knows only prompts of the "
            "micro-world. Use preferences.source: microworld:fluency (or another of its sets), or another protocol."
        )
    known = [dimension.name for protocol in found.values() for dimension in protocol.dimensions]
    known += further
    for name in objective:
        # "Overall" is the default, for every protocol.
        if name.casefold() not in (OVERALL, *(one.casefold() for one in known)):
            error = unknown_name("dimension in preferences.objective", name, known)
            if name.casefold() in [dimension.name for dimension in WORLD_DIMENSIONS]:
                raise UserError(
                    f"{error} Its verifiers judge the micro-world: set judge.protocol: microworld."
                )
            raise error


def score_all(
    settings: JudgeSettings,
    responses: Sequence[Response],
    logprobs: Sequence[LogProbRecord],
    seeds: Mapping[str, int],
) -> list[Score]:
    """The scores of every protocol, see `protocols`; `seeds` is run -> its seed, and runs not named are left out."""
    return [
        score
        for protocol in protocols(settings).values()
        for score in protocol.score(responses, logprobs, seeds)
    ]


def describe_judges(settings: JudgeSettings) -> list[dict[str, Any]]:
    """The entries of judges.json; the first is the protocol that the settings name."""
    return [
        {
            "judge": name,
            "protocol": name,
            "hash": digest([asdict(dimension) for dimension in protocol.dimensions]),
            "dimensions": [asdict(dimension) for dimension in protocol.dimensions],
        }
        for name, protocol in protocols(settings).items()
    ]
