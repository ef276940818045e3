"""Rows as other projects publish them; each expectation is read off the form's own documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stratalign.errors import UserError
from stratalign.preferences import PreferenceSettings, Refused, check_bad, load, load_prompts
from stratalign.preferences.dialogues import JOINED, NO_PART, SYSTEM, TOOLS, WANTED, Read, interpret
from stratalign.preferences.messages import (
    FROM_VALUE,
    JSON_TEXT,
    MORE_KEYS,
    NULLS,
    PARTS_JOINED,
    ROLES_RENAMED,
    as_text,
)


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def user(text: str) -> dict[str, Any]:
    return turn("user", text)


def says(text: str) -> dict[str, Any]:
    return turn("assistant", text)


def read(row: Any, **settings: Any) -> Read:
    return interpret(3, row, PreferenceSettings(source="x", **settings))


def texts(row: Any, **settings: Any) -> tuple[Any, Any, Any]:
    found = read(row, **settings).preference
    return found.prompt, found.chosen, found.rejected


def refusal(row: Any, **settings: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        read(row, **settings)
    return caught.value.reason, caught.value.detail


def test_orca_pairs_have_a_question_and_a_system_message() -> None:
    row = {"question": "Why?", "chosen": "So.", "rejected": "No.", "system": ""}
    assert texts(row) == ("Why?", "So.", "No.")
    found = read({**row, "system": "Be brief."})
    assert found.preference.prompt == (turn("system", "Be brief."), user("Why?"))
    assert (found.preference.chosen, found.preference.rejected) == ((says("So."),), (says("No."),))
    assert found.form == "orca_dpo_pairs"
    assert found.columns == ("question", "chosen", "rejected", "system")
    assert found.notes == (SYSTEM,)


def test_alpaca_rankings_join_instruction_and_input_and_put_the_history_before() -> None:
    row = {"instruction": "Translate.", "input": "bread", "chosen": "Brot", "rejected": "Wein"}
    assert texts(row) == ("Translate.\nbread", "Brot", "Wein")
    assert texts({**row, "input": ""})[0] == "Translate."
    assert texts({**row, "history": [["Hi", "Hello"]]})[0] == (
        user("Hi"),
        says("Hello"),
        user("Translate.\nbread"),
    )
    assert refusal({**row, "history": [["Hi"]]})[0] == "not text"
    assert refusal({**row, "input": 3}) == ("not text", "input is int, not a text")


def test_sharegpt_rankings_have_conversations_and_one_message_on_each_side() -> None:
    found = read(
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello"},
            "rejected": {"from": "gpt", "value": "What"},
        }
    )
    assert (found.preference.prompt, found.preference.chosen, found.preference.rejected) == (
        (user("Hi"),),
        (says("Hello"),),
        (says("What"),),
    )
    assert found.notes == (FROM_VALUE, ROLES_RENAMED)
    assert found.form == "ShareGPT ranking"


def test_sharegpt_function_calls_become_tool_calls() -> None:
    call = json.dumps({"name": "add", "arguments": {"a": 1}})
    found = read(
        {
            "conversations": [
                {"from": "human", "value": "1 + 1?"},
                {"from": "function_call", "value": call},
                {"from": "observation", "value": "2"},
            ],
            "chosen": {"from": "gpt", "value": "2"},
            "rejected": {"from": "gpt", "value": "3"},
            "tools": json.dumps([{"name": "add"}]),
        }
    ).preference
    called = [{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]
    assert found.prompt == (user("1 + 1?"), turn("assistant", "", tool_calls=called), turn("tool", "2"))
    assert found.tools == [{"name": "add"}]
    assert json.dumps(called[0]) in as_text(found.prompt)
    assert refusal(
        {"conversations": [{"from": "function_call", "value": "add"}], "chosen": "a", "rejected": "b"}
    )


def test_helpsteer3_prefers_the_first_response_below_zero_and_the_second_above() -> None:
    row = {"context": [user("Why?")], "response1": "one", "response2": "two", "overall_preference": -3}
    assert texts(row) == ((user("Why?"),), (says("one"),), (says("two"),))
    assert texts({**row, "overall_preference": 1})[1:] == ((says("two"),), (says("one"),))
    assert refusal({**row, "overall_preference": 0}) == ("no preference", "overall_preference is 0")
    assert refusal({**row, "overall_preference": "often"})[0] == "no preference"


def test_safe_rlhf_prefers_by_number_and_the_recipe_says_by_which_column() -> None:
    row = {"prompt": "Why?", "response_0": "zero", "response_1": "one"}
    row |= {"better_response_id": 1, "safer_response_id": 0}
    assert texts(row) == ("Why?", "one", "zero")
    assert texts({**row, "better_response_id": "0"}) == ("Why?", "zero", "one")  # as a .csv file has it
    safer = {"columns": {"better_response_id": "safer_response_id"}}
    assert texts(row, **safer) == ("Why?", "zero", "one")
    assert read(row, **safer).columns == ("prompt", "response_0", "response_1", "safer_response_id")
    assert refusal({**row, "better_response_id": 2})[0] == "no preference"
    assert refusal({key: value for key, value in row.items() if not key.startswith("better")}) == (
        "missing column",
        "better_response_id",
    )


def test_ultrafeedback_argilla_and_orpo_rows_are_read() -> None:
    whole = {"chosen": [user("Why?"), says("So.")], "rejected": [user("Why?"), says("No.")]}
    expected = ((user("Why?"),), (says("So."),), (says("No."),))
    h4 = {"prompt": "Why?", "prompt_id": "1", **whole, "messages": whole["chosen"], "score_chosen": 8.0}
    orpo = {"source": "a", **whole, "prompt": "Why?", "question": "Why?"}
    for row in (h4, orpo, whole, {**whole, "instruction": "something else"}):
        assert texts(row) == expected
    assert read(h4).columns == ("prompt", "chosen", "rejected")
    argilla = {"instruction": "Why?", "chosen_response": "So.", "rejected_response": "No."}
    assert (
        texts(argilla)
        == texts({"input": "Why?", "chosen": "So.", "rejected": "No."})
        == ("Why?", "So.", "No.")
    )


def test_columns_of_other_names_are_mapped_and_null_leaves_one_out() -> None:
    row = {"query": "Why?", "good": "So.", "bad": "No.", "system": "Be brief."}
    columns = {"prompt": "query", "chosen": "good", "rejected": "bad", "system": None}
    found = read(row, columns=columns)
    assert texts(row, columns=columns) == ("Why?", "So.", "No.")
    assert found.columns == ("query", "good", "bad")
    swapped = {"chosen": "rejected", "rejected": "chosen"}
    assert texts({"prompt": "p", "chosen": "c", "rejected": "r"}, columns=swapped) == ("p", "r", "c")
    with pytest.raises(ValueError, match=r"Unknown column 'promt'\. Did you mean 'prompt'\?"):
        PreferenceSettings(source="x", columns={"promt": "query"})


def test_a_mapped_column_that_the_source_does_not_have_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"query": "p", "chosen": "c", "rejected": "r"}\n')
    with pytest.raises(UserError, match=r"'qery'\. Did you mean 'query'\?"):
        load(PreferenceSettings(source=str(tmp_path / "a.jsonl"), columns={"prompt": "qery"}))


def test_the_error_on_unknown_columns_suggests_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"query": "p", "good": "c", "worse": "r"}\n')
    settings = PreferenceSettings(source=str(tmp_path / "a.jsonl"))
    found = load(settings)
    with pytest.raises(UserError) as caught:
        check_bad(found.bad, found.total, settings, None, found.columns)
    assert "Columns found: query, good, worse." in str(caught.value)
    assert "{prompt: query, chosen: good, rejected: worse}" in str(caught.value)


def test_every_column_that_is_not_read_is_named_with_the_form(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": "r", "score": 1, "images": []},
        {"prompt": "q", "chosen": "c", "rejected": "r", "system": "s", "source": "x"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load(PreferenceSettings(source=str(tmp_path / "a.jsonl")))
    assert found.unread == ("score", "images", "source")
    assert found.forms == {"pairs": 2}
    assert found.notes == {SYSTEM: (2,)}


def test_answers_that_a_label_calls_bad_are_not_imitated() -> None:
    row = {"prompt": "p", "completion": "c"}
    assert read({**row, "label": True}).notes == (WANTED,)
    for label in (False, 0, "False"):
        assert refusal({**row, "label": label}) == (
            "marked as undesirable",
            "label is false, and demonstrations are imitated",
        )
    assert "label" not in read({**row, "label": "sports"}).columns  # a label of another kind is not read
    assert read({**row, "label": False}, columns={"label": None}).preference.chosen == "c"
    assert refusal({"messages": [user("a"), says("b")], "kto_tag": False})[0] == "marked as undesirable"


def test_a_prompt_beside_conversations_is_kept_whole_or_the_row_is_refused() -> None:
    system, hello, ahoy, why = turn("system", "Pirate."), user("Hi"), says("Ahoy."), user("Why?")
    sides = {"chosen": [why, says("Arr")], "rejected": [why, says("So")]}
    found = read({"prompt": [system, hello, ahoy, why], **sides})
    assert found.preference.prompt == (system, hello, ahoy, why)
    assert found.notes == (JOINED,)
    begun = {"chosen": [hello, ahoy, why, says("Arr")], "rejected": [hello, ahoy, why, says("So")]}
    assert texts({"prompt": [system, hello], **begun})[0] == (system, hello, ahoy, why)
    assert texts({"prompt": [why], **begun})[0] == (hello, ahoy, why)
    assert texts({"prompt": " why?\n".replace("w", "W"), **begun})[0] == (hello, ahoy, why)
    for prompt in ([system, user("Else?")], "Else?"):
        assert refusal({"prompt": prompt, **sides})[0] == "prompt differs"
        assert texts({"prompt": prompt, **sides}, columns={"prompt": None})[0] == (why,)


def test_a_prompt_beside_whole_transcripts_is_not_read_twice() -> None:
    human, assistant = "\n\nHuman:", "\n\nAssistant:"
    sides = {"chosen": f"{human} Why?{assistant} So.", "rejected": f"{human} Why?{assistant} No."}
    expected = (f"{human} Why?{assistant}", " So.", " No.")
    for prompt in ("Why?", f"{human} Why?{assistant}"):
        assert texts({"prompt": prompt, **sides}) == expected
    assert refusal({"prompt": "Else?", **sides})[0] == "prompt differs"
    assert refusal({"prompt": f"Pirate.{human} Why?{assistant}", **sides})[0] == "prompt differs"


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_an_answer_of_another_role_is_refused(side: str) -> None:
    row = {"prompt": [user("Why?")], "chosen": [says("So.")], "rejected": [says("No.")]}
    assert refusal({**row, side: [user("No.")]}) == (
        "not an answer",
        f"{side} does not begin with a turn of the assistant",
    )


def test_a_system_column_needs_a_chat_template_and_one_message() -> None:
    row = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "system": "Be brief."}
    reason, detail = refusal(row, template="raw")
    assert reason == "needs a chat template"
    assert "preferences.columns: {system: null}" in detail
    assert texts(row, template="raw", columns={"system": None})[0] == "Why?"
    messages = {**row, "prompt": [turn("system", "Be brief. "), user("Why?")]}
    assert texts(messages)[0] == tuple(messages["prompt"])
    assert refusal({**messages, "system": "Be long."})[0] == "two system messages"
    assert refusal({**row, "system": 4})[0] == "not text"
    transcript = {**row, "prompt": "\n\nHuman: Why?\n\nAssistant:", "chosen": " So.", "rejected": " No."}
    assert texts(transcript) == (
        (turn("system", "Be brief."), user("Why?")),
        (says("So."),),
        (says("No."),),
    )


def test_tools_and_message_keys_are_kept_without_nulls() -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": None}}}
    row = {
        "prompt": [
            user("1 + 1?"),
            turn("assistant", None, tool_calls=[call], name=None),
            turn("tool", "2", name="add"),
        ],
        "chosen": [says("2")],
        "rejected": [says("3")],
        "tools": [{"name": "add", "doc": None}],
    }
    found = read(row)
    kept = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    assert found.preference.prompt == (
        user("1 + 1?"),
        turn("assistant", "", tool_calls=[kept]),
        turn("tool", "2", name="add"),
    )
    assert found.preference.tools == [{"name": "add"}]
    assert set(found.notes) == {MORE_KEYS, NULLS, TOOLS}
    assert refusal({**row, "tools": "add"})[0] == "not tools"
    assert refusal({**row, "prompt": [user("a"), turn("assistant", None)]})[0] == "not text"
    answered = read({**row, "chosen": [turn("assistant", "", tool_calls=[call])]}).preference
    assert answered.chosen == (turn("assistant", "", tool_calls=[kept]),)  # a call is an answer


def test_what_is_not_text_is_refused_and_empty_media_columns_are_not_read() -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "r"}
    assert refusal({**row, "images": ["a.png"]}) == (
        "not text alone",
        "images holds something, and only text is read",
    )
    assert "images" not in read({**row, "images": []}).columns
    assert refusal({**row, "chat_template_kwargs": {"a": 1}})[0] == "template arguments of one row"
    shown = [user([{"type": "image"}, {"type": "text", "text": "What?"}])]  # type: ignore[arg-type]
    assert (
        refusal({**row, "prompt": shown})[1]
        == "a message of prompt has a part of type 'image': only text is read"
    )


def test_messages_in_other_spellings_are_read_and_noted() -> None:
    parts = turn("user", [{"type": "text", "text": "Wh"}, {"type": "text", "text": "y?"}])
    row = {"prompt": [parts], "chosen": "So.", "rejected": "No."}
    assert read(row).preference.prompt == (user("Why?"),)
    assert read(row).notes == (PARTS_JOINED,)
    packed = {"prompt": json.dumps([user("Why?")]), "chosen": json.dumps([says("So.")]), "rejected": "No."}
    assert texts(packed) == ((user("Why?"),), (says("So."),), (says("No."),))
    assert read(packed).notes == (JSON_TEXT,)
    assert texts(packed, format="text")[0] == packed["prompt"]
    assert texts({**packed, "prompt": "[{1, 2}]"})[0] == (user("[{1, 2}]"),)  # a text that is not JSON
    assert "write them as JSON" in refusal({**packed, "prompt": str([user("Why?")])})[1]


def test_a_part_of_another_name_is_noted_and_a_cluster_may_be_a_number() -> None:
    row = {"prompt": "p", "chosen": "c", "rejected": "r"}
    assert read({**row, "part": "test"}).notes == (NO_PART,)
    assert read({**row, "cluster": 7}).preference.cluster == read({**row, "cluster": "7"}).preference.cluster
    assert refusal({**row, "cluster": [7]})[0] == "not a cluster"


def test_prompts_alone_are_read_from_the_columns_that_hold_them(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a"},
        {"question": "b", "system": "s"},
        {"instruction": "c", "input": "d"},
        {"messages": [user("e")]},
        {"prompt": "f", "response": "x"},
        {"source": "nothing"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked, bad = load_prompts(PreferenceSettings(source=str(tmp_path / "a.jsonl")))
    assert [one.prompt for one in asked] == [
        "a",
        (turn("system", "s"), user("b")),
        "c\nd",
        (user("e"),),
        "f",
    ]
    assert [(one.line, one.reason) for one in bad] == [(6, "missing column")]
