"""Rows that name their cluster and the part they belong to, and the sets of the micro-world."""

import json

import pytest

from stratalign.errors import UserError
from stratalign.preferences import PreferenceSettings, describe, leaks, load, split


def source(tmp_path, rows):
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def row(number, **more):
    return {"prompt": f"question {number}", "chosen": "yes", "rejected": "no", **more}


def given(tmp_path, sizes=(("train", 6), ("validation", 2), ("held_out", 4))):
    return source(
        tmp_path,
        [
            row(f"{part} {i}", part=part, cluster=f"{part} {i // 2}")
            for part, size in sizes
            for i in range(size)
        ],
    )


def test_rows_that_name_one_cluster_stay_together(tmp_path):
    settings = PreferenceSettings(
        source=source(tmp_path, [row(i, cluster="one" if i < 5 else f"own {i}") for i in range(10)]),
        train="all", validation=0, held_out=5,
    )  # fmt: skip
    found = load(settings)
    assert len({one.cluster for one in found.rows}) == 6
    parts = split(found.rows, settings)
    assert leaks(parts) == ()


def test_parts_that_every_row_gives_are_kept_whatever_the_seed(tmp_path):
    for seed in range(5):
        settings = PreferenceSettings(
            source=given(tmp_path), train="all", validation=2, held_out=4, seed=seed
        )
        found = load(settings)
        parts = split(found.rows, settings)
        for name in ("train", "validation", "held_out"):
            assert {one.part for one in getattr(parts, name)} == {name}
        assert describe(parts, found)["split"] == "given by the rows"


def test_fewer_rows_than_a_part_has_are_taken_from_as_many_clusters_as_can_be(tmp_path):
    settings = PreferenceSettings(source=given(tmp_path), train=5, validation=0, held_out=2)
    parts = split(load(settings).rows, settings)
    assert (len(parts.train), len(parts.validation), len(parts.held_out), len(parts.unused)) == (5, 0, 2, 5)
    assert len({one.cluster for one in parts.train}) == 3
    assert len({one.cluster for one in parts.held_out}) == 2


@pytest.mark.parametrize("sizes", [{"held_out": 5}, {"validation": 3}, {"train": 8}])
def test_more_rows_than_a_part_has_are_refused_with_its_size(tmp_path, sizes):
    asked = {"train": "all", "validation": 2, "held_out": 4} | sizes
    settings = PreferenceSettings(source=given(tmp_path), **asked)
    with pytest.raises(UserError, match="train 6, validation 2, held_out 4"):
        split(load(settings).rows, settings)


def test_a_cluster_in_two_parts_is_refused(tmp_path):
    rows = [row(1, part="train", cluster="a"), row(2, part="held_out", cluster="a")]
    settings = PreferenceSettings(source=source(tmp_path, rows), train="all", validation=0, held_out=1)
    with pytest.raises(UserError, match="held_out and train"):
        split(load(settings).rows, settings)


def test_parts_that_only_some_rows_give_are_drawn(tmp_path):
    rows = [row(i, part="held_out") for i in range(5)] + [row(9)]
    settings = PreferenceSettings(source=source(tmp_path, rows), train="all", validation=0, held_out=1)
    found = load(settings)
    parts = split(found.rows, settings)
    assert len(parts.train) == 5
    assert describe(parts, found)["split"] == "drawn"


def test_a_set_of_the_micro_world_is_used_whole_for_its_own_dimension():
    settings = PreferenceSettings(source="microworld:coherence")
    assert (settings.train, settings.objective) == ("all", ["coherence"])
    smaller = PreferenceSettings(source="microworld:coherence", train=64, objective=["grammar"])
    assert (smaller.train, smaller.objective) == (64, ["grammar"])
    assert PreferenceSettings(source="own.jsonl").train == 10_000


def test_an_unknown_set_of_the_micro_world_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="Did you mean 'fluency'"):
        load(PreferenceSettings(source="microworld:fluncy"))


@pytest.mark.parametrize("name", ["fluency", "coherence", "factuality", "mixed", "minimal"])
def test_shipped_sets_keep_people_apart_and_hold_out_enough_of_them(name):
    settings = PreferenceSettings(source=f"microworld:{name}")
    found = load(settings)
    assert found.bad == ()
    parts = split(found.rows, settings)
    assert leaks(parts) == ()
    assert len({one.cluster for one in parts.held_out}) >= 60
    assert len(parts.train) >= 500
    if name != "fluency":
        same = load(PreferenceSettings(source="microworld:fluency"))
        held_out = [one.prompt for one in found.rows if one.part == "held_out"]
        assert held_out == [one.prompt for one in same.rows if one.part == "held_out"]
