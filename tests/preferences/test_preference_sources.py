from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stratalign.errors import UserError
from stratalign.preferences import PreferenceSettings, read_rows, source_digest
from stratalign.preferences.files import Unreadable

ROWS = [{"prompt": f"p{i}", "chosen": f"c{i}", "rejected": f"r{i}"} for i in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def read(source: object, **settings: Any) -> list[tuple[int, object]]:
    return list(read_rows(PreferenceSettings(source=str(source), **settings)))


def failure(source: object, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(source, **settings)
    return str(caught.value)


def test_jsonl_gzip_parquet_and_a_saved_folder_give_the_same_rows(tmp_path: Path) -> None:
    import datasets
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "a.jsonl").write_text(LINES)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "folder"))
    expected = list(enumerate(ROWS, start=1))
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet", "folder"):
        assert read(tmp_path / name) == expected, name


def test_a_folder_of_splits_gives_the_split_asked_for_and_names_the_others(tmp_path: Path) -> None:
    import datasets

    data = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict(train=data, test=data.select([2])).save_to_disk(str(tmp_path / "both"))
    assert read(tmp_path / "both", split="test") == [(1, ROWS[2])]
    assert "Did you mean 'test'?" in failure(tmp_path / "both", split="tset")


def test_a_line_that_is_not_json_is_reported_with_its_number_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n"\xff"\n[2]\n{"torn')
    (one, first), (three, torn), (four, latin), (five, last), (six, end) = read(path)
    assert (one, first, five, last) == (
        1,
        {"a": 1},
        5,
        [2],
    )  # a byte order mark is not content; line 2 is blank
    assert (three, four, six) == (3, 4, 6)
    assert isinstance(torn, Unreadable)
    assert isinstance(end, Unreadable)
    assert latin == Unreadable("not UTF-8")


def test_a_missing_file_is_named_with_the_folder_that_was_searched() -> None:
    for source in (
        "./nothing.jsonl",
        "/nowhere/nothing",
        "prefs/none.jsonl",
        "json",
        "a/b/c",
        "otherworld:fluency",
    ):
        message = failure(source)
        assert f"no file or folder {source}" in message
        assert str(Path.cwd()) in message


def test_a_truncated_gzip_file_is_told_from_a_wrong_one_and_both_ask_for_a_new_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress((LINES * 2000).encode())[:-20])
    message = failure(path)
    assert "damaged or incomplete" in message
    assert "copy it again" in message
    path.write_bytes(LINES.encode())
    assert "after line 0" in failure(path)
    damaged = bytearray(gzip.compress((LINES * 2000).encode(), mtime=0))
    damaged[60:80] = bytes(20)
    path.write_bytes(damaged)
    assert "damaged or incomplete" in failure(path)


def test_what_is_not_parquet_not_a_saved_folder_empty_or_of_unknown_suffix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text(LINES)
    assert "not a readable parquet file" in failure(tmp_path / "a.parquet")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    assert "has no rows" in failure(tmp_path / "empty.jsonl")
    (tmp_path / "a.txt").write_text("prompt,chosen\n")
    assert "Known: .jsonl, .json, .csv" in failure(tmp_path / "a.txt")
    (tmp_path / "folder").mkdir()
    assert "not a folder that datasets' save_to_disk wrote" in failure(tmp_path / "folder")


def test_settings_of_the_hub_are_refused_for_a_file_rather_than_ignored(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LINES)
    assert "subset" in failure(tmp_path / "a.jsonl", subset="x")
    assert "revision" in failure(tmp_path / "a.jsonl", revision="x")
    assert "split" in failure(tmp_path / "a.jsonl", split="test")


def test_a_hub_id_is_loaded_with_its_subset_split_and_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: dict[str, Any] = {}

    def load_dataset(path: str, **settings: Any) -> Any:
        asked.update(settings, path=path)
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read("lab/pairs", subset="s", split="test", revision="v1") == list(enumerate(ROWS, start=1))
    assert asked == {"path": "lab/pairs", "name": "s", "split": "test", "revision": "v1"}


def test_without_a_network_a_hub_id_is_a_clean_error() -> None:
    program = (
        "from stratalign.preferences import *\n"
        "from stratalign.errors import UserError\n"
        "try: list(read_rows(PreferenceSettings(source='lab/pairs')))\n"
        "except UserError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Cannot load lab/pairs from the hub" in done.stdout
    assert "HF_HUB_OFFLINE" in done.stdout


def test_the_digest_follows_the_bytes_of_a_file_and_the_fingerprint_of_a_folder(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "a.jsonl"
    path.write_text("abc")
    # SHA-256 of "abc", from FIPS 180-2, appendix B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert source_digest(PreferenceSettings(source=str(path))) == expected
    for name, rows in (("one", ROWS), ("two", ROWS[:2])):
        datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / name))
    one, again, two = (
        source_digest(PreferenceSettings(source=str(tmp_path / n))) for n in ("one", "one", "two")
    )
    assert one == again != two


def test_reading_needs_neither_torch_nor_transformers() -> None:
    program = (
        "import sys, stratalign.preferences; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "set()\n"


TABLE = "prompt,chosen,rejected\np0,c0,r0\np1,c1,r1\np2,c2,r2\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS, indent=2)),
        ("a.jsonl", "\n " + json.dumps(ROWS)),
        ("a.csv", TABLE),
        ("a.tsv", TABLE.replace(",", "\t")),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_arrays_and_tables_in_any_marked_encoding_give_the_same_rows(
    tmp_path: Path, name: str, text: str, encoding: str, packed: str
) -> None:
    found = text.encode(encoding)
    (tmp_path / f"{name}{packed}").write_bytes(gzip.compress(found) if packed else found)
    assert [row for _, row in read(tmp_path / f"{name}{packed}")] == ROWS


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_lines_in_utf_16_are_read_and_without_a_mark_the_file_is_refused(
    tmp_path: Path, encoding: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES.encode(encoding))
    if encoding == "utf-16-le":  # Python writes its mark with "utf-16" alone
        assert "looks like UTF-16 without a byte order mark" in failure(path)
    else:
        assert read(path) == list(enumerate(ROWS, start=1))
        path.write_bytes(LINES.encode(encoding)[:-1])
        assert "Save it as UTF-8" in failure(path)


def test_lines_are_read_from_a_json_file_and_one_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(LINES)
    assert read(path) == list(enumerate(ROWS, start=1))
    path.write_text(json.dumps({"data": ROWS}, indent=1))
    assert "one object, whose only list is under 'data'" in failure(path)
    path.write_text(json.dumps(ROWS)[:-3])
    assert "is not valid JSON" in failure(path)
    path.write_text("[" * 100_000)
    assert "nested too deeply" in failure(path)


def test_a_table_has_line_numbers_empty_cells_and_rows_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('prompt,chosen,rejected\n"two\nlines",,r\n\na,b\na,b,c,d\n')
    (two, first), (five, short), (six, long) = read(path)
    assert (two, five, six) == (2, 5, 6)
    assert first == {"prompt": "two\nlines", "chosen": None, "rejected": "r"}
    assert short == {"prompt": "a", "chosen": "b", "rejected": None}
    assert long == Unreadable("4 cells, but the header has 3", "not a row of the table")


def test_a_table_that_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(TABLE.replace(",", ";"))
    assert "its cells seem to be separated by ';'" in failure(path)
    path.write_text("prompt,chosen,prompt\na,b,c\n")
    assert "names the column 'prompt' twice" in failure(path)
    path.write_bytes(b"prompt,chosen,rejected\n\xff,b,c\n")
    assert "Save it as UTF-8" in failure(path)
    path.write_text("prompt,chosen,rejected\n" + "a" * 200_000 + ",b,c\n")
    assert len(read(path)[0][1]["prompt"]) == 200_000  # type: ignore[index]
