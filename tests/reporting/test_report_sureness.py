"""The section "How sure": what a study with everything says, what a small one leaves out, and the tables beside it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from answered_studies import MOST, answered_study
from fake_studies import full_study, judges, manifest, score
from likert_studies import CATEGORIES, DIMENSIONS, judge, likert_study
from test_report_page import Parsed, page_of

from stratalign.records import (
    Score,
    StudyFolder,
    read_json,
    read_scores,
    write_json,
    write_scores,
    write_text,
)
from stratalign.reporting import read_study, report, summarise
from stratalign.reporting.comparisons.comparing import paired_scores, score_table
from stratalign.reporting.comparisons.grids import score_grid
from stratalign.reporting.comparisons.spreads import dimension_spreads
from stratalign.reporting.page.sureness import Part, could_see, how_sure

WARNING = "The judge judge-large and the studied model <b>x</b> are of one family (Qwen)."


def everything(folder: Path) -> Path:
    """A likert-16 study with two seeds, missing rows, a second judge, repeats, a full ceiling, lengths and KL."""
    study = StudyFolder(likert_study(folder, prompts=36))
    first = judge() | {"warning": WARNING}
    second = judge() | {"judge": "other", "model": "other", "second": True}
    text = judges(length=None, kl_to_base=None)["judges"][0] | {"kind": "measures"}
    write_json(study.judges, {"schema": 1, "judges": [first, text, second]})
    conditions = ("base", "full", "local", "mid", "global")
    write_json(study.manifest, manifest(conditions, (0, 1), name="lab/model"))
    for file in (study.training, study.responses):
        write_text(file, re.sub(r'"run": "(\w+)"', r'"run": "\1@0"', file.read_text()))
    rows: list[Score] = []
    for one in list(read_scores(study.scores)):
        if one.dimension == "Safety" and one.state == "ok":
            one = replace(one, value=5.0)
        both = [replace(one, run=f"{one.run}@{seed}", seed=seed) for seed in (0, 1)]
        rows += (
            both + [replace(row, repeat=1) for row in both] + [replace(row, judge="other") for row in both]
        )
    for name in conditions:
        for n in range(36):
            for seed in (0, 1):
                key = (f"r{n:06d}", f"c{n // 3}", f"{name}@{seed}", seed, "text", "text")
                rows.append(Score(*key, "length", 0, 30.0 + n % 7 + (name == "mid") * (n % 5), "ok"))
                rows.append(Score(*key, "kl_to_base", 0, 0.0 if name == "base" else 1.0 + n % 3, "ok"))
    write_scores(study.scores, rows)
    return folder


def parts_of(folder: Path) -> dict[str, Part]:
    return {part.name: part for part in how_sure(summarise(read_study(folder)))}


def test_a_study_with_everything_answers_every_question(tmp_path: Path) -> None:
    parts = parts_of(everything(tmp_path))
    assert list(parts) == [
        "categories", "notes", "missing", "seeds", "equal_length", "matched_kl", "agreement", "spread",
        "correlations", "families",
    ]  # fmt: skip
    table = parts["categories"].table
    assert table is not None
    assert table.header == ["condition", *CATEGORIES, "all but Overall"]
    assert [row[0] for row in table.rows] == ["full", "local", "mid", "global"]
    # Both seeds are copies, so each says the same.
    assert parts["seeds"].words[0].startswith("Two seeds were trained")
    # Repeats and the other judge are copies too; Safety is 5 throughout, so alpha is undefined there.
    (itself, other) = parts["agreement"].words
    assert itself.startswith(
        "judge-large with itself, on the same answers: good, on 15 of 16 dimensions; undefined"
    )
    assert other.startswith("judge-large with other, on the same answers: good")
    assert parts["spread"].words == (
        "More than 90 % of the scores are one value on Safety (100.0 % are 5): little can be told apart there.",
    )
    correlations = parts["correlations"].table
    assert correlations is not None
    assert [row[0] for row in correlations.rows] == [f"{at} {name}" for at, name in enumerate(DIMENSIONS, 1)]


@pytest.mark.parametrize(
    ("kl", "difference", "verdict"), [(1.01, -0.0025, "cannot tell"), (4.0, -0.25, "worse")]
)
def test_a_difference_at_equal_kl_below_one_prompts_win_is_no_verdict(
    tmp_path: Path, kl: float, difference: float, verdict: str
) -> None:
    # Both win 30 and lose 10 of 40, the same ones; mid goes to KL 1: +0.5 against +0.5 x sqrt(1 / kl) on every draw.
    study = StudyFolder(answered_study(tmp_path, {"full": {"fluency": MOST}, "mid": {"fluency": MOST}}))
    far = {"base": 0.0, "full": kl, "mid": 1.0}
    rows = [
        Score(f"p{n}", f"c{n}", name, 0, "text", "text", "kl_to_base", 0, value, "ok")
        for name, value in far.items()
        for n in range(40)
    ]
    write_scores(study.scores, [*read_scores(study.scores), *rows])
    known = read_json(study.judges)
    known["judges"] += judges(kl_to_base=None)["judges"]
    write_json(study.judges, known)
    (found,) = (one for one in summarise(read_study(tmp_path)).matched if one.dimension == "fluency")
    assert (found.condition, found.against) == ("full", "mid")
    assert found.difference == pytest.approx(difference, abs=1e-4)
    assert found.high is not None
    assert found.high < 0
    assert found.verdict == verdict
    assert "−0.00 " not in found.words


def test_what_a_study_has_no_numbers_for_is_not_there(tmp_path: Path) -> None:
    parts = parts_of(full_study(tmp_path))
    assert not {"categories", "seeds", "equal_length", "agreement", "spread"} & set(parts)
    text = " ".join(Parsed(page_of(tmp_path)).text.split())
    for title in ("By category", "Another seed", "At equal length", "Do judges agree?", "Room on the scale"):
        assert title not in text
    assert "How sure" in text


def test_verdicts_come_first_and_the_warning_stands_before_the_scores(tmp_path: Path) -> None:
    page = page_of(everything(tmp_path))
    text = " ".join(Parsed(page).text.split())
    order = [
        "Who moved what the preferences are meant to move?", "Does a part match the whole?", "What does it cost?",
        "Which layers were trained", "Against base", WARNING, "four times out of five", "How sure",
        "Gain against the worst loss elsewhere",
    ]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "<b>x</b>" not in page
    for words in summarise(read_study(tmp_path)).tax_in_words:
        assert text.count(words) == 1
    sizes = {one.name: one.tests for one in summarise(read_study(tmp_path)).families}
    about = "candidates against base on what the preferences are meant to move"
    assert f"primary ({about}; {sizes['primary']} tests)" in text


def test_what_a_sample_could_see_is_told_by_family_and_after_the_correction(tmp_path: Path) -> None:
    results = summarise(read_study(everything(tmp_path)))
    rows = [one for one in results.comparisons if one.seed is None and one.key[:2] == results.judged]
    two = [
        replace(rows[0], family="primary", smallest_detectable_holm=0.14),
        replace(rows[0], family="primary", smallest_detectable_holm=0.21),
        replace(rows[0], family="against base", smallest_detectable_holm=1.2),
    ]
    assert could_see(two) == (
        "This sample finds a true net win rate, up or down, of 0.14 to 0.21 (primary) four times out of five, after "
        "the correction. A smaller one may be there and go unseen. This sample is too small for the tests against base "
        "to find any net win rate four times out of five, after the correction."
    )
    alone = [replace(rows[0], family=None, smallest_detectable_holm=None, smallest_detectable=0.1)]
    assert "of 0.10 four times out of five, each test taken alone" in str(could_see(alone))
    assert could_see([]) is None


def test_every_statistic_is_a_file_too(tmp_path: Path) -> None:
    report([everything(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text())
    for name, count in {
        "equivalences": len(results["equivalences"]),
        "tax": len(results["tax_tests"]),
        "matched_kl": len(results["matched"]),
        "equal_length": len(results["equal_length"]),
        "seeds": len(results["seeds"]["effects"]),
        "categories": len([*results["categories"]["comparisons"], *results["categories"]["all_but_overall"]]),
        "agreement": len(results["agreement"]),
        "spread": 16,
        "correlations": 16,
        "families": len(results["families"]),
    }.items():
        with (tmp_path / "tables" / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count > 0, name
    for name in ("categories", "agreement", "spread", "correlations", "matched_kl", "seeds", "missing"):
        assert r"\begin{tabular}" in (tmp_path / "tables" / f"{name}.tex").read_text()


def test_the_scale_of_a_dimension_is_used_or_not(tmp_path: Path) -> None:
    # Four scores: 5, 5, 5 and 1. Three quarters at the top, one at the bottom; of two prompts one ties.
    study = StudyFolder(tmp_path)
    entry = judges(fluency="higher")["judges"][0] | {"scale": [1, 5]}
    write_json(study.judges, {"judges": [entry]})
    write_json(study.manifest, manifest(["base", "mid"]))
    rows = [score("base", 0, 5.0), score("base", 1, 5.0), score("mid", 0, 5.0), score("mid", 1, 1.0)]
    write_scores(study.scores, rows)
    (one,) = summarise(read_study(tmp_path)).spread
    assert (one.n, one.ceiling, one.floor, one.commonest, one.commonest_share) == (4, 0.75, 0.25, 5.0, 0.75)
    assert (one.ties, one.flagged) == (0.5, False)


def test_scores_off_the_scale_do_not_stop_a_report(tmp_path: Path) -> None:
    measure = summarise(read_study(everything(tmp_path))).measures[0]
    strange = Score("p0", "c0", "base", 0, *measure.key, 0, 9.0, "ok")
    assert dimension_spreads(score_grid([strange], [measure])) == ()


def test_the_rows_of_a_contrast_are_those_that_were_compared(tmp_path: Path) -> None:
    records = read_study(full_study(tmp_path))
    results = summarise(records)
    table = score_table(records.scores, {run.run: run.condition for run in results.runs})
    measures = {measure.key: measure for measure in results.measures}
    for one in (*results.comparisons, *results.pairs):
        pair = paired_scores(table, one, measures[one.key])
        assert len(pair.first) == one.n
        assert float((pair.first - pair.second).mean()) == pytest.approx(one.mean_difference)
        assert len(set(pair.clusters)) == one.clusters
