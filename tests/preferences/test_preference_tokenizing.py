from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stratalign.errors import UserError
from stratalign.preferences import (
    BadRow,
    Branch,
    Preference,
    PreferenceSettings,
    Tree,
    load,
    prompt_ids,
    tokenize,
    without_rejected,
)

RAW = PreferenceSettings(source="x")
CHAT = PreferenceSettings(source="x", template="chat")


def text(prompt: str, chosen: str, rejected: str) -> Preference:
    return Preference("r000001", 1, prompt, chosen, rejected, "c", "text")


def messages(*turns: str) -> tuple[dict[str, str], ...]:
    return tuple(
        {"role": role, "content": content} for role, content in (turn.split(": ", 1) for turn in turns)
    )


def only(row: Preference, tokenizer: Any, settings: PreferenceSettings = RAW) -> Tree:
    done = tokenize([row], tokenizer, settings)
    assert done.bad == ()
    return done.trees[0]


def ids(letters: str) -> tuple[int, ...]:
    return tuple(0 if letter == "$" else ord(letter) for letter in letters)


def test_a_text_pair_becomes_its_prompt_and_two_labelled_branches_with_an_end(letters: Any) -> None:
    # "ab" + "xy" and "ab" + "xz": x is shared but belongs to the responses, so the prefix stops at "ab".
    tree = only(text("ab", "xy", "xz"), letters())
    assert tree == Tree("r000001", "c", ids("ab"), (Branch(ids("xy$"), 0), Branch(ids("xz$"), 0)))


def test_an_end_that_is_already_there_is_not_doubled(letters: Any) -> None:
    assert only(text("ab", "x$", "y"), letters()).branches == (Branch(ids("x$"), 0), Branch(ids("y$"), 0))
    assert only(text("ab", "x", "y"), letters(ends=True)).branches[0] == Branch(ids("x$"), 0)


def test_a_token_that_merges_across_the_boundary_is_labelled_in_both_branches(letters: Any) -> None:
    # Alone the prompt is a, b. With "x" the b merges to bx = 999: chosen is a, 999, $; rejected a, b, y, $. The
    # prompt and chosen part after "a", so labels start there on both sides, as in TRL.
    tree = only(text("ab", "x", "y"), letters({"bx": 999}))
    assert tree == Tree("r000001", "c", ids("a"), (Branch((999, 0), 0), Branch(ids("by$"), 0)))


def test_a_prompt_without_tokens_is_refused_unless_the_sequence_has_a_beginning(letters: Any) -> None:
    done = tokenize([text("", "x", "y")], letters(), RAW)
    assert [(bad.row_id, bad.reason) for bad in done.bad] == [("r000001", "no token before the response")]
    assert only(text("", "x", "y"), letters(begins=True)).prefix == (1,)
    # The only prompt token merges with each response, so nothing would precede the labels.
    assert tokenize([text("b", "x", "y")], letters({"bx": 9, "by": 8}), RAW).bad[0].reason == (
        "no token before the response"
    )


def test_long_rows_are_dropped_with_a_reason_or_cut_and_order_is_kept(letters: Any) -> None:
    rows = [text("ab", "x", "y"), text("ab", "xxxx", "y"), text("abcdefg", "x", "y")]
    dropped = tokenize(rows, letters(), RAW, max_length=5)  # lengths 4, 7 and 9
    assert len(dropped.trees) == 1
    assert [bad.detail for bad in dropped.bad] == [
        "7 tokens, at most 5 allowed",
        "9 tokens, at most 5 allowed",
    ]
    cut = tokenize(rows, letters(), RAW, max_length=5, on_long="truncate")
    assert cut.trees[1].branches == (Branch(ids("xxx"), 0), Branch(ids("y$"), 0))
    assert [type(bad) for bad in cut.bad] == [BadRow]


def test_generation_starts_from_the_whole_prompt_without_an_end(letters: Any) -> None:
    row = text("ab", "x", "y")
    assert prompt_ids(row, letters({"bx": 999}), RAW) == list(ids("ab"))
    assert prompt_ids(row, letters(begins=True, ends=True), RAW) == [1, *ids("ab")]
    assert prompt_ids(text("a$", "x", "y"), letters(), RAW) == list(ids("a$"))  # this end is the prompt's own


def test_a_demonstration_has_one_branch(letters: Any) -> None:
    assert only(replace(text("ab", "xy", ""), rejected=None), letters()) == Tree(
        "r000001", "c", ids("ab"), (Branch(ids("xy$"), 0),)
    )


def test_a_pair_without_its_rejected_response_is_labelled_as_before(letters: Any) -> None:
    pair = only(text("ab", "xy", "xz"), letters())
    alone = without_rejected(pair)
    assert alone.branches == pair.branches[:1]
    assert (alone.prefix, alone.row_id, alone.cluster) == (pair.prefix, pair.row_id, pair.cluster)


def test_a_tokenizer_without_an_end_or_a_template_is_refused_with_advice(letters: Any) -> None:
    endless = letters()
    endless.eos_token = endless.eos_token_id = None
    with pytest.raises(UserError, match="no end-of-sequence token"):
        tokenize([text("a", "x", "y")], endless, RAW)
    with pytest.raises(UserError, match="no chat template"):
        tokenize([text("a", "x", "y")], letters(), CHAT)
    row = Preference(
        "r", 1, messages("user: a"), messages("assistant: x"), messages("assistant: y"), "c", "messages"
    )
    with pytest.raises(UserError, match="no chat template"):
        prompt_ids(row, letters(), RAW)


def test_messages_are_rendered_by_the_template_and_get_no_further_end(chat_tokenizer: Any) -> None:
    row = Preference(
        "r",
        1,
        messages("user: Why?"),
        messages("assistant: So."),
        messages("assistant: No."),
        "c",
        "messages",
    )
    tree = only(row, chat_tokenizer)
    opening = "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert chat_tokenizer.decode(tree.prefix) == opening
    assert [chat_tokenizer.decode(branch.ids) for branch in tree.branches] == [
        "So.<|im_end|>\n",
        "No.<|im_end|>\n",
    ]
    assert [branch.first_label for branch in tree.branches] == [0, 0]
    assert prompt_ids(row, chat_tokenizer, RAW) == list(tree.prefix)


def test_texts_and_transcripts_become_messages_when_the_template_is_asked_for(chat_tokenizer: Any) -> None:
    as_text = only(text("Why?", "So.", "No."), chat_tokenizer, CHAT)
    transcript = Preference("r000001", 1, "\n\nHuman: Why?\n\nAssistant:", " So.", " No.", "c", "transcript")
    assert only(transcript, chat_tokenizer, CHAT) == as_text
    assert "<|im_start|>user\nWhy?<|im_end|>" in chat_tokenizer.decode(as_text.prefix)


def test_a_template_that_refuses_the_turns_makes_a_bad_row(chat_tokenizer: Any) -> None:
    strict = type(chat_tokenizer)(
        tokenizer_object=chat_tokenizer.backend_tokenizer,
        eos_token="<eos>",
        chat_template="{{ raise_exception('roles must alternate') }}",
    )
    done = tokenize([text("a", "x", "y")], strict, CHAT)
    assert [(bad.reason, bad.detail) for bad in done.bad] == [
        ("refused by the chat template", "roles must alternate")
    ]


@pytest.mark.parametrize("name", ["tokenizer", "bos_tokenizer"])
def test_trees_of_real_transcripts_spell_prompt_and_responses(
    name: str, transcripts: Path, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(name)
    start = "<bos>" if name == "bos_tokenizer" else ""
    rows = load(PreferenceSettings(source=str(transcripts))).rows
    done = tokenize(rows, tokenizer, RAW)
    assert done.bad == ()
    for row, tree in zip(rows, done.trees, strict=True):
        assert (tree.row_id, tree.cluster) == (row.row_id, row.cluster)
        assert tokenizer.decode(tree.prefix) == f"{start}{row.prompt}"
        assert prompt_ids(row, tokenizer, RAW) == list(tree.prefix)
        for branch, response in zip(tree.branches, (row.chosen, row.rejected), strict=True):
            assert branch.first_label == 0
            assert tokenizer.decode(branch.ids) == f"{response}<eos>"


@pytest.mark.peer
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["tokenizer", "bos_tokenizer", "chat_tokenizer"])
def test_trees_hold_the_tokens_that_trl_trains_on(
    name: str, transcripts: Path, request: pytest.FixtureRequest
) -> None:
    from types import SimpleNamespace

    from datasets import Dataset
    from trl import DPOTrainer

    tokenizer = request.getfixturevalue(name)
    rows = load(PreferenceSettings(source=str(transcripts))).rows
    # Prompts that end inside a word make tokens merge across the boundary.
    rows = (*rows, *(text(f"I wr{i} some brea", "d and butter", "k it") for i in range(3)))
    if name == "chat_tokenizer":
        rows = tuple(
            Preference(
                row.row_id,
                row.line,
                messages(f"user: {row.prompt}"),
                messages(f"assistant: {row.chosen}"),
                messages(f"assistant: {row.rejected}"),
                row.cluster,
                "messages",
            )
            for row in rows
        )
    columns = [{side: value(getattr(row, side)) for side in ("prompt", "chosen", "rejected")} for row in rows]
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    theirs = DPOTrainer._prepare_dataset(
        SimpleNamespace(_tokenizer=tokenizer), Dataset.from_list(columns), tokenizer, arguments, "train"
    )
    merged = 0
    for tree, row, expected in zip(tokenize(rows, tokenizer, RAW).trees, rows, theirs, strict=True):
        assert list(tree.prefix) == expected["prompt_ids"]
        assert list(tree.branches[0].ids) == expected["chosen_ids"]
        assert list(tree.branches[1].ids) == expected["rejected_ids"]
        merged += len(prompt_ids(row, tokenizer, RAW)) > len(tree.prefix)
    assert merged == (0 if name == "chat_tokenizer" else 3)


def value(dialogue: Any) -> Any:
    return dialogue if isinstance(dialogue, str) else list(dialogue)
