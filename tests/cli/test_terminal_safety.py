"""Texts from elsewhere are shown on the terminal and cannot command it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stratalign.cli import main, terminal
from stratalign.cli.tabling import table
from stratalign.errors import visible

HOSTILE = "a\x1b[2J\x07\x9b31m\u202eb\r[bold]c"
SHOWN = "a\\x1b[2J\\x07\\x9b31m\\u202eb\\r[bold]c"


def test_control_characters_are_spelt_out_and_white_space_stays() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("tab\tand\nline, ünïcödé") == "tab\tand\nline, ünïcödé"


def test_lines_and_cells_send_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(HOSTILE)
    rows = table("run")
    rows.add_row(HOSTILE)
    terminal.console.print(rows)
    said = capsys.readouterr().out
    assert said.count(SHOWN) == 2
    assert "\x1b" not in said.replace("\x1b[0m", "")


def test_an_error_shows_a_hostile_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["stratalign", "plan", str(tmp_path / "\x1b]0;owned\x07.yaml")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "\\x1b]0;owned\\x07.yaml" in said
    assert "\x1b" not in said


def test_no_code_may_stand_after_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STRATALIGN_NO_CODE", "")
    (tmp_path / "r.yaml").write_text(
        "model: microworld\npreferences: {source: 'microworld:fluency'}\npartition: {method: 'mine:halves'}\n"
    )
    monkeypatch.setattr(
        "sys.argv",
        ["stratalign", "plan", str(tmp_path / "r.yaml"), "--no-code", "--out", str(tmp_path / "out")],
    )
    with pytest.raises(SystemExit):
        main()
    assert "'mine:halves' is code that this recipe would run, and --no-code" in capsys.readouterr().err
