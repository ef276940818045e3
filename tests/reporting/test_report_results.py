"""The numbers of a report, against values worked out by hand from the few rows that each test writes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from fake_studies import answer, full_study, judges, manifest, score, step

from stratalign.records import LogProbRecord, Score, StudyFolder, append_jsonl, write_json, write_scores
from stratalign.reporting import as_json, read_study, report, summarise


def summary(folder: Path) -> dict[str, Any]:
    """What results.json would hold."""
    loaded: dict[str, Any] = json.loads(json.dumps(as_json(summarise(read_study(folder))), allow_nan=False))
    return loaded


def judged(folder: Path, rows: list[Score], conditions: list[str], **better: str | None) -> dict[str, Any]:
    study = StudyFolder(folder)
    write_json(study.manifest, manifest(conditions))
    write_json(study.judges, judges(**better))
    write_scores(study.scores, rows)
    return summary(folder)


def test_a_condition_is_compared_with_base_prompt_by_prompt(tmp_path: Path) -> None:
    # mid - base over prompts 0..7: +1 six times, -2, 0. Net win rate (6 - 1) / 8; mean difference 4 / 8.
    base = [1, 2, 3, 1, 2, 3, 4, 5]
    mid = [2, 3, 4, 2, 3, 4, 2, 5]
    rows = [score(run, n, v) for run, values in (("mid", mid), ("base", base)) for n, v in enumerate(values)]
    (row,) = judged(tmp_path, rows, ["base", "mid"], fluency="higher")["comparisons"]
    assert (row["condition"], row["against"], row["seed"], row["dimension"]) == (
        "mid",
        "base",
        None,
        "fluency",
    )
    assert (row["wins"], row["ties"], row["losses"], row["n"], row["clusters"]) == (6, 1, 1, 8, 8)
    assert row["net_win_rate"] == 0.625
    assert row["mean_difference"] == 0.5
    # Eight signs with mean 5/8 and mean square 7/8, each a cluster: the variance of the mean is (7/8 - 25/64) / 7.
    assert row["standard_error"] == pytest.approx(math.sqrt((7 / 8 - 25 / 64) / 7))
    # Seven degrees of freedom: t(0.975) = 2.3646 is passed with probability 0.8 at a noncentrality of 3.2698
    # (scipy.stats.nct). More than the 0.8014 that moves six of eight clusters, without which sign flips find nothing.
    assert row["smallest_detectable"] == pytest.approx(3.2698 * row["standard_error"], rel=1e-4)


@pytest.mark.parametrize(("better", "word"), [("higher", "better"), ("lower", "worse"), (None, "higher")])
def test_the_verdict_is_oriented_by_the_dimension(tmp_path: Path, better: str | None, word: str) -> None:
    rows = [score(run, n, value) for run, value in (("base", 1.0), ("mid", 2.0)) for n in range(6)]
    (row,) = judged(tmp_path, rows, ["base", "mid"], fluency=better)["comparisons"]
    assert (row["better"], row["verdict"], row["net_win_rate"]) == (better, word, 1.0)


def test_pairs_without_two_valid_scores_are_missing_and_counted(tmp_path: Path) -> None:
    rows = [score("base", n, 1.0) for n in range(4)] + [score("mid", n, 2.0) for n in range(4)]
    rows[1] = score("base", 1, None)  # the base's score is missing
    rows[2] = score("base", 2, None, state="undefined")
    rows[7] = score("mid", 3, None, state="undefined")  # the condition's is not defined
    rows.append(score("mid", 9, 2.0))  # the base was not judged on prompt 9
    results = judged(tmp_path, rows, ["base", "mid"], fluency="higher")
    (row,) = results["comparisons"]
    assert (row["n"], row["wins"], row["missing"]) == (1, 1, 4)
    (base,) = results["runs"][0]["means"]
    assert (base["mean"], base["n"], base["missing"]) == (1.0, 2, 2)


def test_a_dimension_that_only_some_prompts_have_lacks_nothing(tmp_path: Path) -> None:
    rows = [score(run, n, n / 10, "fluency") for run in ("base", "mid") for n in range(3)]
    rows += [score(run, 0, 1.0, "facts") for run in ("base", "mid")]
    fluency, facts = judged(tmp_path, rows, ["base", "mid"], fluency="higher", facts="higher")["comparisons"]
    assert (fluency["n"], fluency["missing"]) == (3, 0)
    assert (facts["n"], facts["missing"]) == (1, 0)


def test_rows_of_all_seeds_are_stacked_and_each_seed_is_also_shown_alone(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    write_json(study.manifest, manifest(["base", "mid"], seeds=[0, 1]))
    write_json(study.judges, judges(fluency="higher"))
    rows = []
    for seed, value in ((0, 2.0), (1, 0.0)):
        rows += [score(f"base@{seed}", n, 1.0, seed=seed) for n in range(3)]
        rows += [score(f"mid@{seed}", n, value, seed=seed) for n in range(3)]
    write_scores(study.scores, rows)
    results = summary(tmp_path)
    assert [run["run"] for run in results["runs"]] == ["base@0", "base@1", "mid@0", "mid@1"]
    stacked, first, second = results["comparisons"]
    assert (stacked["seed"], stacked["n"], stacked["clusters"], stacked["net_win_rate"]) == (None, 6, 3, 0.0)
    # Within every cluster one win and one loss: no resample of clusters can move the rate.
    assert (stacked["low"], stacked["high"]) == (0.0, 0.0)
    assert (first["seed"], first["n"], first["net_win_rate"]) == (0, 3, 1.0)
    assert (second["seed"], second["n"], second["net_win_rate"]) == (1, 3, -1.0)


def test_a_base_that_answered_under_one_seed_serves_all_seeds(tmp_path: Path) -> None:
    rows = [score("base", n, 1.0) for n in range(3)]
    rows += [score(f"mid@{seed}", n, 2.0, seed=seed) for n in range(3) for seed in (0, 1)]
    study, found = StudyFolder(tmp_path), manifest(["base"])
    found["runs"] |= manifest(["mid"], seeds=(0, 1))["runs"]
    write_json(study.manifest, found)
    write_json(study.judges, judges(fluency="higher"))
    write_scores(study.scores, rows)
    stacked = summary(tmp_path)["comparisons"][0]
    assert (stacked["n"], stacked["wins"], stacked["missing"]) == (6, 6, 0)


def test_of_repeats_the_first_decides(tmp_path: Path) -> None:
    rows = [score(run, 0, value, repeat=repeat) for run, values in (("base", (1, 5)), ("mid", (2, 4)))
            for repeat, value in enumerate(values)]  # fmt: skip
    (row,) = judged(tmp_path, rows, ["base", "mid"], fluency="higher")["comparisons"]
    assert (row["n"], row["wins"], row["losses"], row["clusters"]) == (1, 1, 0, 1)
    assert row["low"] is None
    assert row["verdict"] == "cannot tell"


def test_without_a_base_nothing_is_compared_and_the_report_says_why(tmp_path: Path) -> None:
    rows = [score(run, n, 1.0) for run in ("mid", "full") for n in range(3)]
    results = judged(tmp_path, rows, ["mid", "full"], fluency="higher")
    assert results["comparisons"] == []
    assert "no condition named base" in results["why_no_comparison"]
    assert len(results["runs"][0]["means"]) == 1


def test_the_final_loss_is_the_mean_of_the_last_tenth_of_the_steps(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    write_json(study.manifest, manifest(["base", "mid"]))
    # 25 steps, so the last 3: (22 + 23 + 24) / 3 = 23. Step 24 stands there twice, and counts once.
    append_jsonl(study.training, [step("mid", at, float(at)) for at in range(25)])
    append_jsonl(study.training, [step("mid", 24, 24.0)])
    base, mid = summary(tmp_path)["runs"]
    assert (mid["steps"], mid["final_loss"]) == (25, 23.0)
    assert (base["steps"], base["final_loss"], base["held_out_accuracy"]) == (0, None, None)


def test_held_out_accuracy_and_drift_are_those_of_the_records(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    write_json(study.manifest, manifest(["base", "mid"]))
    append_jsonl(study.training, [step("mid", 0, 0.69)])
    # Rewards relative to base: chosen +1 against rejected 0, then chosen -1 against 0, then a tie: 1 of 3.
    values = [(-9.0, -10.0), (-11.0, -10.0), (-10.0, -10.0)]
    append_jsonl(
        study.logprobs,
        [LogProbRecord("mid", f"p{n}", f"c{n}", c, r, -10, -10, 5, 5) for n, (c, r) in enumerate(values)],
    )
    append_jsonl(study.responses, [answer("mid", n, "x", kl=kl) for n, kl in enumerate((1.0, 3.0, None))])
    mid = summary(tmp_path)["runs"][1]
    assert mid["held_out_accuracy"]["mean"] == pytest.approx(1 / 3)
    # Two values, 1 and 3: mean 2, standard error sqrt(2) / sqrt(2) = 1.
    assert mid["kl_to_base"] == {"mean": 2.0, "standard_error": 1.0, "n": 2}


def test_runs_stand_in_the_recipes_order_whatever_the_manifests(tmp_path: Path) -> None:
    study = StudyFolder(full_study(tmp_path, ("base", "full", "mid")))
    found = json.loads(study.manifest.read_text())
    found["runs"] = dict(reversed(found["runs"].items()))
    write_json(study.manifest, found)
    study.recipe.write_text("conditions: {full: {}, base: {}, mid: {learning_rate: [1, 2]}}")
    assert [run["run"] for run in summary(tmp_path)["runs"]] == ["full", "base", "mid"]


def test_results_tables_and_figures_know_nothing_of_time_and_place(tmp_path: Path) -> None:
    here, there = full_study(tmp_path / "here"), full_study(tmp_path / "there")
    StudyFolder(there).timings.unlink()
    lines = StudyFolder(there).training.read_text().splitlines(keepends=True)
    StudyFolder(there).training.write_text("".join(reversed(lines)))
    report([here])
    report([there])
    names = sorted(p.relative_to(here) for p in here.rglob("*") if p.parent.name in ("tables", "figures"))
    assert [name.name for name in names] == [
        "dimensions.svg", "layers.svg", "loss.svg", "net_win_rate.svg", "overall.svg", "tradeoff.svg",
        "agreement.csv", "categories.csv", "comparisons.csv", "comparisons.tex", "correlations.csv",
        "correlations.tex", "equal_length.csv", "equivalences.csv", "families.csv", "families.tex", "matched_kl.csv",
        "means.csv", "means.tex", "missing.tex", "pairs.csv", "ranks.csv", "ranks.tex", "runs.csv", "seeds.csv",
        "spread.csv", "states.csv", "strategies.csv", "strategies.tex", "tax.csv", "tradeoff.csv",
    ]  # fmt: skip
    for name in [*names, Path("results.json")]:
        assert (here / name).read_bytes() == (there / name).read_bytes(), name
        assert b"some-host" not in (here / name).read_bytes()
        assert str(tmp_path).encode() not in (here / name).read_bytes()


def test_a_local_path_is_named_by_its_last_part_only(tmp_path: Path) -> None:
    write_json(StudyFolder(tmp_path).manifest, manifest(["base"], name="/home/someone/models/tiny"))
    StudyFolder(tmp_path).recipe.write_text("preferences: {source: ../data/mine.jsonl}")
    study = summary(tmp_path)["study"]
    assert (study["model"]["name"], study["source"]) == ("tiny", "mine.jsonl")


def test_tables_keep_every_digit_and_defuse_formulas(tmp_path: Path) -> None:
    rows = [score(run, n, v, "=SUM(A1)") for run, v in (("base", 1 / 3), ("mid", 2 / 3)) for n in range(2)]
    judged(tmp_path, rows, ["base", "mid"], **{"=SUM(A1)": "higher"})
    report([tmp_path])
    with (tmp_path / "tables" / "comparisons.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["dimension"] == "'=SUM(A1)"
    assert row["mean_difference"] == "0.3333333333333333"
    assert row["seed"] == ""
    with (tmp_path / "tables" / "means.csv").open() as file:
        assert [line["mean"] for line in csv.DictReader(file)] == ["0.3333333333333333", "0.6666666666666666"]
    with (tmp_path / "tables" / "runs.csv").open() as file:
        assert [line["layers"] for line in csv.DictReader(file)] == ["", "4 5 6 7"]


def test_a_negative_number_in_a_table_stays_a_number(tmp_path: Path) -> None:
    rows = [score(run, n, v) for run, v in (("base", 1.0), ("mid", 0.5)) for n in range(6)]
    judged(tmp_path, rows, ["base", "mid"], fluency="higher")
    report([tmp_path])
    with (tmp_path / "tables" / "comparisons.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["net_win_rate"], row["mean_difference"]) == ("-1.0", "-0.5")
