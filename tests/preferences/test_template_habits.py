"""What a chat template does around an answer, which template it is, its arguments and its date."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from stratalign.errors import UserError
from stratalign.preferences import (
    Habits,
    Preference,
    PreferenceSettings,
    prepare_template,
    prompt_ids,
    tokenize,
    writes_the_date,
)

TURNS = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
OPENS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
THINKS = "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
EMPTY_THOUGHT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
BRACKETS = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} <eos>{% endif %}{% endfor %}"
)
ROW = Preference(
    "r000001",
    1,
    ({"role": "user", "content": "Why?"},),
    ({"role": "assistant", "content": "So."},),
    ({"role": "assistant", "content": "No."},),
    "c",
    "messages",
)


def settings(**given: Any) -> PreferenceSettings:
    return PreferenceSettings(source="x", template="chat", **given)


def with_template(tokenizer: Any, template: Any) -> Any:
    made = copy.deepcopy(tokenizer)
    made.chat_template = template
    return made


def prompt(tokenizer: Any, given: PreferenceSettings) -> str:
    return str(tokenizer.decode(prompt_ids(ROW, tokenizer, given)))


def chosen_labels(tokenizer: Any, given: PreferenceSettings) -> str:
    (tree,) = tokenize([ROW], tokenizer, given).trees
    return str(tokenizer.decode(tree.branches[0].ids[tree.branches[0].first_label :]))


def test_a_template_that_opens_the_turn_where_it_is_asked_has_no_habits(tokenizer: Any) -> None:
    made = with_template(tokenizer, TURNS + OPENS)
    assert prepare_template(made, settings()) == Habits()
    assert made.chat_template == TURNS + OPENS


@pytest.mark.parametrize("ending", ["", "\n"])
def test_a_template_that_never_opens_the_turn_is_made_to_open_it(tokenizer: Any, ending: str) -> None:
    made = with_template(tokenizer, TURNS + ending)
    assert prepare_template(made, settings()) == Habits(added="<|im_start|>assistant\n")
    assert prompt(made, settings()) == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert chosen_labels(made, settings()) == "So.<|im_end|>\n"


def test_a_template_in_which_the_answer_follows_the_question_is_left_alone(tokenizer: Any) -> None:
    made = with_template(tokenizer, BRACKETS)
    assert prepare_template(made, settings()) == Habits()
    assert made.chat_template == BRACKETS


@pytest.mark.parametrize("last", ["<|im_start|>assistant\n", "### Assistant:\n"])
def test_a_template_that_opens_a_turn_after_every_conversation_is_refused(tokenizer: Any, last: str) -> None:
    made = with_template(tokenizer, TURNS + last)
    with pytest.raises(UserError, match="opens a turn of the assistant after every conversation"):
        prepare_template(made, settings())


def test_an_end_token_after_every_conversation_is_no_open_turn(tokenizer: Any) -> None:
    made = with_template(tokenizer, TURNS + "<eos>")
    assert prepare_template(made, settings()) == Habits(asked="<eos>", trained="<|im_start|>assistant\n")


def test_a_generation_prompt_that_begins_a_thought_is_told_from_what_is_trained(tokenizer: Any) -> None:
    made = with_template(tokenizer, TURNS + THINKS)
    assert prepare_template(made, settings()) == Habits(asked="<think>\n")


def test_an_empty_thought_before_trained_answers_is_seen_and_an_argument_moves_it_into_the_prompt(
    tokenizer: Any,
) -> None:
    made = with_template(tokenizer, EMPTY_THOUGHT)
    assert prepare_template(made, settings()) == Habits(trained="<think>\n\n</think>\n\n")
    assert chosen_labels(made, settings()).startswith("<think>")
    made = with_template(tokenizer, EMPTY_THOUGHT)
    given = settings(chat_template_kwargs={"enable_thinking": False})
    assert prepare_template(made, given) == Habits()
    assert prompt(made, given).endswith("assistant\n<think>\n\n</think>\n\n")
    assert chosen_labels(made, given) == "So.<|im_end|>\n"


def test_a_template_writes_the_study_s_date_and_not_today_s(tokenizer: Any) -> None:
    made = with_template(tokenizer, "On {{ strftime_now('%d %b %Y, %-d%%') }}.\n" + TURNS + OPENS)
    assert writes_the_date(made, settings())
    given = settings(date="2001-02-03")
    prepare_template(made, given)
    assert prompt(made, given).startswith("On 03 Feb 2001, 3%%.\n")
    assert not writes_the_date(with_template(tokenizer, TURNS + OPENS), settings())


def test_several_templates_without_a_default_are_named_and_one_can_be_chosen(tokenizer: Any) -> None:
    named = {"rag": "RAG " + TURNS + OPENS, "tool_use": TURNS + OPENS}
    with pytest.raises(UserError, match=r"rag, tool_use.*preferences\.chat_template: rag"):
        prepare_template(with_template(tokenizer, named), settings())
    made, given = with_template(tokenizer, named), settings(chat_template="rag")
    prepare_template(made, given)
    assert prompt(made, given).startswith("RAG ")


def test_a_template_can_be_a_file_even_where_the_tokenizer_has_none(tokenizer: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("OWN " + TURNS + OPENS)
    made, given = copy.deepcopy(tokenizer), settings(chat_template=str(file))
    prepare_template(made, given)
    assert prompt(made, given).startswith("OWN ")
    with pytest.raises(UserError, match="neither a chat template of the tokenizer nor a file"):
        prepare_template(copy.deepcopy(tokenizer), settings(chat_template=str(tmp_path / "none.jinja")))


def test_a_template_that_cannot_be_compiled_is_one_message(tokenizer: Any) -> None:
    with pytest.raises(UserError, match=r"cannot be compiled .*for m in %}"):
        prepare_template(with_template(tokenizer, "\n{% for m in %}"), settings())


def test_whatever_a_template_raises_on_a_row_refuses_that_row(tokenizer: Any) -> None:
    made = with_template(
        tokenizer, "{% for m in messages %}{{ (m['content'] + 1) if m['content'] == 'Why?' }}{% endfor %}"
    )
    prepare_template(made, settings())
    (bad,) = tokenize([ROW], made, settings()).bad
    assert bad.reason == "refused by the chat template"
    assert bad.detail.startswith("TypeError: ")


def test_a_template_that_loops_is_stopped(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stratalign.preferences.templates.RENDERING_LIMIT", 0.05)
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    made = with_template(tokenizer, loops + TURNS)
    prepare_template(made, settings())
    (bad,) = tokenize([ROW], made, settings()).bad
    assert "processor time" in bad.detail


@pytest.mark.parametrize(
    "given", [{"messages": []}, {"strftime_now": 1}, {"now": float("nan")}, {"add_generation_prompt": True}]
)
def test_arguments_that_are_not_the_template_s_to_have_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="chat_template_kwargs"):
        settings(chat_template_kwargs=given)


@pytest.mark.parametrize("date", ["2026-02-30", "yesterday", "2026-1-1"])
def test_a_date_is_a_day(date: str) -> None:
    with pytest.raises(ValueError, match="date"):
        settings(date=date)
