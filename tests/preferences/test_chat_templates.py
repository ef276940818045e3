"""Which template `auto` comes to, by tokenizer and by rows."""

from __future__ import annotations

from typing import Any

import pytest

from stratalign.preferences import (
    Asked,
    Preference,
    PreferenceSettings,
    describe_template,
    prompt_ids,
    settle_template,
    tokenize,
)

AUTO = PreferenceSettings(source="x")
CHAT = PreferenceSettings(source="x", template="chat")
RAW = PreferenceSettings(source="x", template="raw")
OPENING = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


def text(prompt: str, line: int = 1, rejected: str | None = "No.") -> Preference:
    return Preference(f"r{line:06d}", line, prompt, "So.", rejected, "c", "text")


TRANSCRIPT = Preference("r000001", 1, "\n\nHuman: Why?\n\nAssistant:", " So.", " No.", "c", "transcript")
MESSAGES = Preference(
    "r000001",
    1,
    ({"role": "user", "content": "Why?"},),
    ({"role": "assistant", "content": "So."},),
    ({"role": "assistant", "content": "No."},),
    "c",
    "messages",
)


@pytest.mark.parametrize("row", [text("Why?"), text("Why?", rejected=None), TRANSCRIPT, MESSAGES])
def test_auto_renders_every_kind_of_row_where_there_is_a_template(
    chat_tokenizer: Any, row: Preference
) -> None:
    settled = settle_template(AUTO, [row], chat_tokenizer)
    (tree,) = tokenize([row], chat_tokenizer, settled).trees
    assert chat_tokenizer.decode(tree.prefix).startswith(OPENING)
    assert tokenize([row], chat_tokenizer, AUTO) == tokenize([row], chat_tokenizer, CHAT)
    assert chat_tokenizer.decode(prompt_ids(row, chat_tokenizer, settled)) == OPENING
    assert describe_template(AUTO, [row], chat_tokenizer) == {
        "used": "chat", "available": True, "rendered_by": None, "date": None, "habits": None,
        "begin_token": None, "begun": 0,
    }  # fmt: skip


def test_auto_is_chat_with_a_template_and_raw_without(chat_tokenizer: Any, tokenizer: Any) -> None:
    rows = [text("Why?")]
    assert settle_template(AUTO, rows, chat_tokenizer) == CHAT
    assert settle_template(AUTO, rows, tokenizer) == RAW
    assert describe_template(AUTO, rows, tokenizer) == {
        "used": "raw", "available": False, "rendered_by": None, "date": None, "habits": None,
        "begin_token": None, "begun": 0,
    }  # fmt: skip
    assert prompt_ids(Asked("p", "Why?", "text", "c"), tokenizer, AUTO) == tokenizer("Why?")["input_ids"]


@pytest.mark.parametrize("asked", [RAW, CHAT])
def test_what_was_asked_for_stays(chat_tokenizer: Any, asked: PreferenceSettings) -> None:
    assert settle_template(asked, [text("Why?")], chat_tokenizer) == asked
    assert describe_template(asked, [text("Why?")], chat_tokenizer)["used"] == asked.template


def test_auto_stays_where_it_decides_nothing(chat_tokenizer: Any) -> None:
    assert settle_template(AUTO, [MESSAGES], chat_tokenizer) == AUTO
    assert describe_template(RAW, [MESSAGES], chat_tokenizer)["used"] == "chat"


@pytest.mark.parametrize(("rendered", "template"), [(2, "raw"), (1, "chat")])
def test_prompts_that_are_rendered_already_are_not_rendered_twice(
    chat_tokenizer: Any, rendered: int, template: str
) -> None:
    # Half of four is two.
    rows = [text(OPENING if n < rendered else "Why?", n) for n in range(4)]
    assert settle_template(AUTO, rows, chat_tokenizer).template == template
    seen = "<|im_start|>" if rendered == 2 else None
    assert describe_template(AUTO, rows, chat_tokenizer)["rendered_by"] == seen


def test_a_rendered_row_begins_once(bos_chat_tokenizer: Any) -> None:
    # The template writes the first token, id 1, and the tokenizer does, too, before plain text.
    (tree,) = tokenize([text("Why?")], bos_chat_tokenizer, AUTO).trees
    assert [tree.prefix[0], [*tree.prefix].count(1)] == [1, 1]
    assert prompt_ids(text("Why?"), bos_chat_tokenizer, AUTO).count(1) == 1
    assert prompt_ids(text("Why?"), bos_chat_tokenizer, RAW).count(1) == 1


def test_a_text_that_begins_with_the_begin_token_gets_it_once_and_is_counted(bos_tokenizer: Any) -> None:
    rows = [text("<bos>Why?"), text("Why?", line=2)]
    one, other = tokenize(rows, bos_tokenizer, RAW).trees
    assert one.prefix == other.prefix
    assert prompt_ids(rows[0], bos_tokenizer, RAW) == prompt_ids(rows[1], bos_tokenizer, RAW)
    about = describe_template(RAW, rows, bos_tokenizer)
    assert (about["begin_token"], about["begun"]) == ("<bos>", 1)
