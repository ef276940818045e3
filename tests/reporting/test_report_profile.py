"""The layer profile in results, tables, figure and page; unfinished studies and hostile names."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path

import pytest
from fake_studies import judges, manifest, score

import stratalign as sa
from stratalign.blocks import BoundarySettings, ProfileSettings, added_conditions, partition
from stratalign.records import (
    StepRecord,
    StudyFolder,
    append_jsonl,
    read_json,
    write_json,
    write_scores,
    write_text,
)

GAINS = {
    "full": 1.0,
    "local": 0.1,
    "mid": 0.8,
    "global": 0.3,
    "window-4-6": 1.0,
    "window-5-7": 0.6,
    "mid+1": 0.2,
}
"""On the objective, in standard deviations of a prompt's noise; all others gain 0.3."""
PROMPTS = 60


def profiled_study(path: Path, scored: bool = True, objective: str = "fluency", full: float = 1.0) -> Path:
    """A finished 12-layer study with windows of three, five draws and boundaries shifted by one."""
    study, noise, blocks = StudyFolder(path), random.Random(5), partition(12)
    added = added_conditions(ProfileSettings(), BoundarySettings(shift=[1]), 12, blocks)
    names = ["base", "full", *blocks, *(one.name for one in added if one.kind != "needed")]
    write_text(
        study.recipe,
        f"model: tiny/model\npreferences: {{source: pairs.jsonl, objective: ['{objective}']}}\n"
        "conditions: [local, mid, global]\nprofile: {window: 3}\nboundaries: {shift: [1]}\n",
    )
    listed = manifest(names)
    for one in added:
        listed["runs"][one.name]["layers"] = list(one.layers)
    write_json(study.manifest, listed)
    write_json(study.judges, judges(**{objective: "higher", "grammar": "higher", "length": None}))
    easy = [noise.gauss(0, 1) for _ in range(PROMPTS)]
    gains = {**dict.fromkeys(names, 0.3), **GAINS, "base": 0.0, "full": full}
    if scored:
        rows = []
        for name in names:
            for n in range(PROMPTS):
                loss = -0.5 if name == "window-4-6" else 0.0
                for dimension, gain in ((objective, gains[name]), ("grammar", loss), ("length", 3.0)):
                    value = easy[n] + gain + noise.gauss(0, 0.3)
                    rows.append(score(name, n, value, dimension, cluster=f"c{n // 2}"))
        write_scores(study.scores, rows)
    return path


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    path = profiled_study(tmp_path_factory.mktemp("profiled"))
    sa.report([path])
    return path, read_json(path / "results.json"), (path / "report.html").read_text()


def test_shares_of_every_window_stand_beside_the_draws(reported):
    _, results, _ = reported
    (shares,) = results["profile"]["shares"]
    by_name = {one["condition"]: one for one in shares["conditions"]}
    assert list(by_name) == [f"window-{first}-{first + 2}" for first in range(10)]
    assert by_name["window-4-6"]["share"] == pytest.approx(1.0, abs=0.15)
    assert by_name["window-4-6"]["standing"] == by_name["window-5-7"]["standing"] == "above"
    assert by_name["window-0-2"]["standing"] == "cannot tell"
    assert [one["condition"] for one in shares["band"]["draws"]] == [
        f"random-layers-{n}" for n in range(1, 6)
    ]
    assert shares["band"]["lowest"] < shares["band"]["mean"] < shares["band"]["highest"]
    words = results["profile"]["words"]
    assert re.match(r"fluency: training layers 4–6 \(.*\) and 5–7 \(.*\) alone suffices for more", words[0])
    assert "chance of 1 in 6" in words[2]


def test_the_worst_loss_elsewhere_is_the_lowest_net_win_rate(reported):
    _, results, _ = reported
    places = {one["condition"]: one for one in results["profile"]["places"]}
    (same,) = [
        one
        for one in results["comparisons"]
        if one["condition"] == "window-4-6" and one["dimension"] == "grammar"
    ]
    assert places["window-4-6"]["worst_dimension"] == "grammar"
    assert places["window-4-6"]["worst"] == same["net_win_rate"] < -0.5
    assert places["window-4-6"]["worst_high"] == same["high"] < 0


def test_the_recommendation_knows_that_the_profile_drew_random_layers(tmp_path):
    path = profiled_study(tmp_path, full=0.4)
    values = dict.fromkeys(
        ("loss", "reward_chosen", "reward_rejected", "margin", "accuracy", "grad_norm"), 0.1
    )
    runs = [run for run, entry in read_json(path / "manifest.json")["runs"].items() if entry["layers"]]
    rows = (StepRecord(run=run, step=0, learning_rate=1e-4, tokens=9, **values) for run in runs)
    append_jsonl(StudyFolder(path).training, rows)
    sa.report([path])
    found = read_json(path / "recommendation.json")
    assert found["train"]["condition"] == "mid"
    assert any("Random layers were drawn for the profile alone" in sentence for sentence in found["words"])


def test_shifted_blocks_are_held_against_the_block_as_the_partition_has_it(reported):
    _, results, _ = reported
    by_block = {one["block"]: one["shares"] for one in results["profile"]["boundaries"]}
    assert list(by_block) == ["local", "mid", "global"]
    assert {one["condition"]: one["standing"] for one in by_block["mid"]["conditions"]} == {
        "mid+1": "below",
        "mid-1": "below",
    }
    assert [one["condition"] for one in by_block["mid"]["band"]["draws"]] == ["mid"]
    assert any(
        "mid+1 and mid-1 differ from it with certainty" in words for words in results["profile"]["words"]
    )


def test_windows_take_no_power_from_the_study_s_own_comparison(reported):
    _, results, _ = reported
    sizes = {family["name"]: family["tests"] for family in results["families"]}
    assert sizes["primary"] == 4  # full, local, mid, global
    assert sizes["profile"] == 2 * (10 + 5 + 6)  # on both dimensions that have a direction
    compared = {one["condition"] for one in results["pairs"]} | {one["against"] for one in results["pairs"]}
    assert compared == {"full", "local", "mid", "global"}


def test_figure_table_and_section_are_there(reported):
    path, results, page = reported
    drawn = (path / "figures" / "profile.svg").read_text()
    (shares,) = results["profile"]["shares"]
    assert drawn.count("<circle") == 2 * len(shares["conditions"])
    assert drawn.count('class="f-better"') >= 2
    rows = list(csv.DictReader((path / "tables" / "profile.csv").read_text().splitlines()))
    assert {"window-0-2", "random-layers-5", "mid-1"} <= {row["condition"] for row in rows}
    assert next(row for row in rows if row["condition"] == "window-9-11")["layers"] == "9 10 11"
    assert 'id="study-1-profile"' in page
    assert "Layer profile: where training suffices" in page


def test_nothing_to_share_is_said_and_not_drawn(tmp_path):
    path = profiled_study(tmp_path / "null", full=0.0)
    sa.report([path])
    found = read_json(path / "results.json")["profile"]
    assert len(found["words"]) == 1  # of windows and of every shifted block alike
    assert found["words"][0].startswith("Cannot tell: full's own gain on fluency")
    assert all(one["share"] is None for one in found["shares"][0]["conditions"])
    assert not (path / "figures" / "profile.svg").exists()
    assert "Cannot tell: full&#39;s own gain on fluency" in (path / "report.html").read_text()


def test_a_study_without_scores_or_manifest_is_reported(tmp_path):
    path = profiled_study(tmp_path / "early", scored=False)
    sa.report([path])
    assert read_json(path / "results.json")["profile"]["words"] == [
        "Nothing has been judged yet, so there is no profile to show."
    ]
    (path / "manifest.json").unlink()
    sa.report([path])
    assert read_json(path / "results.json")["profile"] is None


def test_hostile_names_are_inert(tmp_path):
    path = profiled_study(tmp_path / "hostile", objective="<script>x</script>")
    sa.report([path])
    assert "<script>x" not in (path / "report.html").read_text()
    assert "<script>x" not in (path / "figures" / "profile.svg").read_text()
    assert "&lt;script&gt;x" in (path / "figures" / "profile.svg").read_text()
