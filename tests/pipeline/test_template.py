"""preferences.template through plans and studies: settled once, stored, shown, and never changed in silence."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import stratalign as sa
from stratalign.cli import plan_tables
from stratalign.errors import UserError
from stratalign.pipeline import parity, stock_trl
from stratalign.pipeline.fingerprints import add_fingerprints
from stratalign.recipe import parse_recipe
from stratalign.records import StudyFolder

TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<eos>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"  # noqa: E501


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def row(kind: str, n: int) -> dict[str, Any]:
    asked, good, bad = f"How many are {n} and one?", f"They are {n + 1}.", "No."
    if kind == "text":
        return {"prompt": asked, "chosen": good, "rejected": bad}
    if kind == "rendered":
        return {"prompt": f"[user] {asked}<eos>[assistant] ", "chosen": good, "rejected": bad}
    if kind == "transcript":
        opening = f"\n\nHuman: {asked}\n\nAssistant: "
        return {"chosen": opening + good, "rejected": opening + bad}
    return {
        "prompt": [turn("user", asked)],
        "chosen": [turn("assistant", good)],
        "rejected": [turn("assistant", bad)],
    }


@pytest.fixture
def chat_model(make_model: Callable[..., Path], tmp_path: Path) -> Path:
    folder = shutil.copytree(make_model("llama"), tmp_path / "chat")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def make(model: Path, *kinds: str, **preferences: Any) -> dict[str, Any]:
        rows = [row(kinds[n % len(kinds)], n) for n in range(16)]
        source = tmp_path / f"{'-'.join(kinds)}.jsonl"
        source.write_text("".join(json.dumps(one) + "\n" for one in rows))
        return {
            "model": str(model),
            "preferences": {"source": str(source), "train": 8, "validation": 0, "held_out": 4, **preferences},
            "conditions": ["base", "mid"],
            "training": {"batch_size": 4, "gradient_accumulation": 1},
            "generation": {"max_new_tokens": 4},
        }

    return make


def planned_line(planned: Any, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    plan_tables.plan(planned.describe())
    said = " ".join(capsys.readouterr().out.split())
    return said.partition("Template: ")[2].partition(" Adapters:")[0]


def test_a_chat_model_gets_its_template_and_a_model_without_one_the_plain_text(
    chat_model: Path, make_model: Any, asked: Any, tmp_path: Path, capsys: Any
) -> None:
    chat = sa.plan(parse_recipe(asked(chat_model, "text")), out=tmp_path / "a")
    assert chat.recipe.preferences.template == "chat"
    assert chat.tokenizer.decode(chat.prompts[0].ids).startswith("[user] How many")
    assert planned_line(chat, capsys) == (
        "the tokenizer's chat template (plain-text rows become one user and one assistant turn; "
        "preferences.template: raw turns it off)"
    )
    raw = sa.plan(parse_recipe(asked(make_model("llama"), "text")), out=tmp_path / "b")
    assert raw.recipe.preferences.template == "raw"
    assert raw.tokenizer.decode(raw.prompts[0].ids).startswith("How many")
    assert planned_line(raw, capsys) == (
        "none, rows are used as they are written (the tokenizer has no chat template)"
    )


@pytest.mark.parametrize(
    ("kinds", "preferences", "wanted"),
    [
        (("messages",), {}, "the tokenizer's chat template, as always for rows of messages"),
        (("messages",), {"template": "raw"}, "the tokenizer's chat template, as always for rows of messages"),
        (
            ("transcript",),
            {},
            "the tokenizer's chat template (the turns of Human/Assistant transcripts become messages; "
            "preferences.template: raw turns it off)",
        ),
        (
            ("text", "messages"),
            {"template": "raw"},
            "none, texts are used as they are written (preferences.template: raw), rows of messages are rendered",
        ),
        (
            ("rendered",),
            {},
            "none, rows are used as they are written (prompts already contain <eos> of the tokenizer's chat "
            "template; preferences.template: chat renders them all the same)",
        ),
    ],
)
def test_the_plan_says_which_template_is_used_and_why(
    chat_model: Path, asked: Any, tmp_path: Path, capsys: Any, kinds: Any, preferences: Any, wanted: str
) -> None:
    planned = sa.plan(parse_recipe(asked(chat_model, *kinds, **preferences)), out=tmp_path / "out")
    assert planned_line(planned, capsys) == wanted


@pytest.mark.parametrize(("template", "stop"), [("auto", ()), ("chat", ()), ("raw", ("\n\nHuman:",))])
def test_a_transcript_ends_at_the_next_human_turn_only_where_it_is_not_rendered(
    chat_model: Path, asked: Any, tmp_path: Path, template: str, stop: tuple[str, ...]
) -> None:
    recipe = parse_recipe(asked(chat_model, "transcript", template=template))
    assert sa.plan(recipe, out=tmp_path / "out").stop == stop


def made_before(recipe: dict[str, Any], out: Path) -> None:
    """A folder as a study with the old default, raw, left it."""
    old = {**recipe, "preferences": {**recipe["preferences"], "template": "raw"}}
    out.mkdir()
    add_fingerprints(StudyFolder(out), sa.plan(parse_recipe(old), out=out).fingerprints)


def test_a_study_of_texts_made_with_the_old_default_is_refused_with_the_difference(
    chat_model: Path, asked: Any, tmp_path: Path
) -> None:
    recipe = asked(chat_model, "text")
    made_before(recipe, tmp_path / "out")
    with pytest.raises(UserError, match="template was raw, now chat"):
        sa.plan(parse_recipe(recipe), out=tmp_path / "out")


def test_studies_that_the_new_default_does_not_change_go_on(
    chat_model: Path, make_model: Any, asked: Any, tmp_path: Path
) -> None:
    for name, recipe in (
        ("messages", asked(chat_model, "messages")),
        ("no template", asked(make_model("llama"), "text")),
    ):
        made_before(recipe, tmp_path / name)
        sa.plan(parse_recipe(recipe), out=tmp_path / name)


def test_a_study_keeps_in_its_folder_what_auto_came_to(chat_model: Path, asked: Any, tmp_path: Path) -> None:
    out = sa.train(parse_recipe(asked(chat_model, "text")), out=tmp_path / "out").path
    assert yaml.safe_load((out / "recipe.yaml").read_text())["preferences"]["template"] == "chat"
    stored = json.loads((out / "preferences.json").read_text())["template"]
    assert stored == {
        "used": "chat",
        "available": True,
        "rendered_by": None,
        "date": None,
        "begin_token": None,
        "begun": 0,
        "habits": {"added": "", "asked": "", "trained": ""},
    }
    (chat_model / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="template was chat, now raw"):
        sa.plan(parse_recipe(asked(chat_model, "text")), out=out)


def test_a_template_that_refuses_the_rows_is_one_that_can_be_left_out(
    chat_model: Path, asked: Any, tmp_path: Path
) -> None:
    (chat_model / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    with pytest.raises(UserError, match=r"refused by the chat template.*With preferences.template: raw"):
        sa.plan(parse_recipe(asked(chat_model, "text")), out=tmp_path / "a")
    sa.plan(parse_recipe(asked(chat_model, "text", template="raw")), out=tmp_path / "b")
    with pytest.raises(UserError) as refused:
        sa.plan(parse_recipe(asked(chat_model, "messages")), out=tmp_path / "c")
    assert "preferences.template" not in str(refused.value)


def test_trl_is_given_the_messages_that_texts_become(chat_model: Path, asked: Any, tmp_path: Path) -> None:
    planned = sa.plan(parse_recipe(asked(chat_model, "text")), out=tmp_path / "out")
    (run,) = parity._comparable(planned, 1e-3)[0]
    one = planned.parts.train[0]
    assert stock_trl._columns(one, planned, run) == {
        "prompt": [turn("user", str(one.prompt))],
        "chosen": [turn("assistant", str(one.chosen))],
        "rejected": [turn("assistant", str(one.rejected))],
    }


@pytest.mark.peer
def test_texts_that_become_messages_equal_stock_trl(chat_model: Path, asked: Any) -> None:
    for kind in ("text", "transcript"):
        found = sa.verify(parse_recipe(asked(chat_model, kind)), steps=2)
        assert all(one.same_tokens for one in found.conditions.values())


def test_a_study_that_begins_on_one_day_ends_with_the_same_prompts_on_another(
    chat_model: Path, asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (chat_model / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}<eos>" + TEMPLATE)
    recipe = parse_recipe(asked(chat_model, "messages"))

    def on(day: str) -> None:
        class Day(datetime.date):
            @classmethod
            def today(cls) -> datetime.date:
                return datetime.date.fromisoformat(day)

        monkeypatch.setattr("stratalign.pipeline.execution.datetime", SimpleNamespace(date=Day))

    on("2026-11-30")
    out = sa.train(recipe, out=tmp_path / "out").path
    assert json.loads((out / "execution.json").read_text())["date"] == "2026-11-30"
    on("2026-12-01")
    later = sa.plan(recipe, out=out)
    assert later.tokenizer.decode(later.prompts[0].ids).startswith("30 Nov 2026<eos>[user] How many")
    assert "It writes a date: 2026-11-30 throughout this study" in planned_line(later, capsys)
    another = sa.plan(recipe, out=tmp_path / "another")
    assert another.tokenizer.decode(another.prompts[0].ids).startswith("01 Dec 2026")
    with pytest.raises(UserError, match="date was 2026-11-30, now 2026-12-24"):
        sa.plan(parse_recipe(asked(chat_model, "messages", date="2026-12-24")), out=out)


def test_rows_are_shown_as_the_model_reads_them(
    chat_model: Path, asked: Any, tmp_path: Path, capsys: Any
) -> None:
    planned = sa.plan(parse_recipe(asked(chat_model, "text")), out=tmp_path / "out").describe(show=1)
    (shown,), (prompt,) = planned["shown"]["rows"], planned["shown"]["prompts"]
    n = shown["line"] - 1
    assert shown["shared"] == f"[user] How many are {n} and one?<eos>[assistant] "
    assert (shown["chosen"]["before"], shown["chosen"]["labels"]) == ("", f"They are {n + 1}.<eos>")
    assert shown["rejected"]["labels"] == "No.<eos>"
    assert prompt["prompt"].endswith("and one?<eos>[assistant] ")
    plan_tables.plan(planned)
    assert f"[[They are {n + 1}.<eos>]]" in capsys.readouterr().out
