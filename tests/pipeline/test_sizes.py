"""What a plan says of few steps and few held-out rows; numbers worked out by hand."""

import pytest

import stratalign as sa
from stratalign.pipeline.sizes import size_warnings
from stratalign.recipe import parse_recipe


def test_few_steps_and_few_held_out_rows_are_named_with_their_numbers():
    steps, rows = size_warnings(29, 25, 20)
    assert (
        steps == "Few optimizer steps: 29. The paper trains 417 (10,000 pairs, 24 in a step)."
    )  # 10,000 / 24
    assert rows.startswith("Few held-out rows: 25 in 20 clusters.")
    assert "a net win rate of 0.63 with probability 0.8" in rows  # (1.960 + 0.842) / sqrt(20)
    assert "stratalign power --prompts 20 --ties 0" in rows


def test_enough_of_both_is_not_mentioned():
    assert size_warnings(30, 100, 100) == []
    assert size_warnings(30, 0, 0) == ["No rows are held out (preferences.held_out)."]


@pytest.mark.parametrize("key", ["rank", "lora_r"])
def test_a_plan_lists_them_after_the_words_of_other_tools(recipe, tmp_path, key):
    small = recipe()
    small["training"] = {name: value for name, value in small["training"].items() if name != "rank"} | {
        key: 4
    }
    found = sa.plan(parse_recipe(small), out=tmp_path / "out").describe()["warnings"]
    notes = ["`training.lora_r` is read as `training.rank`."] if key == "lora_r" else []
    assert found[: len(notes)] == notes
    assert [line.split(":")[0] for line in found[len(notes) :]] == [
        "Few optimizer steps",
        "Few held-out rows",
    ]
