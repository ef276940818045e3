"""What `plan` says of the rows: their form, what was not read, what was changed and what was left out."""

from __future__ import annotations

import json

from command_line import call, refusal, write_recipe


def planned(tmp_path, make_model, rows, **changes):
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = write_recipe(tmp_path / "recipe.yaml", make_model("llama"), source, **changes)
    return "plan", file, "--out", tmp_path / "out"


def pair(n, **more):
    return {"prompt": f"{n} and one? ", "chosen": f"It is {n + 1}.", "rejected": "No.", **more}


def test_plan_names_the_form_the_columns_that_are_not_read_and_the_changed_rows(tmp_path, make_model):
    rows = [pair(n, score=n) for n in range(12)] + [{**pair(n), "part": "test"} for n in range(12, 14)]
    done = call(*planned(tmp_path, make_model, rows))
    assert done.code == 0, done.err
    assert "Rows: 14 read, 14 usable" in done.out
    assert "Form: pairs (prompt, chosen, rejected, part)\nColumns not read: score\n" in done.out
    assert (
        "  note: part is none of train, validation, held_out, so it is not used: 2 rows (lines 13, 14)\n"
        in done.out
    )


def test_rows_that_are_too_long_are_counted_apart_and_stop_nothing_below_half(tmp_path, make_model):
    long = "word " * 80
    rows = [{**pair(n), **({"chosen": long} if n < 9 else {})} for n in range(20)]
    settings = {"training": {"max_length": 60}}
    done = call(*planned(tmp_path, make_model, rows, **settings))
    assert done.code == 0, done.err
    assert "  left out, too long for training.max_length 60: 9 rows (lines 1, 2, 3, 4, 5, ...)\n" in done.out
    told = refusal(*planned(tmp_path, make_model, [*rows[:10], *rows[:1]], **settings))
    assert "10 of 11 rows of" in told
    assert "Raise training.max_length, or set training.on_long: truncate." in told
    assert (tmp_path / "out" / "bad_rows.jsonl").is_file()
