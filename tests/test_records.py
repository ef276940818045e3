"""Records survive interruptions: torn lines, atomic files, and refusals to write."""

import errno
import json
import os

import pytest

from stratalign.errors import UserError
from stratalign.records import (
    JUDGES,
    STEPS,
    Score,
    append_jsonl,
    digest,
    keep_jsonl,
    keyed_seed,
    locked,
    read_json,
    read_jsonl,
    read_record,
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


STEP = {
    "run": "mid", "step": 1, "loss": 0.5, "reward_chosen": 0, "reward_rejected": None, "margin": None, "accuracy": None,
    "grad_norm": 1.0, "learning_rate": 1e-5, "tokens": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("3", "it must be a mapping, got 3"),
        ("null", "it must be a mapping, got None"),
        (json.dumps({**STEP, "loss": None}), "loss must be a valid number, got None"),
        (json.dumps({**STEP, "loss": "0.5"}), "loss must be a valid number, got '0.5'"),
        (json.dumps({**STEP, "loss": True}), "loss must be a valid number, got True"),
        (json.dumps({**STEP, "loss": float("nan")}), "it is not JSON (NaN is not a number in JSON)"),
        (json.dumps(STEP).replace("0.5", "1e999"), "loss must be a finite number, got inf"),
        (json.dumps({**STEP, "step": 1.0}), "step must be a valid integer, got 1.0"),
        (json.dumps({**STEP, "step": 10**4000}), "it is not JSON (an integer of 4001 digits)"),
        (json.dumps({key: value for key, value in STEP.items() if key != "run"}), "run is missing"),
        (json.dumps({**STEP, "more": 1}), "more is not a key of such a record"),
        ("[" * 100_000, "it is not JSON"),
        ("\udcff", "it is not JSON"),
        ('{"run": "mid"', "it is not JSON"),
    ],
)
def test_a_line_that_is_no_record_of_its_kind_is_named_with_the_way_out(tmp_path, line, said):
    file = tmp_path / "training.jsonl"
    file.write_bytes(f"{json.dumps(STEP)}\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        list(read_jsonl(file, STEPS))
    message = str(caught.value)
    assert message.startswith(f"Line 2 of {file} is damaged: ")
    assert said in message
    assert message.endswith(
        "Restore the file, or delete that line: the curves of the report then lack that step."
    )


def test_a_line_that_stands_there_twice_counts_once_and_two_that_differ_are_refused(tmp_path):
    file = tmp_path / "training.jsonl"
    append_jsonl(file, [STEP, {**STEP, "step": 2}, STEP])
    assert [row["step"] for row in read_jsonl(file, STEPS)] == [1, 2]
    append_jsonl(file, [{**STEP, "loss": 0.25}])
    with pytest.raises(
        UserError, match=r"Line 4 of .* is damaged: line 1 is of the same run mid, step 1, and differs"
    ):
        list(read_jsonl(file, STEPS))


def test_a_record_of_another_schema_is_refused_and_one_without_is_read(tmp_path):
    file = tmp_path / "judges.json"
    write_json(file, {"judges": []})
    assert read_record(file, JUDGES) == {"judges": []}
    assert read_record(tmp_path / "absent.json", JUDGES) == {}
    for schema in (99, 0, "1", True, None):
        write_json(file, {"schema": schema, "judges": []})
        with pytest.raises(UserError, match=r"has schema .*, and this version of stratalign reads schema 1"):
            read_record(file, JUDGES)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"judges": {}}', "judges must be a valid list, got {}"),
        ('{"judges": [3]}', "judges.0 must be"),
        ("[]", "it must be a mapping, got []"),
        ("{}", "judges is missing"),
        ("", "it is not JSON"),
        ("\udcff{}", "it is not JSON"),
    ],
)
def test_a_mapping_that_is_no_record_of_its_kind_is_named_with_key_and_way_out(tmp_path, content, said):
    file = tmp_path / "judges.json"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        read_record(file, JUDGES)
    assert str(caught.value).startswith(f"{file} is damaged: ")
    assert said in str(caught.value)
    assert str(caught.value).endswith(
        "Restore it from a copy, or delete it and run the study again, which makes it anew."
    )


HEADER = "prompt_id,cluster,run,seed,judge,protocol,dimension,repeat,value,state"
ROW = "p1,c1,mid,0,j,p,fluency,0,0.5,ok"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (f"prompt_id,run\n{ROW}\n", "its first line must name the columns prompt_id, cluster, run"),
        (
            f"{HEADER}\n{ROW}\np2,c1,mid,0,j,p,fluency,0,nan,ok\n",
            "a score must be a finite number, got 'nan'",
        ),
        (f"{HEADER}\n{ROW}\np2,c1,mid,0,j,p,fluency,0,,ok\n", "a score in the state 'ok' must have a value"),
        (f"{HEADER}\n{ROW}\np2,c1,mid,0,j,p,fluency,0,1.0,pending\n", "must have no value"),
        (f"{HEADER}\n{ROW}\np2,c1,mid,0,j,p,fluency,0,,odd\n", "no state is named 'odd'"),
        (f"{HEADER}\n{ROW}\np2,c1,mid,0,j,p,fluency,0,x,ok\n", "could not convert string to float"),
        (f"{HEADER}\n{ROW}\np2,c1,mid\n", "it has 3 cells, and there are 10 columns"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('0.5', '0.6')}\n", "an earlier line gives the same score otherwise"),
    ],
)
def test_a_table_of_scores_that_is_damaged_is_named_with_its_line(tmp_path, table, said):
    file = tmp_path / "scores.csv"
    file.write_text(table)
    with pytest.raises(UserError) as caught:
        read_scores(file)
    place = str(file) if "first line" in said else f"Line 3 of {file}"
    assert str(caught.value).startswith(f"{place} is damaged: ")
    assert said in str(caught.value)


def test_columns_of_scores_may_stand_in_any_order_and_a_repeated_row_counts_once(tmp_path):
    file = tmp_path / "scores.csv"
    file.write_text("\n".join(",".join(reversed(row.split(","))) for row in (HEADER, ROW, ROW)) + "\n")
    assert read_scores(file) == [Score("p1", "c1", "mid", 0, "j", "p", "fluency", 0, 0.5, "ok")]
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"scores\.csv is damaged: .*utf-8"):
        read_scores(file)


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(UserError, match="Another process is working in"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
