"""Counting worlds, and one small calibration from end to end."""

import json

import pytest
from scipy.stats import binomtest

from benchmarks import planted as command
from stratalign.calibration import (
    INSTRUMENTS,
    InstrumentSettings,
    WorldSettings,
    as_markdown,
    calibrate,
    share,
    spread_seeds,
    summarise,
)
from stratalign.errors import UserError

SMALL = WorldSettings(pairs=40, rank=2, rise=0.1, most_tokens=60)
FEW = InstrumentSettings(chunks=4, rank=2, draws=2, score_steps=2, score_batch=4)


def world(planted, damaged, **said):
    return {
        "kind": "planted" if planted is not None else "null",
        "layers": list(range(4)),
        "planted": planted,
        "damaged": damaged,
        "instruments": {
            name: {
                "named": named,
                "largest": 0 if named is None else named,
                "signal_p": 0.5 if named is None else 0.01,
            }
            for name, named in said.items()
        },
    }


def test_the_interval_is_scipys():
    for count, total in ((0, 12), (5, 12), (12, 12)):
        other = binomtest(count, total).proportion_ci(0.95, "exact")
        found = share(count, total)
        assert (found["low"], found["high"]) == pytest.approx((other.low, other.high))
    assert (share(0, 0)["low"], share(0, 0)["high"]) == (0, 1)


def test_hits_near_ones_wrong_ones_and_silence_are_counted_apart():
    """a: exact, near, far, silent. b never speaks. Nulls: a speaks in one damaged world of two, in no sound one."""
    records = [
        world(2, 2, a=2, b=None),
        world(2, 2, a=1, b=None),
        world(3, 3, a=0, b=None),
        world(0, 0, a=None, b=None),
        world(None, None, a=None, b=None),
        world(None, 1, a=1, b=None),
        world(None, 1, a=None, b=None),
    ]
    summary = summarise(records)
    row = summary["instruments"]["a"]
    assert [row[key]["count"] for key in ("exact", "near", "null", "null_sound", "null_damaged")] == [
        1,
        2,
        1,
        0,
        1,
    ]
    assert [row[key]["total"] for key in ("exact", "null", "null_sound", "null_damaged")] == [4, 3, 1, 2]
    assert (row["wrong"], row["cannot_tell"]) == (2, 1)
    # without a signal the largest, layer 0, is not pointed at; chance of a hit or more in four: 1 - (3 / 4)^4
    assert [row[key]["count"] for key in ("pointed", "pointed_near", "null_pointed")] == [1, 2, 1]
    assert row["pointed_p"] == pytest.approx(1 - 0.75**4)
    unsure = {"named": None, "largest": 3, "signal_p": 0.05}
    pointing = {**world(3, 3), "instruments": {"a": unsure}}
    assert summarise([pointing])["instruments"]["a"]["pointed"]["count"] == 1
    assert summarise([pointing])["instruments"]["a"]["exact"]["count"] == 0
    assert summary["instruments"]["b"]["cannot_tell"] == 4
    assert summary["chance"] == 0.25
    # layers 2, 2 have three layers within one, 3 and 0 have two: (3 + 3 + 2 + 2) / 4 / 4
    assert summary["near_chance"] == pytest.approx(10 / 16)
    assert "| a | 1 of 4 [0.01, 0.81], 0.68 | 2 | 1 of 3 | 1 | 2 | 1 | 0 of 1 | 1 of 2 |" in as_markdown(
        summary
    )


def test_seeds_are_spread_over_kinds():
    asked = spread_seeds(2, 5)
    assert [kind for kind, _ in asked] == ["planted"] * 2 + ["null"] * 3 + ["null, damaged"] * 2
    assert len(set(asked)) == 7


def test_a_small_calibration_is_recorded_world_by_world_and_goes_on(ending_model, tmp_path, monkeypatch):
    model = str(ending_model)
    asked = [("planted", 1), ("null", 1)]
    records = calibrate(tmp_path, asked, SMALL, FEW, model)
    assert [record["planted"] is None for record in records] == [False, True]
    for record in records:
        assert set(record["instruments"]) == set(INSTRUMENTS)
        assert record["pairs"]["train"] > 0
        for said in record["instruments"].values():
            assert said["named"] in (None, 0, 1, 2)
            assert 0 <= said["signal_p"] <= 1
    kept = (tmp_path / "planted-1.json").read_bytes()
    # what is there stands; nothing is measured again
    monkeypatch.setattr("stratalign.calibration.running.look", None)
    assert calibrate(tmp_path, asked, SMALL, FEW, model) == json.loads(json.dumps(records))
    assert (tmp_path / "planted-1.json").read_bytes() == kept
    with pytest.raises(UserError, match="made with other settings"):
        calibrate(tmp_path, asked, SMALL, FEW.model_copy(update={"chunks": 5}), model)


def test_the_command_tabulates_what_is_there(tmp_path, capsys):
    assert command.main(["--table", "--out", str(tmp_path)]) == 0
    assert "No world is recorded" in capsys.readouterr().out
    (tmp_path / "worlds").mkdir()
    (tmp_path / "worlds" / "planted-1.json").write_text(json.dumps(world(2, 2, a=2)))
    assert command.main(["--table", "--out", str(tmp_path)]) == 0
    assert "| a | 1 of 1" in (tmp_path / "planted.md").read_text()
    assert json.loads((tmp_path / "planted.json").read_text())["planted"] == 1
