"""Which models a judge's replies came from: the sentence, and what is another model and what a dated snapshot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_studies import judges
from likert_studies import judge, likert_study
from test_report_page import Parsed, page_of

from stratalign.records import StudyFolder, write_json
from stratalign.reporting.judge_replies import judge_replies


def asked(model, *answered):
    entry = {"kind": "judge", "judge": model, "model": model}
    return {**entry, "answered": [{"model": name, "replies": count} for name, count in answered]}


def test_every_model_that_answered_is_named_with_its_replies():
    (found,) = judge_replies([asked("my-judge", ("my-judge", 1200), ("some-cheaper-model", 11))])
    assert found.words == "my-judge was asked; my-judge answered 1,200, some-cheaper-model 11."
    assert not found.as_asked
    (found,) = judge_replies([asked("my-judge", (None, 3))])
    assert found.words == "my-judge was asked; a model that the server does not name answered 3."


@pytest.mark.parametrize(
    ("model", "names", "as_asked"),
    [
        ("gpt-x", ["gpt-x"], True),
        ("gpt-x", ["gpt-x-2026-01-01"], True),
        ("gpt-x", ["gpt-x", "gpt-x-20260101"], True),
        ("m-large-latest", ["m-large-2611"], True),
        ("gpt-x", [None, "gpt-x"], True),
        ("gpt-x", ["gpt-x-2026-01-01", "gpt-x-2026-03-01"], False),  # two snapshots are two models
        ("gpt-x", ["gpt-x-mini"], False),
        ("gpt-x", ["gpt-x-mini-2026-01-01"], False),
        ("gpt-x-2026-01-01", ["gpt-x"], False),
        ("gpt-x", ["GPT-X"], False),
        ("gpt-x", ["lab/gpt-x"], False),
    ],
)
def test_only_the_model_asked_and_one_dated_snapshot_of_it_are_as_asked(model, names, as_asked):
    (found,) = judge_replies([asked(model, *((name, 1) for name in names))])
    assert found.as_asked == as_asked
    assert all(name is None or name in found.words for name in names)


def test_judges_without_replies_and_records_of_earlier_versions_have_no_sentence():
    assert judge_replies([asked("my-judge"), judge(), judges(fluency="higher")["judges"][0]]) == ()


def test_the_page_and_results_say_which_models_answered(tmp_path: Path):
    study = StudyFolder(likert_study(tmp_path, prompts=12))
    replies = [{"model": "judge-large", "replies": 31}, {"model": "<b>cheap</b>", "replies": 29}]
    write_json(study.judges, {"schema": 1, "judges": [judge() | {"answered": replies}]})
    page = page_of(tmp_path)
    sentence = "judge-large was asked; judge-large answered 31, <b>cheap</b> 29."
    text = " ".join(Parsed(page).text.split())
    assert f"Which model judged? {sentence}" in text
    assert "The judge's replies name other models than the one that was asked" in text.replace("\u2019", "'")
    assert "<b>cheap</b>" not in page
    (found,) = json.loads(study.results.read_text())["judge_replies"]
    assert found == {"asked": "judge-large", "answered": replies, "as_asked": False, "words": sentence}
