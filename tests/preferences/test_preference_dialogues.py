from __future__ import annotations

from typing import Any

import pytest

from stratalign.preferences import Preference, PreferenceSettings, Refused
from stratalign.preferences.dialogues import REPEATS, SPANS, Read, cluster_of
from stratalign.preferences.dialogues import interpret as interpret_row
from stratalign.preferences.messages import MORE_KEYS
from stratalign.preferences.settings import Format
from stratalign.preferences.transcripts import part, turns

H, A = "\n\nHuman:", "\n\nAssistant:"


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def interpret(line: int, row: Any, form: Format = "auto") -> Read:
    return interpret_row(line, row, PreferenceSettings(source="x", format=form))


def read(row: Any, form: Format = "auto") -> Preference:
    return interpret(7, row, form)[0]


def refusal(row: Any, form: Format = "auto") -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        interpret(7, row, form)
    return caught.value.reason, caught.value.detail


def test_three_texts_are_a_text_preference_named_after_its_line() -> None:
    row = read({"prompt": "Hi", "chosen": "Hello", "rejected": "What"})
    assert row == Preference("r000007", 7, "Hi", "Hello", "What", cluster_of("hi"), "text")


def test_a_transcript_is_split_after_the_marker_and_never_inside_shared_first_words() -> None:
    # Both answers begin with " I think": the longest common run of characters would take it into the prompt.
    row = read({"chosen": f"{H} Why?{A} I think so.", "rejected": f"{H} Why?{A} I think not."})
    assert (row.kind, row.prompt, row.chosen, row.rejected) == (
        "transcript",
        f"{H} Why?{A}",
        " I think so.",
        " I think not.",
    )


def test_turns_of_the_assistant_that_both_share_belong_to_the_prompt() -> None:
    start = f"{H} One{A} Two{H} Three{A}"
    assert part(f"{start} Four", f"{start} Five") == (start, " Four", " Five")


def test_a_marker_that_only_one_side_completes_does_not_end_the_prompt() -> None:
    # They part inside the second marker: "\n\nAssis|tant:" against "\n\nAssis|ting". Only the first is common.
    one, other = f"{H} Q{A} Yes{A} more", f"{H} Q{A} Yes\n\nAssisting you"
    assert part(one, other) == (f"{H} Q{A}", f" Yes{A} more", " Yes\n\nAssisting you")


def test_responses_that_go_on_for_several_turns_are_kept_and_noted() -> None:
    row, notes, *_ = interpret(7, {"chosen": f"{H} Q{A} Yes{H} And?{A} So", "rejected": f"{H} Q{A} No"})
    assert row.prompt == f"{H} Q{A}"
    assert row.chosen == f" Yes{H} And?{A} So"
    assert notes == (SPANS,)


def test_messages_are_taken_as_prompt_and_answers() -> None:
    row = read({"prompt": [user("Hi")], "chosen": [says("Hello")], "rejected": [says("What")]})
    assert (row.kind, row.prompt, row.chosen) == ("messages", (user("Hi"),), (says("Hello"),))


def test_whole_conversations_share_their_common_turns_whatever_the_prompt_column_says() -> None:
    chosen, rejected = (
        [user("a"), says("b"), user("c"), says("d")],
        [user("a"), says("b"), user("c"), says("e")],
    )
    for row in (
        {"chosen": chosen, "rejected": rejected},
        {"prompt": "a", "chosen": chosen, "rejected": rejected},
    ):
        read_row = read(row)
        assert read_row.prompt == (user("a"), says("b"), user("c"))
        assert (read_row.chosen, read_row.rejected) == ((says("d"),), (says("e"),))


def test_the_common_turns_end_where_the_assistant_speaks_next_on_both_sides() -> None:
    # They differ in the second question, so the first answer is part of both responses.
    row = read(
        {
            "chosen": [user("a"), says("b"), user("c"), says("d")],
            "rejected": [user("a"), says("b"), user("x")],
        }
    )
    assert row.prompt == (user("a"),)
    assert row.chosen == (says("b"), user("c"), says("d"))
    assert row.rejected == (says("b"), user("x"))


def test_the_cluster_is_the_first_human_turn_blind_to_case_and_white_space() -> None:
    expected = cluster_of("why now?")
    rows: list[Any] = [
        {"chosen": f"{H} Why  now?{A} a", "rejected": f"{H} Why  now?{A} b"},
        {"chosen": f"{H} why now?{A} a{H} x{A} y", "rejected": f"{H} why now?{A} a{H} x{A} z"},
        {"prompt": " WHY now? ", "chosen": "a", "rejected": "b"},
        {"prompt": f"{H} Why now?{A}", "chosen": " a", "rejected": " b"},
        {
            "prompt": [{"role": "system", "content": "s"}, user("Why\nnow?")],
            "chosen": [says("a")],
            "rejected": "b",
        },
    ]
    assert {read(row).cluster for row in rows} == {expected}
    assert len(expected) == 12
    assert read({"prompt": "Why then?", "chosen": "a", "rejected": "b"}).cluster != expected


def test_every_unusable_row_gets_its_reason() -> None:
    good = {"prompt": "p", "chosen": "c", "rejected": "r"}
    assert refusal([good])[0] == "not an object"
    assert refusal({"prompt": "p", "chosen": "c"}) == ("missing column", "rejected")
    assert refusal({**good, "chosen": None}) == ("missing column", "chosen")
    assert refusal({"chosen": "c", "rejected": "r"}) == ("missing column", "prompt")
    assert refusal({**good, "chosen": 3})[0] == "not text"
    assert refusal({**good, "prompt": [{"role": "user", "content": [{"type": "image"}]}]})[0] == "not text"
    assert refusal({**good, "chosen": "half \ud83d"}) == ("not text", "chosen is not valid Unicode")
    assert refusal({**good, "prompt": " "}) == ("empty prompt", "")
    assert refusal({**good, "rejected": "\n"}) == ("empty response", "rejected")
    assert refusal({**good, "chosen": []}) == ("empty response", "chosen")
    assert refusal({**good, "chosen": "r "}) == ("responses are equal", "")
    assert refusal({"chosen": f"{H} a{A} x", "rejected": f"{H} b{A} y"})[0] == "no common assistant turn"
    assert refusal({"chosen": f"{H} a{A}", "rejected": f"{H} a{A} y"}) == ("empty response", "chosen")
    assert refusal({"chosen": [user("a"), says("x")], "rejected": [user("b"), says("x")]})[0] == (
        "no common assistant turn"
    )
    assert refusal({"chosen": [says("x")], "rejected": [says("y")]}) == ("missing column", "prompt")


def test_a_stated_format_holds_for_every_row() -> None:
    transcript = {"prompt": f"{H} Q{A}", "chosen": " a", "rejected": " b"}
    assert read(transcript, "auto").kind == "transcript"
    assert read(transcript, "text").kind == "text"
    assert refusal(transcript, "messages")[0] == "not messages"
    assert refusal({"prompt": [user("a")], "chosen": "b", "rejected": "c"}, "text")[0] == "not text"
    assert (
        refusal({"prompt": "Q", "chosen": "a", "rejected": "b"}, "transcript")[0]
        == "no common assistant turn"
    )


def test_a_repeated_prompt_and_further_keys_are_noted() -> None:
    assert interpret(1, {"prompt": "Q", "chosen": "Q a", "rejected": "Q b"})[1] == (REPEATS,)
    assert interpret(1, {"prompt": [{**user("Q"), "name": "x"}], "chosen": "a", "rejected": "b"})[1] == (
        MORE_KEYS,
    )


def test_a_transcript_reads_as_messages_without_its_open_last_turn() -> None:
    assert turns(f"Be kind.{H} One {A} Two{H} Three{A}") == (
        {"role": "system", "content": "Be kind."},
        user("One"),
        says("Two"),
        user("Three"),
    )
    assert turns("Human: no blank lines before the first marker\n\nAssistant: ok")[0]["role"] == "user"


@pytest.mark.parametrize("column", ["response", "completion"])
def test_a_response_without_a_rejected_one_is_a_demonstration(column: str) -> None:
    row = read({"prompt": "Hi", column: "Hello"})
    assert (row.prompt, row.chosen, row.rejected, row.kind) == ("Hi", "Hello", None, "text")
    marked = read({"prompt": f"{H} Why?{A}", column: " Because."})
    assert (marked.kind, marked.chosen, marked.rejected) == ("transcript", " Because.", None)
    turned = read({"prompt": [user("Hi")], column: [says("Hello")]})
    assert (turned.kind, turned.prompt, turned.chosen) == ("messages", (user("Hi"),), (says("Hello"),))


def test_messages_that_end_with_the_assistant_are_a_demonstration_of_its_last_turn() -> None:
    turns = [user("One"), says("Two"), user("Three"), says("Four")]
    row = read({"prompt": "One", "messages": turns})  # such sets repeat the first turn as the prompt
    assert (row.kind, row.prompt, row.chosen, row.rejected) == (
        "messages",
        tuple(turns[:3]),
        (says("Four"),),
        None,
    )
    whole = read({"response": f"{H} One{A} Two{H} Three{A} Four"})
    assert (whole.prompt, whole.chosen) == (f"{H} One{A} Two{H} Three{A}", " Four")


def test_a_demonstration_that_cannot_be_used_is_refused_with_its_column() -> None:
    assert refusal({"messages": [user("Hi"), says("Hello"), user("Bye")]}) == (
        "no assistant turn",
        "messages does not end with a turn of the assistant",
    )
    assert refusal({"messages": []})[0] == "no assistant turn"
    assert refusal({"prompt": "Hi", "response": " "}) == ("empty response", "response")
    assert refusal({"response": "Hello"}) == ("missing column", "prompt")
    assert refusal({"prompt": "", "completion": "Hello"})[0] == "empty prompt"


def test_a_row_that_names_one_side_of_a_pair_is_no_demonstration() -> None:
    assert refusal({"prompt": "p", "chosen": "c", "response": "r"}) == ("missing column", "rejected")
    pair = read({"prompt": "p", "chosen": "c", "rejected": "r", "response": "x"})
    assert (pair.chosen, pair.rejected) == ("c", "r")
