"""Records survive interruptions: torn lines, atomic files, and refusals to write."""

import errno
import os

import pytest

from stratalign.errors import UserError
from stratalign.records import (
    Score,
    append_jsonl,
    digest,
    keep_jsonl,
    keyed_seed,
    locked,
    read_json,
    read_jsonl,
    read_scores,
    write_json,
    write_scores,
)


def test_a_torn_last_line_is_skipped_and_the_next_record_does_not_grow_onto_it(tmp_path):
    file = tmp_path / "log.jsonl"
    append_jsonl(file, [{"a": 1}, {"a": 2}])
    with file.open("a") as torn:
        torn.write('{"a": 3')
    assert [row["a"] for row in read_jsonl(file)] == [1, 2]
    append_jsonl(file, [{"a": 4}])
    assert [row["a"] for row in read_jsonl(file)] == [1, 2, 4]


def test_keeping_rows_rewrites_the_file_and_drops_the_torn_line(tmp_path):
    file = tmp_path / "log.jsonl"
    append_jsonl(file, [{"a": i} for i in range(4)])
    with file.open("a") as torn:
        torn.write('{"a"')
    keep_jsonl(file, lambda row: row["a"] % 2 == 0)
    assert file.read_text() == '{"a": 0}\n{"a": 2}\n'


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "x.json"
    write_json(file, {"a": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"Cannot write .*x\.json: No space left on device.* MiB are free"):
        write_json(file, {"a": 2})
    assert read_json(file) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})


def test_scores_come_back_as_they_were_written(tmp_path):
    scores = [
        Score("r1", "c", "mid@1", 1, "text", "text", "length", 0, 0.1 + 0.2, "ok"),
        Score("r2", "c", "mid@1", 1, "text", "text", "length", 0, None, "undefined"),
    ]
    write_scores(tmp_path / "scores.csv", scores)
    assert read_scores(tmp_path / "scores.csv") == scores
    assert read_scores(tmp_path / "none.csv") == []


def test_digests_and_seeds_do_not_depend_on_order_or_process():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert keyed_seed("a", 1) == keyed_seed("a", 1) != keyed_seed("a", 2)
    assert keyed_seed("ab", "c") != keyed_seed("a", "bc")
    assert 0 <= keyed_seed("x") < 2**63


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"x\.json is not JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="does not exist"):
        read_json(tmp_path / "y.json")


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n{"a":\n{"a": 3}\n')
    with pytest.raises(UserError, match=r"Line 2 of .*log\.jsonl is damaged"):
        list(read_jsonl(tmp_path / "log.jsonl"))


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="Another process is working in"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
