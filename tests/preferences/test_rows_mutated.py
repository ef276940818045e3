"""Rows of every form, damaged at random: each is read or refused in words, and what is read reaches the model."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from stratalign.preferences import Preference, PreferenceSettings, Refused, as_messages, prompt_ids, tokenize
from stratalign.preferences.dialogues import interpret, interpret_prompt

TEMPLATE = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% if m['tool_calls'] %}{{ m['tool_calls'] | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
ASKED, GOOD, BAD = turn("user", "Why is it so?"), turn("assistant", "Because."), turn("assistant", "No idea.")
FORMS: list[dict[str, Any]] = [
    {"prompt": "Why is it so?", "chosen": "Because.", "rejected": "No idea."},
    {"prompt": [turn("system", "Be brief."), ASKED], "chosen": [GOOD], "rejected": [BAD]},
    {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    {"prompt": "Why is it so?", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD], "score_chosen": 1.0},
    {"chosen": "\n\nHuman: Why?\n\nAssistant: So.", "rejected": "\n\nHuman: Why?\n\nAssistant: No."},
    {"question": "Why?", "chosen": "So.", "rejected": "No.", "system": "Be brief."},
    {"instruction": "Say", "input": "it", "chosen": "So.", "rejected": "No.", "history": [["Hi", "Hello"]]},
    {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": {"from": "gpt", "value": "Hello"},
        "rejected": {"from": "gpt", "value": "What"},
    },
    {"context": [ASKED], "response1": "So.", "response2": "No.", "overall_preference": 2},
    {"prompt": "Why?", "response_0": "So.", "response_1": "No.", "better_response_id": 0},
    {"instruction": "Why?", "chosen_response": "So.", "rejected_response": "No."},
    {
        "tools": [{"name": "add"}],
        "prompt": [ASKED, turn("assistant", None, tool_calls=[CALL]), turn("tool", "2", name="add")],
        "chosen": [GOOD],
        "rejected": [BAD],
    },
    {"prompt": "Why?", "completion": "So.", "label": True},
    {"messages": [ASKED, GOOD]},
    {"instruction": "Why?", "output": "So."},
    {
        "prompt": json.dumps([ASKED]),
        "chosen": json.dumps([GOOD]),
        "rejected": json.dumps([BAD]),
        "cluster": 3,
    },
    {
        "prompt": [turn("user", [{"type": "text", "text": "Why?"}])],
        "chosen": "So.",
        "rejected": "No.",
        "part": "train",
    },
]

DEEP: Any = "x"
for _ in range(400):
    DEEP = [DEEP]

VALUES: list[Any] = [
    *(None, True, 0, -3, 2**70, 1.5, float("nan"), float("inf"), b"bytes", object()),
    *(
        "",
        " ",
        "a",
        "\x00\x1b[31m",
        "half \ud83d",
        "\u202e\u200b",
        "ﷺ" * 300,
        "[{",
        '[{"role": 1, "content": 2}]',
    ),
    *("\n\nHuman:", "\n\nAssistant:", "\n\nHuman: a\n\nAssistant:", "{}", "[]", "null", "[" * 3000),
    *([], {}, [[]], [None], [{}], [["a", "b"]], {"role": "user"}, {"from": "gpt", "value": "x"}, DEEP),
    *([turn("user", "a")], [turn("assistant", "a")], [turn("tool", "a"), turn("assistant", None)]),
    [turn("assistant", "", tool_calls=DEEP)],
    [turn("assistant", "", tool_calls=[{"function": {"name": "\ud83d"}}], when=object())],
    [turn("function_call", "{"), turn("Human", [{"type": "image"}])],
]


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every key and index inside."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, key))
            places(value[key], found)
    return found


def mutated(row: dict[str, Any], draw: random.Random) -> Any:
    row = copy.deepcopy(row)
    for _ in range(draw.choice([1, 1, 2, 3])):
        inside, key = draw.choice(places(row, []) or [(row, "prompt")])
        how = draw.randrange(6)
        if how == 0:
            inside[key] = copy.deepcopy(draw.choice(VALUES))
        elif how == 1 and row:
            inside.pop(key)
        elif how == 2:
            row[draw.choice(list(draw.choice(FORMS)))] = copy.deepcopy(draw.choice(VALUES))
        elif how == 3:
            row.update(copy.deepcopy(draw.choice(FORMS)))
        elif how == 4:
            inside[key] = draw.choice(["user", "assistant", "system", "tool"])
        else:
            row[draw.choice(["system", "tools", "images", "label"])] = copy.deepcopy(draw.choice(VALUES))
    return row if draw.random() > 0.02 else draw.choice(VALUES)


@pytest.fixture(scope="module")
def shows_all(chat_tokenizer: Any) -> Any:
    """A tokenizer whose template writes everything that it is given."""
    made = copy.deepcopy(chat_tokenizer)
    made.chat_template = TEMPLATE
    return made


def said(row: Preference, rendered: bool) -> list[tuple[str, ...]]:
    """Of each branch the texts that the model must read, in their order; of transcripts what stands between markers."""
    if not rendered:
        sides = [str(side) for side in (row.chosen, row.rejected) if side is not None]
        return [(str(row.prompt), side) for side in sides]
    whole = as_messages(row)
    return [
        tuple(turn["content"] for turn in (*whole.prompt, *side))  # type: ignore[index]
        for side in (whole.chosen, whole.rejected)
        if side is not None
    ]


@pytest.mark.parametrize("template", ["chat", "raw"])
def test_a_thousand_damaged_rows_are_read_whole_or_refused_in_words(shows_all: Any, template: str) -> None:
    draw = random.Random(15)
    settings = PreferenceSettings(source="x", template=template)  # type: ignore[arg-type]
    rows: list[Preference] = []
    reasons: list[tuple[str, str]] = []
    for line in range(500):
        row = mutated(FORMS[line % len(FORMS)], draw)
        try:
            rows.append(interpret(line, row, settings).preference)
        except Refused as refusal:
            reasons.append((refusal.reason, str(refusal)))
        try:
            interpret_prompt(line, row, settings)
        except Refused as refusal:
            reasons.append((refusal.reason, str(refusal)))
    assert len(rows) > 100  # the mutations leave enough to look at, and refuse for many reasons
    assert len({reason for reason, _ in reasons}) > 8
    assert all(reason and said.encode() for reason, said in reasons)
    json.dumps([vars(row) for row in rows], allow_nan=False)
    made = tokenize(rows, shows_all, settings)
    by_id = {tree.row_id: tree for tree in made.trees}
    refused = {bad.row_id for bad in made.bad}
    assert {row.row_id for row in rows} == by_id.keys() | refused
    for row in rows:
        if row.row_id in refused:
            continue
        rendered = template == "chat" or row.kind == "messages"
        tree = by_id[row.row_id]
        for branch, texts in zip(tree.branches, said(row, rendered), strict=True):
            read = shows_all.decode([*tree.prefix, *branch.ids])
            at = 0
            for text in texts:
                at = read.find(text, at)
                assert at >= 0, (text, read)
        start = shows_all.decode(prompt_ids(row, shows_all, settings))
        assert all(
            text in start
            for text in said(row, rendered)[0][: len(as_messages(row).prompt) if rendered else 1]
        )


def test_the_forms_are_read_where_nothing_is_damaged(shows_all: Any) -> None:
    settings = PreferenceSettings(source="x", template="chat")
    rows = [interpret(line, row, settings).preference for line, row in enumerate(FORMS)]
    assert not tokenize(rows, shows_all, settings).bad
