"""From stored answers and log-probabilities to the long table of scores. Runs without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from stratalign.errors import unknown_name
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.text import ANSWER_MEASURES, PAIR_MEASURES, Answer, Pair
from stratalign.records import Dimension, LogProbRecord, Response, Score, digest

Scorer = Callable[[Iterable[Response], Iterable[LogProbRecord], Mapping[str, int]], list[Score]]


def score_text(
    responses: Iterable[Response],
    logprobs: Iterable[LogProbRecord],
    seeds: Mapping[str, int],
) -> list[Score]:
    """Every measure of every answer and held-out pair.

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
                scores.append(_score(response, seeds, name, measure(answer)))
    for record in logprobs:
        if record.run in seeds:
            pair = Pair(record.chosen, record.rejected, record.base_chosen, record.base_rejected)
            for name, (_, of_pair) in PAIR_MEASURES.items():
                scores.append(_score(record, seeds, name, of_pair(pair)))
    return scores


PROTOCOLS: dict[str, tuple[list[Dimension], Scorer]] = {
    "text": (
        [dimension for dimension, _ in (PAIR_MEASURES | ANSWER_MEASURES).values()],
        score_text,
    ),
}


def find_protocol(settings: JudgeSettings) -> tuple[list[Dimension], Scorer]:
    """The protocol that the settings name.

    Raises:
        UserError: there is no such protocol.
    """
    if settings.protocol not in PROTOCOLS:
        raise unknown_name("judging protocol", settings.protocol, PROTOCOLS)
    return PROTOCOLS[settings.protocol]


def describe_judge(settings: JudgeSettings) -> dict[str, Any]:
    """The judge's entry in judges.json."""
    dimensions = [asdict(dimension) for dimension in find_protocol(settings)[0]]
    return {
        "judge": settings.protocol,
        "protocol": settings.protocol,
        "hash": digest(dimensions),
        "dimensions": dimensions,
    }


def _score(
    record: Response | LogProbRecord, seeds: Mapping[str, int], dimension: str, value: float | None
) -> Score:
    return Score(
        prompt_id=record.prompt_id,
        cluster=record.cluster,
        run=record.run,
        seed=seeds[record.run],
        judge="text",
        protocol="text",
        dimension=dimension,
        repeat=0,
        value=value,
        state="undefined" if value is None else "ok",
    )
