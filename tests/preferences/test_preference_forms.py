"""Rows of other people's data sets, and rows that are damaged."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from stratalign.errors import UserError
from stratalign.preferences import PreferenceSettings, Refused, check_bad, load, load_prompts, tokenize
from stratalign.preferences.dialogues import JOINED, SYSTEM, TOOLS, WANTED, interpret
from stratalign.preferences.messages import FROM_VALUE, JSON_TEXT, ROLES_RENAMED
from stratalign.preferences.reading import BadRow, too_many_bad


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def settings(**given: Any) -> PreferenceSettings:
    return PreferenceSettings(source="x", **given)


def refusal(row: Any, **given: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        interpret(1, row, settings(**given))
    return caught.value.reason, caught.value.detail


PIRATE = {"role": "system", "content": "Be a pirate."}

FORMS: list[tuple[str, dict[str, Any], Any, Any, Any]] = [
    (
        "orca_dpo_pairs",
        {"system": "Be a pirate.", "question": "Tea?", "chosen": "Arr.", "rejected": "Yes."},
        (PIRATE, user("Tea?")),
        (says("Arr."),),
        (says("Yes."),),
    ),
    (
        "Alpaca ranking",
        {
            "instruction": "Translate.",
            "input": "Tee",
            "chosen": "Tea",
            "rejected": "Tie",
            "history": [["a", "b"]],
        },
        (user("a"), says("b"), user("Translate.\nTee")),
        (says("Tea"),),
        (says("Tie"),),
    ),
    (
        "ShareGPT ranking",
        {
            "conversations": [{"from": "human", "value": "Tea?"}],
            "chosen": {"from": "gpt", "value": "Yes."},
            "rejected": {"from": "gpt", "value": "No."},
        },
        (user("Tea?"),),
        (says("Yes."),),
        (says("No."),),
    ),
    (
        "HelpSteer3",
        {"context": [user("Tea?")], "response1": "Yes.", "response2": "No.", "overall_preference": -2},
        (user("Tea?"),),
        (says("Yes."),),
        (says("No."),),
    ),
    (
        "HelpSteer3",
        {"context": [user("Tea?")], "response1": "Yes.", "response2": "No.", "overall_preference": 1},
        (user("Tea?"),),
        (says("No."),),
        (says("Yes."),),
    ),
    (
        "PKU-SafeRLHF",
        {
            "prompt": "Tea?",
            "response_0": "Yes.",
            "response_1": "No.",
            "better_response_id": 1,
            "safer_response_id": 0,
        },
        "Tea?",
        "No.",
        "Yes.",
    ),
    (
        "argilla ultrafeedback",
        {"instruction": "Tea?", "chosen_response": "Yes.", "rejected_response": "No."},
        "Tea?",
        "Yes.",
        "No.",
    ),
    (
        "pairs",
        {"prompt": json.dumps([user("Tea?")]), "chosen": json.dumps([says("Yes.")]), "rejected": "No."},
        (user("Tea?"),),
        (says("Yes."),),
        (says("No."),),
    ),
]


@pytest.mark.parametrize(("form", "row", "prompt", "chosen", "rejected"), FORMS)
def test_a_known_form_is_read_whole(
    form: str, row: dict[str, Any], prompt: Any, chosen: Any, rejected: Any
) -> None:
    found = interpret(1, row, settings())
    assert found.form == form
    assert (found.preference.prompt, found.preference.chosen, found.preference.rejected) == (
        prompt,
        chosen,
        rejected,
    )
    assert {"safer_response_id"} >= row.keys() - set(found.columns)


def test_columns_of_other_names_are_mapped_and_null_leaves_one_out() -> None:
    row = {"query": "Tea?", "good": "Yes.", "bad": "No.", "system": "Be a pirate."}
    columns = {"prompt": "query", "chosen": "good", "rejected": "bad", "system": None}
    found = interpret(1, row, settings(columns=columns)).preference
    assert (found.prompt, found.chosen, found.rejected) == ("Tea?", "Yes.", "No.")
    with pytest.raises(ValueError, match="promt"):
        settings(columns={"promt": "query"})


def test_a_system_column_is_a_system_message_and_needs_a_template() -> None:
    row = {"system": "Be a pirate.", "prompt": "Tea?", "chosen": "Arr.", "rejected": "Yes."}
    found = interpret(1, row, settings())
    assert found.preference.prompt == (PIRATE, user("Tea?"))
    assert SYSTEM in found.notes
    assert refusal(row, template="raw")[0] == "needs a chat template"
    assert refusal({**row, "prompt": [{"role": "system", "content": "Be kind."}, user("Tea?")]})[0] == (
        "two system messages"
    )


def test_tools_and_tool_calls_reach_the_template(tokenizer: Any) -> None:
    call = {"type": "function", "function": {"name": "weather", "arguments": {"town": "Rome"}}}
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    row = {
        "tools": json.dumps(tools),
        "prompt": [user("Rain?"), {"role": "assistant", "content": None, "tool_calls": [call]},
                   {"role": "tool", "content": "rain", "name": "weather"}],
        "chosen": [says("It rains.")],
        "rejected": [says("No.")],
    }  # fmt: skip
    found = interpret(1, row, settings())
    assert TOOLS in found.notes
    made = copy.deepcopy(tokenizer)
    made.chat_template = (
        "{% for t in tools %}Tool {{ t['function']['name'] }}.{% endfor %}{% for m in messages %}{{ m['role'] }}:"
        "{{ m['content'] }}{% if m['tool_calls'] %}CALL {{ m['tool_calls'][0]['function']['arguments']['town'] }}"
        "{% endif %} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    (tree,) = tokenize([found.preference], made, settings()).trees
    assert made.decode(tree.prefix) == "Tool weather.user:Rain? assistant:CALL Rome tool:rain assistant:"


def test_answers_that_are_marked_as_bad_are_nothing_to_imitate() -> None:
    row = {"prompt": "Tea?", "completion": "You are a fool.", "label": False}
    assert refusal(row)[0] == "marked as undesirable"
    assert refusal({**row, "label": "False"})[0] == "marked as undesirable"
    assert WANTED in interpret(1, {**row, "label": True}, settings()).notes
    assert interpret(1, {**row, "label": "spam"}, settings()).columns == ("completion", "prompt")


def test_a_prompt_beside_whole_conversations_is_joined_or_refused_and_never_dropped() -> None:
    opening = [PIRATE, user("Hello"), says("Ahoy."), user("Tea?")]
    sides = {"chosen": [user("Tea?"), says("Arr.")], "rejected": [user("Tea?"), says("Yes.")]}
    found = interpret(1, {"prompt": opening, **sides}, settings())
    assert found.preference.prompt == tuple(opening)
    assert JOINED in found.notes
    assert refusal({"prompt": [user("Coffee?")], **sides})[0] == "prompt differs"
    assert refusal({"prompt": "Coffee?", **sides})[0] == "prompt differs"


@pytest.mark.parametrize("role", ["user", "system", "tool"])
@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_an_answer_of_another_role_is_refused(side: str, role: str) -> None:
    row = {"prompt": [user("Tea?")], "chosen": [says("Yes.")], "rejected": [says("No.")]}
    row[side] = [{"role": role, "content": "No."}]
    assert refusal(row) == ("not an answer", f"{side} does not begin with a turn of the assistant")


def test_spellings_of_messages_are_noted() -> None:
    row = {"prompt": json.dumps([{"from": "human", "value": "Tea?"}]), "chosen": "Yes.", "rejected": "No."}
    found = interpret(1, row, settings())
    assert found.preference.prompt == (user("Tea?"),)
    assert {FROM_VALUE, JSON_TEXT, ROLES_RENAMED} <= set(found.notes)
    assert refusal({**row, "prompt": "[{'role': 'user', 'content': 'Tea?'}]"})[0] == "not text"


def test_a_row_with_images_is_refused_and_an_empty_column_of_images_is_not() -> None:
    row = {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "images": ["a.png"]}
    assert refusal(row)[0] == "not text alone"
    assert interpret(1, {**row, "images": []}, settings()).preference.prompt == "Tea?"


ROWS = [{"prompt": f"Tea {i}?", "chosen": "Yes.", "rejected": "No.", "score": i} for i in range(3)]


def written(path: Path, text: str, encoding: str = "utf-8") -> PreferenceSettings:
    path.write_bytes(text.encode(encoding))
    return PreferenceSettings(source=str(path))


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
TABLE = "prompt,chosen,rejected,score,note\n" + "".join(f'"Tea {i}?",Yes.,No.,{i},\n' for i in range(3))


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("a.jsonl", LINES, "utf-8-sig"),
        ("b.jsonl", LINES, "utf-16"),
        ("c.jsonl", json.dumps(ROWS), "utf-8"),
        ("d.json", json.dumps(ROWS, indent=2), "utf-16"),
        ("e.json", LINES, "utf-8"),
        ("f.csv", TABLE, "utf-8"),
        ("g.csv", TABLE, "utf-16"),
        ("h.tsv", TABLE.replace(",", "\t"), "utf-8-sig"),
    ],
)
def test_files_of_every_kind_give_the_same_rows(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    found = load(written(tmp_path / name, text, encoding))
    assert [row.prompt for row in found.rows] == ["Tea 0?", "Tea 1?", "Tea 2?"]
    assert found.unread == ("score",)
    assert not found.bad


def test_a_table_whose_row_has_too_many_cells_lists_that_line(tmp_path: Path) -> None:
    found = load(written(tmp_path / "a.csv", TABLE + "a,b,c,d,e,f\n"))
    assert [(row.line, row.reason) for row in found.bad] == [(5, "not a row of the table")]


def test_an_object_in_place_of_an_array_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="under 'data'"):
        load(written(tmp_path / "a.json", json.dumps({"data": ROWS})))


@pytest.mark.parametrize("row", [{"question": "Tea?"}, {"messages": [user("Tea?")]}, {"instruction": "Tea?"}])
def test_a_prompt_alone_is_found_in_the_columns_that_people_use(tmp_path: Path, row: dict[str, Any]) -> None:
    (asked,), bad = load_prompts(written(tmp_path / "a.jsonl", json.dumps(row) + "\n"))
    assert not bad
    assert asked.prompt in ("Tea?", (user("Tea?"),))


def test_long_rows_do_not_count_as_bad_and_stop_nothing_below_half() -> None:
    long = [BadRow(i, f"r{i}", "too long", "") for i in range(49)]
    assert not too_many_bad(long, 100, settings(max_bad=0.0))
    assert too_many_bad([*long, BadRow(50, "r50", "too long", "")], 100, settings())
    assert too_many_bad([*long, *(BadRow(i, f"r{i}", "not JSON", "") for i in range(3))], 100, settings())
    assert not too_many_bad([*long, *(BadRow(i, f"r{i}", "not JSON", "") for i in range(2))], 100, settings())
    with pytest.raises(UserError, match=r"training\.max_length"):
        check_bad(long + long, 100, settings())


ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    float("nan"),
    "",
    " ",
    "x",
    "\x1b[2J",
    "half \ud83d",
    "\u202eevil",
    [],
    {},
]
ODD += [
    [None],
    [[]],
    [{}],
    [{"role": "user"}],
    [{"content": "x"}],
    [user("x")],
    [says("x")],
    [says("")],
    b"bytes",
]
ODD += [
    [{"role": 3, "content": "x"}],
    [user("x", tool_calls=[{}])],
    {"a": {"b": [1]}},
    '[{"role": "user"}]',
    "x" * 9999,
]


def mutated(draw: random.Random) -> dict[str, Any]:
    """A row of one of the forms with one to three of its values replaced, removed or exchanged, at any depth."""
    row: dict[str, Any] = copy.deepcopy(draw.choice([row for _, row, *_ in FORMS] + [ROWS[0]]))
    for _ in range(draw.randint(1, 3)):
        place: Any = row
        while isinstance(place, (dict, list)) and place:
            key = draw.choice(sorted(place, key=str) if isinstance(place, dict) else range(len(place)))
            if not isinstance(place[key], (dict, list)) or draw.random() < 0.5:
                break
            place = place[key]
        if not isinstance(place, (dict, list)) or not place:
            continue
        match draw.randrange(4):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                other = draw.choice(sorted(place, key=str))
                place[key], place[other] = place[other], place[key]
            case 2 if isinstance(place, dict):
                place[draw.choice(["prompt", "chosen", "system", "tools", "label", "part", "cluster"])] = (
                    place.pop(key)
                )
            case _:
                place[key] = copy.deepcopy(draw.choice(ODD))
    return row


@pytest.mark.parametrize("seed", range(1000))
def test_a_damaged_row_is_read_or_refused_in_words_and_nothing_of_it_is_lost(
    seed: int, chat_tokenizer: Any
) -> None:
    row = mutated(random.Random(seed))
    try:
        found = interpret(1, row, settings()).preference
    except Refused:
        return
    for tree in tokenize([found], chat_tokenizer, settings()).trees:
        shown = [chat_tokenizer.decode([*tree.prefix, *branch.ids]) for branch in tree.branches]
        for side, text in zip((found.chosen, found.rejected), shown, strict=False):
            for dialogue in (found.prompt, side):
                for part in (
                    [dialogue] if isinstance(dialogue, str) else [turn["content"] for turn in dialogue or ()]
                ):
                    assert part.strip() in text
