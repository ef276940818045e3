"""The calibration on a page over several studies: what each instrument said where the truth is known."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from answered_studies import ALL, answered_study

from stratalign.errors import UserError
from stratalign.records import write_json, write_text
from stratalign.reporting import report


def said(named: int | None, largest: int, reading: str = "no one largest") -> dict[str, object]:
    return {"named": named, "largest": largest, "reading": reading, "signal_p": 0.01, "separation_p": 0.5}


PLANTED = {"planted": 3, "instruments": {"norm <b>": said(3, 3, "named"), "profile": said(None, 3)}}
NULL = {"planted": None, "instruments": {"norm <b>": said(None, 0, "no signal"), "profile": said(None, 0)}}


@pytest.fixture
def studies(tmp_path: Path) -> list[Path]:
    return [answered_study(tmp_path / name, {"mid": {"fluency": ALL}}) for name in ("one", "two")]


def section(page: Path) -> str:
    found = re.search(r'<section id="calibration">.*?</section>', page.read_text(), re.DOTALL)
    return "" if found is None else found[0]


def test_worlds_beside_a_page_stand_on_it_with_who_was_right(tmp_path: Path, studies: list[Path]) -> None:
    assert section(report(studies, tmp_path)) == ""
    write_json(tmp_path / "calibration" / "planted-1.json", PLANTED)
    write_json(tmp_path / "calibration" / "null-1.json", NULL)
    write_json(tmp_path / "calibration" / "other.json", {"something": "else"})
    shown = section(report(studies, tmp_path))
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", shown)
    assert cells == [
        "instrument", "layer 3 carries it", "no layer carries it",
        "norm &lt;b&gt;", "names layer 3", "sees nothing",
        "profile", "points at layer 3", "points at layer 0",
    ]  # fmt: skip
    assert "2 of 2 point at it, 1 for certain." in shown
    assert "As it should be, none names a layer." in shown
    assert section(report(studies[:1])) == ""  # a page of one study has nothing beside it


def test_a_damaged_record_is_refused_by_name(tmp_path: Path, studies: list[Path]) -> None:
    write_text(tmp_path / "calibration" / "planted-1.json", "{")
    with pytest.raises(UserError, match=r"planted-1\.json is damaged: it is not JSON"):
        report(studies, tmp_path)
