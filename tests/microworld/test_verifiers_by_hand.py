"""The micro-world's reader and verifiers against labels written by hand from docs/microworld.md.

`sentences.jsonl` says of each sentence what kind it is (null: not understood), which kinds of mistakes it has where
the story (or a fact) stands in `tense`, and whether what it claims is true. `gaming.jsonl` holds answers that try to
win scores without earning them, with bounds on single dimensions; `every` bounds all of them and the overall score.
A few fair answers must reach their bounds instead, so that scoring everything 0 would not pass either.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from stratalign.microworld import DIMENSIONS, OVERALL, people, read_request, verify
from stratalign.microworld.reading import Reading, read, sentences
from stratalign.microworld.verifying import Said, is_true

HERE = Path(__file__).parent
SLACK = 0.005


def _rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (HERE / file).read_text("utf-8").splitlines()]


SENTENCES = _rows("sentences.jsonl")
ANSWERS = _rows("gaming.jsonl")
GAMING = [row for row in ANSWERS if "at_most" in row]
FAIR = [row for row in ANSWERS if "at_least" in row]
UNDERSTOOD = [row for row in SENTENCES if row["kind"]]
CLAIMS = [row for row in SENTENCES if row["true"] is not None]


def _sentence(row: dict[str, Any]) -> str:
    return f"{row['sentence']} ({row['tense']})"


def _name(row: dict[str, Any]) -> str:
    return str(row["name"])


def _read(row: dict[str, Any]) -> Reading | None:
    (one,) = sentences(row["sentence"])
    return read(one)


def _scores(row: dict[str, Any]) -> dict[str, float]:
    request = read_request(row["prompt"], people())
    assert request is not None
    return verify(request, row["answer"], people())._asdict()


def _bounds(bounds: dict[str, float]) -> dict[str, float]:
    """The bound of each dimension; one that is named goes before `every`."""
    every = dict.fromkeys((*DIMENSIONS, OVERALL), bounds["every"]) if "every" in bounds else {}
    return every | {name: bound for name, bound in bounds.items() if name != "every"}


def test_the_files_are_as_large_as_promised_and_without_duplicates() -> None:
    texts = [row["sentence"] for row in SENTENCES]
    assert len(texts) >= 200
    assert sum(row["kind"] is None for row in SENTENCES) >= 40
    assert len(set(texts)) == len(texts)
    assert len(GAMING) >= 40
    assert len(FAIR) >= 4
    assert len({row["name"] for row in ANSWERS}) == len(ANSWERS)
    assert len({(row["prompt"], row["answer"]) for row in ANSWERS}) == len(ANSWERS)


def test_labels_name_only_what_exists() -> None:
    dimensions = {*DIMENSIONS, OVERALL}
    for row in ANSWERS:
        bounds = _bounds(row.get("at_most") or row["at_least"])
        assert bounds, row["name"]
        assert set(bounds) <= dimensions, row["name"]
    for row in SENTENCES:
        assert row["mistakes"] == sorted(set(row["mistakes"])), row["sentence"]
        assert row["kind"] or not row["mistakes"], row["sentence"]
        assert row["true"] is None or row["kind"] == "claim", row["sentence"]


@pytest.mark.parametrize("row", SENTENCES, ids=_sentence)
def test_a_sentence_is_of_its_kind(row: dict[str, Any]) -> None:
    reading = _read(row)
    assert (reading and reading.kind) == row["kind"]


@pytest.mark.parametrize("row", UNDERSTOOD, ids=_sentence)
def test_a_sentence_has_its_mistakes_and_no_others(row: dict[str, Any]) -> None:
    reading = _read(row)
    assert reading is not None
    assert sorted(set(reading.all_mistakes(row["tense"]))) == row["mistakes"]


@pytest.mark.parametrize("row", CLAIMS, ids=_sentence)
def test_a_claim_is_true_or_not(row: dict[str, Any]) -> None:
    reading = _read(row)
    assert reading is not None
    (mention,) = reading.mentions
    assert is_true(Said(reading, mention.word, True), people()) is row["true"]


@pytest.mark.parametrize("row", GAMING, ids=_name)
def test_gaming_does_not_pay(row: dict[str, Any]) -> None:
    scores = _scores(row)
    too_high = {
        name: (scores[name], bound)
        for name, bound in _bounds(row["at_most"]).items()
        if scores[name] > bound + SLACK
    }
    assert not too_high


@pytest.mark.parametrize("row", FAIR, ids=_name)
def test_a_fair_answer_is_not_punished(row: dict[str, Any]) -> None:
    scores = _scores(row)
    too_low = {
        name: (scores[name], bound)
        for name, bound in _bounds(row["at_least"]).items()
        if scores[name] < bound - SLACK
    }
    assert not too_low


@pytest.mark.parametrize("row", ANSWERS, ids=_name)
def test_scores_are_shares_and_overall_is_their_mean(row: dict[str, Any]) -> None:
    scores = _scores(row)
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores[OVERALL] == pytest.approx(sum(scores[name] for name in DIMENSIONS) / len(DIMENSIONS))
