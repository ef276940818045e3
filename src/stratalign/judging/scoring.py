"""From stored answers and log-probabilities to the long table of scores. Runs without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from stratalign.errors import UserError, unknown_name
from stratalign.judging.asking import model_judges
from stratalign.judging.exact import WORLD_DIMENSIONS, answerable, score_exactly
from stratalign.judging.labels import people, read_labels
from stratalign.judging.protocol import JudgeProtocol, load_protocol, packaged_protocols
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


def asks_a_model(settings: JudgeSettings) -> bool:
    """Whether the settings name a protocol that a language model is asked by."""
    return settings.protocol not in PROTOCOLS


def protocols(settings: JudgeSettings) -> dict[str, Protocol]:
    """The protocols that need no language model: the one that the settings name, if it is one, and after it the
    measures of text."""
    return {name: PROTOCOLS[name] for name in (settings.protocol, "text") if name in PROTOCOLS}


def judged_dimensions(settings: JudgeSettings) -> list[Dimension]:
    """Every dimension that the settings give scores of.

    Raises:
        UserError: there is no such protocol.
    """
    asked = list(_asked_protocol(settings).dimensions) if asks_a_model(settings) else []
    return [*asked, *(one for protocol in protocols(settings).values() for one in protocol.dimensions)]


def _asked_protocol(settings: JudgeSettings) -> JudgeProtocol:
    known = [*PROTOCOLS, *packaged_protocols()]
    if settings.protocol not in known and not settings.protocol.endswith((".yaml", ".yml")):
        raise unknown_name("judging protocol", settings.protocol, known)
    return load_protocol(settings.protocol)


def compares_with_base(settings: JudgeSettings) -> bool:
    """Whether the protocol shows each answer beside base's."""
    return asks_a_model(settings) and _asked_protocol(settings).kind == "pairwise"


def check_judge(
    settings: JudgeSettings, prompts: Iterable[str], objective: Sequence[str], further: Sequence[str] = ()
) -> None:
    """Make sure that the judge can judge answers to these prompts, and that it, or a scorer with the dimensions
    `further`, has those of the objective.

    Raises:
        UserError: there is no such protocol, it judges none of the prompts, or an objective names no dimension.
    """
    known = [dimension.name for dimension in judged_dimensions(settings)]
    if asks_a_model(settings):
        model_judges(settings)
    for labels in settings.labels:
        read_labels(Path(labels.table), Path(labels.key))
    accepts = None if asks_a_model(settings) else PROTOCOLS[settings.protocol].accepts
    if accepts is not None and not any(accepts(prompt) for prompt in prompts):
        raise UserError(
            f"The protocol {settings.protocol!r} can judge none of the held-out prompts: it knows only prompts of the "
            "micro-world. Use preferences.source: microworld:fluency (or another of its sets), or another protocol."
        )
    known += further
    folded = [name.casefold() for name in known]
    for name in objective:
        # "Overall" is the default, for every protocol.
        if name.casefold() not in (OVERALL, *folded):
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
    base_of: Mapping[str, str],
    store: Path,
) -> list[Score]:
    """All scores as far as they are known; no model is asked.

    Args:
        settings: who judges.
        responses: the answers of all runs.
        logprobs: the held-out log-probabilities of all runs.
        seeds: run -> its seed; runs that are not named here are left out.
        base_of: run -> the run of base that it is paired with, for protocols that compare two answers.
        store: the judgements of language models.

    Raises:
        UserError: a table of labels is not what it should be.
    """
    judged = [one for one in responses if one.run in seeds]
    asked = model_judges(settings) if asks_a_model(settings) else []
    scores = [score for judge in asked for score in judge.scores(judged, seeds, base_of, store)]
    for protocol in protocols(settings).values():
        scores += protocol.score(responses, logprobs, seeds)
    for labels in settings.labels:
        found = read_labels(Path(labels.table), Path(labels.key))
        scores += [score for score in found if score.run in seeds]
    return scores


def describe_judges(
    settings: JudgeSettings, responses: Sequence[Response], base_of: Mapping[str, str], store: Path
) -> list[dict[str, Any]]:
    """The entries of judges.json; the first is the judge that decides. The arguments are those of `score_all`."""
    entries = [
        {
            **judge.describe(responses, base_of, store),
            "dimensions": [asdict(one) for one in judge.protocol.dimensions],
        }
        for judge in (model_judges(settings) if asks_a_model(settings) else [])
    ]
    entries += [
        {
            "judge": name,
            "protocol": name,
            "hash": digest([asdict(dimension) for dimension in protocol.dimensions]),
            "kind": "measures" if name == "text" else "verifier",
            "dimensions": [asdict(dimension) for dimension in protocol.dimensions],
        }
        for name, protocol in protocols(settings).items()
    ]
    if settings.labels:
        protocol = _asked_protocol(settings)
        entries += [
            {
                "judge": people(Path(labels.table)),
                "protocol": protocol.id,
                "hash": protocol.hash,
                "kind": "people",
                "second": True,
                "dimensions": [asdict(one) for one in protocol.dimensions],
            }
            for labels in settings.labels
        ]
    return entries
