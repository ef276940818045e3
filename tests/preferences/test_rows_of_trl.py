"""Rows in TRL's own forms give TRL's own tokens, row for row."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stratalign.preferences import PreferenceSettings, load, prepare_template, settle_template, tokenize

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% for call in m.get('tool_calls') or [] %}CALL {{ call['function'] | tojson }}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ("tea", "Käse", "寿司", "🫖 pot", "ع", "a\u0301 accent", "  spaced  ", "tab\tand\nline")
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def chat_rows() -> list[dict[str, Any]]:
    """48 rows: six shapes, each with eight words."""
    rows: list[dict[str, Any]] = []
    for word in WORDS:
        question, good, bad = f"What is {word}?", f"It is {word}, warm.", f"No {word}."
        asked, answered = [turn("user", question)], [turn("assistant", good)]
        earlier = [turn("user", f"Hi {word}"), turn("assistant", "Hello.")]
        system = [turn("system", f"Be brief about {word}.")]
        call = [{"type": "function", "function": {"name": "weather", "arguments": {"town": word}}}]
        used = [turn("assistant", "", tool_calls=call), turn("tool", f"rain in {word}", name="weather")]
        sides = {"chosen": answered, "rejected": [turn("assistant", bad)]}
        several = [*answered, turn("user", "And then?"), turn("assistant", "Nothing.")]
        rows += [
            {"prompt": asked, **sides},
            {"prompt": system + asked, **sides},
            {"prompt": system + earlier + asked, **sides},
            {"chosen": earlier + asked + answered, "rejected": [*earlier, *asked, turn("assistant", bad)]},
            {"prompt": asked, "chosen": several, "rejected": [turn("assistant", bad)]},
            {"tools": TOOLS, "prompt": asked + used, **sides},
        ]
    return rows


@pytest.mark.peer
@pytest.mark.filterwarnings("default")
def test_48_chat_rows_have_the_tokens_that_trl_trains_on(chat_tokenizer: Any, tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import DPOTrainer

    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in chat_rows()))
    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.chat_template = TEMPLATE
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    theirs = [
        DPOTrainer._prepare_dataset(  # each by itself: a table would give every message every other's keys
            SimpleNamespace(_tokenizer=tokenizer), Dataset.from_list([row]), tokenizer, arguments, "train"
        )[0]
        for row in chat_rows()
    ]
    found = load(PreferenceSettings(source=str(source)))
    settings = settle_template(PreferenceSettings(source=str(source)), found.rows, tokenizer)
    prepare_template(tokenizer, settings)
    done = tokenize(found.rows, tokenizer, settings)
    assert not found.bad
    assert not done.bad
    assert len(done.trees) == 48
    for tree, expected in zip(done.trees, theirs, strict=True):
        assert list(tree.prefix) == expected["prompt_ids"]
        assert [list(branch.ids) for branch in tree.branches] == [
            expected["chosen_ids"],
            expected["rejected_ids"],
        ]
