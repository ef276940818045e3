"""Which contrasts are corrected together, and pairs of conditions, against hand-worked values."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from controlled_studies import conditions, controlled_study
from fake_studies import manifest, score
from signed_studies import ALTERNATING, MOSTLY_LOST, signed_study

from stratalign.records import StudyFolder, read_scores, write_json, write_scores
from stratalign.reporting import read_study, report, summarise

ALL = 2 / 4096
LOST = 158 / 4096


def test_what_the_preferences_are_meant_to_move_does_not_pay_for_the_rest(tmp_path: Path) -> None:
    results = signed_study(
        tmp_path,
        {"mid": {"fluency": 1, "coherence": MOSTLY_LOST}, "full": {}, "full_shuffled": {"coherence": 1}},
    )
    found = {(one.condition, one.dimension): one for one in results.comparisons}
    # mid and full on fluency, the objective: p 0.0005 and 1 with factors 2 and 1. On coherence: 0.039 and 1.
    assert found["mid", "fluency"].p_value == ALL
    assert found["mid", "fluency"].p_holm == pytest.approx(2 * ALL)
    assert found["mid", "coherence"].p_holm == pytest.approx(2 * LOST)
    assert found["full", "fluency"].p_holm == 1.0
    assert found["mid", "fluency"].family == "primary"
    assert found["mid", "coherence"].family == "against base"
    # The shuffled control on two dimensions: factors 2 and 1.
    assert found["full_shuffled", "coherence"].p_holm == pytest.approx(2 * ALL)
    assert found["full_shuffled", "coherence"].family == "null controls"
    # The verdict stays what the interval says, one at a time.
    assert found["mid", "coherence"].verdict == "worse"
    assert not found["mid", "coherence"].sure
    assert {one.name: one.tests for one in results.families if one.name not in ("matches", "no loss")} == {
        "primary": 2,
        "against base": 2,
        "null controls": 2,
        "head to head": 1,
    }


def test_what_stands_in_for_an_objective_that_was_not_judged_is_tested_as_an_objective_is(
    tmp_path: Path,
) -> None:
    results = signed_study(
        tmp_path,
        {"mid": {"fluency": 1, "coherence": MOSTLY_LOST, "grammar": 1}, "full": {}},
        "preferences: {objective: [Overall]}\n",
        fluency="higher", coherence="higher", grammar="higher",
    )  # fmt: skip
    found = {(one.condition, one.dimension): one for one in results.comparisons}
    # The first two dimensions stand in: four tests, p 0.0005, 0.039, 1, 1 with factors 4, 3, 2, 1. The third is a
    # family of two: p 0.0005 and 1.
    assert found["mid", "fluency"].p_holm == pytest.approx(4 * ALL)
    assert found["mid", "coherence"].p_holm == pytest.approx(3 * LOST)
    assert found["mid", "grammar"].p_holm == pytest.approx(2 * ALL)
    assert [found["mid", name].family for name in ("fluency", "coherence", "grammar")] == [
        "primary", "primary", "against base",
    ]  # fmt: skip
    # Head to head on the same two, on which the conclusions are drawn: two tests, p 0.0005 and 0.039.
    pairs = {one.dimension: one for one in results.pairs}
    assert [(name, one.p_holm) for name, one in pairs.items()] == [
        ("fluency", pytest.approx(2 * ALL)), ("coherence", pytest.approx(LOST)),
    ]  # fmt: skip
    assert [one.dimension for one in results.conclusions.winner] == ["fluency", "coherence"]
    assert results.conclusions.winner[0].words.endswith("Head to head, mid beats full.")


def test_what_was_smallest_detectable_is_larger_after_the_correction(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"mid": {"fluency": ALTERNATING}, "full": {}})
    one = next(one for one in results.comparisons if one.dimension == "fluency")
    assert one.standard_error is not None
    # Twelve clusters: 11 degrees of freedom. By scipy.stats.nct, t(1 - 0.05 / 4) = 2.5931 is passed with probability
    # 0.8 at a noncentrality of 3.4926, and t(0.975) = 2.2010 at 3.0784.
    assert one.smallest_detectable_holm == pytest.approx(3.4925643 * one.standard_error, rel=1e-4)
    assert one.smallest_detectable == pytest.approx(3.0783917 * one.standard_error, rel=1e-4)


def test_measures_without_a_direction_and_single_seeds_are_in_no_family(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    results = signed_study(tmp_path, {"mid": {"fluency": 1, "length": 1}}, fluency="higher", length=None)
    assert {one.dimension: one.family for one in results.comparisons} == {
        "fluency": "primary",
        "length": None,
    }
    write_json(study.manifest, manifest(["base", "mid"], seeds=[0, 1]))
    write_scores(study.scores, [score(f"{c}@{seed}", n, float(c == "mid"), seed=seed)
                                for c in ("base", "mid") for seed in (0, 1) for n in range(12)])  # fmt: skip
    stacked, *single = summarise(read_study(tmp_path)).comparisons
    # One test in the family; both seeds of a prompt flip together, so there are still twelve clusters.
    assert (stacked.p_holm, stacked.n, stacked.clusters) == (ALL, 24, 12)
    assert [(one.p_value, one.p_holm) for one in single] == [(ALL, None), (ALL, None)]


def test_every_pair_is_compared_on_the_objective_whatever_its_case(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"full": {"fluency": 1}, "mid": {"fluency": 2}, "local": {"fluency": 1}})
    pairs = {(one.condition, one.against): one for one in results.pairs}
    assert list(pairs) == [("full", "mid"), ("full", "local"), ("mid", "local")]
    assert {one.dimension for one in results.pairs} == {"fluency"}
    assert (pairs["full", "mid"].net_win_rate, pairs["full", "mid"].verdict) == (-1.0, "worse")
    # Three pairs: p 0.0005 twice and 1.
    assert pairs["full", "mid"].p_holm == pytest.approx(3 * ALL)
    assert pairs["full", "local"].p_holm == 1.0
    seen = pairs["full", "mid"].flipped()
    assert (seen.condition, seen.against, seen.net_win_rate, seen.wins, seen.verdict) == (
        "mid", "full", 1.0, 12, "better",
    )  # fmt: skip


def test_pairs_are_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    signed_study(tmp_path, {"mid": {}, "full": {}})
    write_json(StudyFolder(tmp_path).manifest, manifest(["base", "mid", "full"], seeds=(0, 1)))
    rows = [score(f"mid@{seed}", n, 1.0, seed=seed) for seed in (0, 1) for n in range(12)]
    rows += [score("full@1", n, 0.0, seed=1) for n in range(12)]
    write_scores(StudyFolder(tmp_path).scores, rows)
    (pair,) = summarise(read_study(tmp_path)).pairs
    assert (pair.n, pair.missing, pair.p_value) == (12, 0, ALL)


def test_the_first_protocol_of_the_judges_is_the_judged_one(tmp_path: Path) -> None:
    results = summarise(read_study(controlled_study(tmp_path)))
    assert results.judged == ("microworld", "microworld")
    assert results.protocols == (("microworld", "microworld"), ("text", "text"))
    judged = [one for one in results.comparisons if one.protocol == "microworld"]
    beside = [one for one in results.comparisons if one.protocol == "text"]
    # Eight conditions on eight judged dimensions; two of the conditions are null controls, two others controls.
    assert {one.family for one in judged} == {
        "primary", "against base", "controls", "controls elsewhere", "null controls",
    }  # fmt: skip
    assert sum(one.family == "null controls" for one in judged) == 16
    assert sum(one.family == "controls" for one in judged) == 2
    assert sum(one.family == "controls elsewhere" for one in judged) == 14
    # Of the four candidates one dimension, claim_accuracy, is what the preferences are meant to move.
    assert sum(one.family == "primary" for one in judged) == 4
    assert {one.family for one in beside} == {None}
    # Null controls are held against base alone: the candidates make 4 x 3 / 2 pairs, and each is held against both
    # controls, which are not held against each other.
    assert sum(one.family == "head to head" for one in results.pairs) == 6
    assert sum(one.family == "against controls" for one in results.pairs) == 8
    assert len(results.pairs) == 14
    assert {one.protocol for one in results.pairs} == {"microworld"}


def test_measures_of_text_alone_judge_nothing(tmp_path: Path) -> None:
    study = StudyFolder(controlled_study(tmp_path))
    listed = json.loads(study.judges.read_text())["judges"]
    write_json(study.judges, {"judges": [listed[1] | {"kind": "measures"}]})
    write_scores(study.scores, [one for one in read_scores(study.scores) if one.protocol == "text"])
    results = summarise(read_study(tmp_path))
    assert results.judged is None
    # There is no margin, so nothing is tested; the directions that judges.json gives count for nothing.
    assert {one.family for one in results.comparisons} == {None}
    assert (results.pairs, results.conclusions.winner, results.tax_in_words) == ((), (), ())


def test_results_and_tables_carry_the_tests(tmp_path: Path) -> None:
    report([controlled_study(tmp_path)])
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["judged"] == {"judge": "microworld", "protocol": "microworld"}
    assert written["test"]["correction"] == "Holm, within each family"
    assert [role["condition"] for role in written["roles"]] == list(conditions())
    assert written["conclusions"]["winner"][0]["condition"] == "mid"
    for name, key in (("comparisons", "comparisons"), ("pairs", "pairs")):
        with (tmp_path / "tables" / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["p_holm"] for row in rows] == [
            "" if one["p_holm"] is None else repr(one["p_holm"]) for one in written[key]
        ]
        assert [row["p_value"] for row in rows] == [repr(one["p_value"]) for one in written[key]]
