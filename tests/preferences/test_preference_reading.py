from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from stratalign.errors import UserError
from stratalign.preferences import BadRow, PreferenceSettings, check_bad, describe, load, split

GOOD = {"prompt": "p", "chosen": "c", "rejected": "r"}
SMALL = {"train": "all", "validation": 0, "held_out": 0}


def written(path: Path, rows: list[object]) -> PreferenceSettings:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return PreferenceSettings(source=str(path))


def complaint(settings: PreferenceSettings) -> str:
    preferences = load(settings)
    with pytest.raises(UserError) as caught:
        check_bad(preferences.bad, preferences.total, settings, "bad_rows.jsonl", preferences.columns)
    return str(caught.value)


def test_bad_rows_are_listed_with_line_and_reason_beside_the_good_ones(tmp_path: Path) -> None:
    preferences = load(
        written(tmp_path / "a.jsonl", [GOOD, "{", {**GOOD, "chosen": ""}, {**GOOD, "extra": 1}])
    )
    assert [row.row_id for row in preferences.rows] == ["r000001", "r000004"]
    assert [(row.line, row.row_id, row.reason) for row in preferences.bad] == [
        (2, "r000002", "not JSON"),
        (3, "r000003", "empty response"),
    ]
    assert preferences.columns == ("prompt", "chosen", "rejected", "extra")
    assert preferences.total == 4


def test_the_allowed_share_of_bad_rows_passes_and_one_more_does_not(tmp_path: Path) -> None:
    rows: list[object] = [{**GOOD, "prompt": f"p{i}"} for i in range(19)]
    settings = written(tmp_path / "a.jsonl", [*rows, "{"])  # 1 of 20 is the default's 5 %
    preferences = load(settings)
    check_bad(preferences.bad, preferences.total, settings)
    settings = written(tmp_path / "b.jsonl", [*rows, "{", {**GOOD, "chosen": "r"}])  # 2 of 21 is 9.5 %
    message = complaint(settings)
    assert "2 of 21 rows" in message
    assert "9.5%" in message
    assert "1 responses are equal (line 21)" in message
    assert "bad_rows.jsonl" in message


def test_the_message_counts_by_reason_and_names_the_first_lines() -> None:
    bad = [BadRow(line, f"r{line}", "empty response", "chosen") for line in range(1, 8)]
    with pytest.raises(UserError, match=r"7 empty response: chosen \(lines 1, 2, 3, 4, 5, \.\.\.\)"):
        check_bad(bad, 10, PreferenceSettings(source="x"))


def test_columns_of_other_names_are_told_apart_from_damaged_rows(tmp_path: Path) -> None:
    message = complaint(written(tmp_path / "a.jsonl", [{"question": "a", "good": "b", "bad": "c"}] * 3))
    assert "every one misses a column" in message
    assert "Columns found: question, good, bad." in message
    assert "Accepted forms: prompt, chosen and rejected as texts" in message


def test_a_source_without_one_usable_row_is_refused_even_if_every_row_may_be_bad(tmp_path: Path) -> None:
    settings = written(tmp_path / "a.jsonl", ["{", {**GOOD, "chosen": ""}]).model_copy(
        update={"max_bad": 1.0}
    )
    assert "None of the 2 rows" in complaint(settings)


def test_the_shipped_transcripts_are_all_usable(transcripts: Path) -> None:
    preferences = load(PreferenceSettings(source=str(transcripts)))
    assert (len(preferences.rows), preferences.bad, dict(preferences.notes)) == (35, (), {})
    assert (
        len({row.cluster for row in preferences.rows}) == 28
    )  # 35 rows, of which 7 repeat an earlier first turn
    assert all(str(row.prompt).endswith("\n\nAssistant:") for row in preferences.rows)
    assert all(str(row.chosen).startswith(" ") for row in preferences.rows)


def test_the_description_counts_rows_clusters_and_reasons(tmp_path: Path) -> None:
    rows: list[object] = [{**GOOD, "prompt": name} for name in ("a", "A", "b", "c")]
    settings = written(tmp_path / "a.jsonl", [*rows, *["{"] * 25]).model_copy(
        update={"held_out": 1, "validation": 1, "train": "all"}
    )
    preferences = load(settings)
    too_long = BadRow(4, "r000004", "too long", "9 tokens")
    told = describe(split(preferences.rows, settings), preferences, [too_long])
    assert told["rows"] == {"read": 29, "kept": 4, "bad": 25}
    assert told["clusters"] == 3  # a and A are one
    assert told["parts"]["train"] == {"rows": 2, "clusters": 1}  # the two singles fill the small parts
    assert told["bad"]["not JSON"] == {"count": 25, "first_lines": list(range(5, 25))}
    assert told["bad"]["too long"] == {"count": 1, "first_lines": [4]}
    assert told["kinds"] == {"text": 4}
    json.dumps(told, allow_nan=False)


def test_unknown_and_impossible_settings_are_refused() -> None:
    for wrong in ({"sorce": "x"}, {"max_bad": 1.5}, {"train": 0}, {"train": "most"}, {"objective": []}):
        with pytest.raises(ValidationError):
            PreferenceSettings(**{"source": "x", **wrong})


def test_demonstrations_are_read_where_they_are_of_use_and_bad_rows_elsewhere(tmp_path: Path) -> None:
    settings = written(tmp_path / "a.jsonl", [{"prompt": "p", "response": "r"}, GOOD])
    found = load(settings, demonstrations=True)
    assert [row.rejected for row in found.rows] == [None, "r"]
    assert describe(split(found.rows, settings.model_copy(update=SMALL)), found)["demonstrations"] == 1
    assert [(row.line, row.reason) for row in load(settings).bad] == [(1, "demonstration")]
    message = complaint(written(tmp_path / "b.jsonl", [{"prompt": "p", "response": "r"}] * 2))
    assert (
        "2 demonstration: it has no chosen and rejected, which every loss but training.loss: sft needs"
        in message
    )
