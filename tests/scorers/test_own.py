"""A user's own function as a scorer: what it may return, and what is told when it does not."""

import math

import numpy as np
import pytest

from stratalign.errors import UserError
from stratalign.scorers import Exchange, ScorerSettings, own_scorer, score_stored

EXCHANGES = [Exchange("say a", "text", "aaa"), Exchange("say b", "text", "b")]


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module("def score(prompts, responses): ...")` writes own_scores.py and gives its scorer."""

    def write(code, name="score"):
        monkeypatch.delitem(__import__("sys").modules, "own_scores", raising=False)
        (tmp_path / "own_scores.py").write_text(code)
        __import__("importlib").invalidate_caches()
        return own_scorer(ScorerSettings(function=f"own_scores:{name}"))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return write


def function(monkeypatch, returned, **attributes):
    """A scorer whose function returns this."""

    def score(prompts, responses):
        if isinstance(returned, Exception):
            raise returned
        return returned

    for name, value in attributes.items():
        setattr(score, name, value)
    monkeypatch.setattr("stratalign.scorers.own.import_function", lambda *_: score)
    return own_scorer(ScorerSettings(function="my_scores:score"))


def test_a_list_is_one_dimension_called_like_the_function(module):
    scorer = module(
        "def politeness(prompts, responses):\n    return [len(r) / len(p) for p, r in zip(prompts, responses)]",
        "politeness",
    )
    # 3 / 5 and 1 / 5
    assert scorer.score(EXCHANGES) == {"politeness": [0.6, 0.2]}
    assert scorer.dimensions is None


def test_a_mapping_is_several_dimensions(module):
    scorer = module(
        "def score(prompts, responses):\n"
        "    return {'length': [len(r) for r in responses], 'ends': [None] * len(responses)}\n"
        "score.dimensions = {'length': {'better': 'lower', 'unit': 'letters'}, 'ends': {'better': None}}\n"
    )
    assert scorer.score(EXCHANGES) == {"length": [3.0, 1.0], "ends": [None, None]}
    assert [(one.name, one.unit, one.better) for one in scorer.dimensions] == [
        ("length", "letters", "lower"),
        ("ends", "", None),
    ]


def test_messages_come_as_one_text(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "stratalign.scorers.own.import_function", lambda *_: lambda p, r: seen.append((p, r)) or [1]
    )
    turns = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"})
    own_scorer(ScorerSettings(function="a:b")).score([Exchange(turns, "messages", "there")])
    assert seen == [(["system: Be kind.\n\nuser: Hi"], ["there"])]


def test_arrays_and_their_numbers_are_read(monkeypatch):
    assert function(monkeypatch, np.array([1.5, 2.0])).score(EXCHANGES) == {"score": [1.5, 2.0]}
    assert function(monkeypatch, [np.float32(1.5), True]).score(EXCHANGES) == {"score": [1.5, 1.0]}
    assert function(monkeypatch, [1, 2], dimensions=["one"]).score(EXCHANGES) == {"one": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([1.0], r"'my_scores:score' \(score\) returned 1 values for 2 responses"),
        ([1.0, math.nan], "returned nan for response 2 of 2"),
        ([math.inf, 1.0], "returned inf for response 1 of 2"),
        (np.array([1.0, math.nan]), "returned nan for response 2 of 2"),
        (["good", 1], "returned 'good' for response 1 of 2"),
        ([[1], 1], r"returned \[1\] for response 1 of 2"),
        (None, "returned NoneType. Return a list"),
        (0.5, "returned float. Return a list"),
        ("ab", "returned str. Return a list"),
        ({}, "must name its dimensions"),
        ({1: [1, 2]}, "must name its dimensions"),
        ({"a": [1, 2], "b": [1]}, r"\(b\) returned 1 values for 2 responses"),
        (ValueError("no such word"), "'my_scores:score' raised ValueError: no such word"),
    ],
)
def test_what_a_function_gets_wrong_is_told_under_its_name(monkeypatch, returned, message):
    with pytest.raises(UserError, match=message):
        function(monkeypatch, returned).score(EXCHANGES)


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        ("score", "must be a list of names"),
        ([], "must be a list of names"),
        ({"a": 3}, "is no dimension"),
        (
            {"a": {"beter": "lower"}},
            r"Unknown key in my_scores:score.dimensions\['a'\] 'beter'. Did you mean 'better'",
        ),
        ({"a": {"better": "less"}}, "better must be 'higher', 'lower' or None, got 'less'"),
    ],
)
def test_what_is_wrong_with_its_dimensions_is_told(monkeypatch, dimensions, message):
    with pytest.raises(UserError, match=message):
        function(monkeypatch, [1, 2], dimensions=dimensions)


def test_what_it_returns_must_be_what_it_declares(monkeypatch):
    with pytest.raises(UserError, match="returned the dimensions a, but declares a, b"):
        function(monkeypatch, {"a": [1, 2]}, dimensions=["a", "b"]).score(EXCHANGES)
    with pytest.raises(UserError, match="declares the dimensions a, b, but returned list"):
        function(monkeypatch, [1, 2], dimensions=["a", "b"]).score(EXCHANGES)


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (
            "x = 1",
            "score",
            "Cannot import the scorer 'own_scores:score': module 'own_scores' has no attribute",
        ),
        ("score = 3", "score", "is not a function but int"),
        ("1 / 0", "score", "its module raises ZeroDivisionError"),
        ("def score(", "score", "its module raises SyntaxError"),
    ],
)
def test_what_cannot_be_imported_is_told(module, code, name, message):
    with pytest.raises(UserError, match=message):
        module(code, name)
    with pytest.raises(UserError, match="Is its folder on PYTHONPATH"):
        own_scorer(ScorerSettings(function="no_such_module_here:score"))


def test_texts_are_scored_once_and_anew_when_the_function_changes(module, tmp_path):
    code = (
        "calls = []\n"
        "def score(prompts, responses):\n"
        "    calls.append(len(responses))\n"
        "    return [len(r) for r in responses]\n"
    )
    scorer = module(code)
    calls = __import__("own_scores").calls
    more = [*EXCHANGES, EXCHANGES[0], Exchange("say c", "text", "cc")]
    assert score_stored(scorer, EXCHANGES, tmp_path) == {"score": [3.0, 1.0]}
    assert score_stored(scorer, more, tmp_path) == {"score": [3.0, 1.0, 3.0, 2.0]}
    assert calls == [2, 1]
    changed = module(code.replace("len(r) for", "-len(r) for"))
    assert score_stored(changed, EXCHANGES, tmp_path) == {"score": [-3.0, -1.0]}


def test_what_was_scored_before_a_failure_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("stratalign.scorers.store.AT_ONCE", 1)
    seen = []

    def score(_prompts, responses):
        seen.extend(responses)
        if responses == ["b"] and seen.count("b") == 1:
            raise RuntimeError("the line is down")
        return [1.0] * len(responses)

    monkeypatch.setattr("stratalign.scorers.own.import_function", lambda *_: score)
    scorer = own_scorer(ScorerSettings(function="my_scores:score"))
    with pytest.raises(UserError, match="the line is down"):
        score_stored(scorer, EXCHANGES, tmp_path)
    assert score_stored(scorer, EXCHANGES, tmp_path) == {"score": [1.0, 1.0]}
    assert seen == ["aaa", "b", "b"]
