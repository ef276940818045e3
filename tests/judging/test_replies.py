"""A judge's reply is exactly valid, or it gives no score."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from stratalign.judging.parsing import read_reply
from stratalign.judging.protocol import InvalidReply

NAMES = ("Clear", "Overall")
SCALE = (1, 5)
C = '{"dimension": "Clear", "score": 4, "reason": "plain"}'
O = '{"dimension": "Overall", "score": 2, "reason": "so-so"}'  # noqa: E741
VALID = f"[{C}, {O}]"
SCORES = {"Clear": 4, "Overall": 2}


def read(reply: str) -> dict[str, int]:
    return read_reply(reply, NAMES, SCALE)


@pytest.mark.parametrize(
    "reply",
    [
        VALID,
        f"\r\n\t {VALID}\n\n",
        f"[{O}, {C}]",
        f'{{"scores": {VALID}}}',
        f"```json\n{VALID}\n```",
        f"```\n{VALID}\n```\n",
        f"```JSON  \r\n{VALID}\r\n  ```",
        f'```json\n{{"scores": {VALID}}}\n```',
        '[{"dimension":"Clear","score":4},{"dimension":"Overall","score":2}]',
        '[{"score":4,"reason":"","dimension":"Clear"},{"reason":"```\\n]","dimension":"Overall","score":2}]',
        '[{"dimension":"\\u0043lear","score":4},{"dimension":"Overall","score":2}]',
    ],
)
def test_exactly_valid_replies_are_read(reply: str) -> None:
    found = read(reply)
    assert found == SCORES
    assert list(found) == ["Clear", "Overall"]
    assert all(type(value) is int for value in found.values())


def scored(value: str) -> str:
    return f'[{{"dimension": "Clear", "score": {value}}}, {O}]'


BAD = [
    # (reply, what the reason says)
    ("", "empty"),
    (" \n\t ", "empty"),
    ("```json\n\n```", "empty"),
    ("5", "begins with '5'"),
    ("null", "begins with 'null'"),
    ('"[]"', "not JSON alone"),
    ("I cannot grade this.", "I cannot grade"),
    (f"Here are the scores:\n{VALID}", "Here are the scores"),
    (f"<think>hm</think>{VALID}", "<think>"),
    (f"{VALID}\nI hope this helps!", "text follows the JSON: 'I hope this helps!'"),
    (f"{VALID}{VALID}", "text follows"),
    (f"{VALID},", "text follows"),
    (f"{C}\n{O}", "text follows"),
    (C, 'the one key "scores"'),
    (f"\ufeff{VALID}", "begins with"),
    (f"\u00a0{VALID}", "begins with"),
    (f"```json\n{VALID}", "fence"),
    (f"```json\n{VALID}\n```\nDone.", "fence"),
    (f"```json\n{VALID}\n```\n```json\n{VALID}\n```", "text follows"),
    (f"```{VALID}```", "fence"),
    (f"```python\n{VALID}\n```", "fence"),
    (f"~~~\n{VALID}\n~~~", "begins with"),
    (f"````\n{VALID}\n````", "fence"),
    (VALID[:-1], "not JSON: Expecting ',' delimiter"),
    (VALID[:-20], "not JSON"),
    (VALID.replace('"', "'"), "not JSON"),
    (f"[{C}, {O},]", "not JSON"),
    (f"[{C} // fine\n, {O}]", "not JSON"),
    ("[]", "no score for Clear, Overall"),
    (f"[{C}]", "no score for Overall"),
    (f"[{C}, {O}, {O}]", "Overall is scored twice"),
    (f'[{C}, {O}, {{"dimension": "Fun", "score": 3}}]', "entry 3 has the unknown dimension 'Fun'"),
    (VALID.replace("Overall", "overall"), "unknown dimension 'overall'"),
    (VALID.replace("Overall", "Overall "), "unknown dimension"),
    ('{"Clear": 4, "Overall": 2}', 'the one key "scores"'),
    (f'{{"scores": {VALID}, "note": ""}}', 'the one key "scores"'),
    (f'{{"result": {VALID}}}', 'the one key "scores"'),
    (f'{{"scores": {{"scores": {VALID}}}}}', "must be an array, got an object"),
    ('{"scores": null}', "must be an array, got null"),
    (f"[{VALID}]", "entry 1 must be an object, got an array"),
    ("[4, 2]", "entry 1 must be an object, got 4"),
    (f'[{{"dimension": "Clear"}}, {O}]', 'entry 1 has no "score"'),
    (f'[{{"score": 4}}, {O}]', 'entry 1 has no "dimension"'),
    (f'[{{"dimension": "Clear", "score": 4, "max": 5}}, {O}]', "unknown key 'max'"),
    (f'[{{"dimension": "Clear", "Score": 4}}, {O}]', "unknown key 'Score'"),
    (f'[{{"dimension": ["Clear"], "score": 4}}, {O}]', "unknown dimension an array"),
    (f'[{{"dimension": "Clear", "score": 1, "score": 4}}, {O}]', "a key twice"),
    (f'[{{"dimension": "Overall", "dimension": "Clear", "score": 4}}, {O}]', "a key twice"),
    (f'{{"scores": [], "scores": {VALID}}}', "a key twice"),
    (f'[{{"dimension": "Clear", "score": 4, "reason": 4}}, {O}]', "reason for Clear must be text, got 4"),
    (f'[{{"dimension": "Clear", "score": 4, "reason": null}}, {O}]', "reason for Clear must be text"),
    (f'[{{"dimension": "Clear", "score": 4, "reason": "a\nb"}}, {O}]', "not JSON"),
    (scored("3.7"), "integer from 1 to 5, got 3.7"),
    (scored("4.0"), "got 4.0"),
    (scored("4e0"), "got 4.0"),
    (scored('"4"'), "got '4'"),
    (scored('"4/5"'), "got '4/5'"),
    (scored("true"), "got true"),
    (scored("null"), "got null"),
    (scored("[4]"), "got an array"),
    (scored("0"), "got 0"),
    (scored("6"), "got 6"),
    (scored("-4"), "got -4"),
    (scored("04"), "not JSON"),
    (scored("+4"), "not JSON"),
    (scored("NaN"), "NaN is not JSON"),
    (scored("Infinity"), "Infinity is not JSON"),
    (scored("1e999"), "got Infinity"),
    (scored("9" * 10_000), "score of Clear|number is too long"),
    ("[" * 100_000, "nested too deep|not JSON"),
    ('{"scores":' * 50_000, "nested too deep|not JSON"),
]


@pytest.mark.parametrize(("reply", "reason"), BAD, ids=range(len(BAD)))
def test_bad_replies_give_their_reason_and_no_score(reply: str, reason: str) -> None:
    with pytest.raises(InvalidReply) as caught:
        read(reply)
    message = str(caught.value)
    assert any(part in message for part in reason.split("|")), message
    assert len(message) < 200
    assert message.isprintable()


def test_a_copy_of_what_was_shown_is_refused() -> None:
    shown = f"My answer.\n```json\n{VALID}\n```\nThank you."
    for copy in (VALID, VALID.replace(" ", ""), f"```\n{VALID}\n```", f'{{ "scores" :\n{VALID} }}'):
        with pytest.raises(InvalidReply, match="copy"):
            read_reply(copy, NAMES, SCALE, ["a prompt", shown])
        assert read(copy) == SCORES
    # The same scores in the judge's own words are a judgement; whether it was talked into them no parser can tell.
    own = VALID.replace("plain", "clear throughout")
    assert read_reply(own, NAMES, SCALE, ["a prompt", shown]) == SCORES


def is_judgement(value: Any) -> bool:
    """What a valid reply is, told a second time from the parsed JSON: the oracle of the fuzz tests."""
    if isinstance(value, dict) and set(value) == {"scores"}:
        value = value["scores"]
    return (
        isinstance(value, list)
        and all(
            isinstance(one, dict)
            and {"dimension", "score"} <= set(one) <= {"dimension", "score", "reason"}
            and isinstance(one.get("reason", ""), str)
            and not isinstance(one["score"], bool)
            and isinstance(one["score"], int)
            and 1 <= one["score"] <= 5
            for one in value
        )
        and sorted(map(str, (one["dimension"] for one in value))) == sorted(NAMES)
    )


def check(reply: str) -> None:
    """`read` gives scores exactly where the oracle says so, and then those that stand in the reply."""
    try:
        found = read(reply)
    except InvalidReply:
        return
    inner = reply.strip()
    if inner.startswith("```"):
        inner = inner[inner.index("\n") : inner.rindex("```")]
    value = json.loads(inner)
    assert is_judgement(value)
    entries = value["scores"] if isinstance(value, dict) else value
    assert found == {one["dimension"]: one["score"] for one in entries}


@given(st.text())
@settings(max_examples=150, deadline=None)
def test_arbitrary_text_gives_no_score(text: str) -> None:
    with pytest.raises(InvalidReply):
        read(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 7)
    | st.floats()
    | st.sampled_from([*NAMES, "dimension", "score", "reason", "scores", "4"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dimension", "score", "reason", "scores", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {"dimension": st.sampled_from([*NAMES, "overall", 4]), "score": st.integers(0, 6) | JSON},
    optional={"reason": st.text(max_size=5) | JSON, "x": JSON},
)
REPLY = st.lists(ENTRY, max_size=3) | JSON


@given(REPLY | REPLY.map(lambda value: {"scores": value}))
@settings(max_examples=200, deadline=None)
@example(json.loads(VALID))
def test_json_that_looks_like_a_reply_is_read_exactly_when_it_is_one(value: Any) -> None:
    text = json.dumps(value)
    assume("NaN" not in text and "Infinity" not in text)
    if is_judgement(value):
        check(text)
        assert read(text)
    else:
        with pytest.raises(InvalidReply):
            read(text)


@given(
    base=st.sampled_from([VALID, f'{{"scores": {VALID}}}', f"```json\n{VALID}\n```"]),
    at=st.integers(0, 200),
    length=st.integers(0, 30),
    piece=st.text(alphabet=string.printable, max_size=12)
    | st.sampled_from([C, O, ",", "]", "```\n", "\n", " "]),
)
@settings(max_examples=400, deadline=None)
def test_mutated_replies_never_give_a_score_that_they_do_not_hold(
    base: str, at: int, length: int, piece: str
) -> None:
    check(base[:at] + piece + base[at + length :])
