"""Selectors at equal budget, from a made-up study whose answers are known by hand.

40 prompts, a cluster each; base scores 1 everywhere. Outcomes (better than base: +1, worse: -1):
gradients +1 on all rows; random-1 on rows 0 to 19; random-2 to 5, and even, on rows 0 to 9; auto_rgn +1 on rows 0 to 23
and -1 on 24 to 31; significance +1 on rows 0 to 17; mid, of the user's own and as
large, 0 everywhere; full +1 everywhere.
Mean of draws by row: 1 on 0 to 9, 0.2 on 10 to 19, 0 after; over rows (10 + 2) / 40 = 0.3.
"""

import csv
import json

import pytest
from fake_studies import full_study, judges, manifest, score

from stratalign.records import StudyFolder, write_json, write_scores, write_text
from stratalign.reporting import report

DRAWS = [f"random-{n}" for n in range(1, 6)]
NAMES = ["base", "full", "mid", "gradients", "auto_rgn", "significance", "even", *DRAWS]
RECIPE = """\
model: tiny/model
preferences: {source: microworld:fluency, objective: [fluency]}
conditions:
  base:
  full:
  mid:
  gradients: {by: diagnostics/gradients.json, signal: norm, parameters: 0.33}
  auto_rgn: {by: diagnostics/gradients.json, signal: relative, parameters: 0.33}
  significance: {by: diagnostics/significance.json, parameters: 0.33}
  even: {by: even, parameters: 0.33}
"""


def outcomes(name):
    return {
        "base": [0] * 40,
        "full": [2] * 40,
        "gradients": [1] * 40,
        "random-1": [1] * 20 + [0] * 20,
        "auto_rgn": [1] * 24 + [-1] * 8 + [0] * 8,
        "significance": [1] * 18 + [0] * 22,
        "mid": [0] * 40,
        "gradients-kinds-1": [1] * 40,
        **{f"gradients-kinds-{n}": [1] * 20 + [0] * 20 for n in range(2, 6)},
    }.get(name, [1] * 10 + [0] * 30)


def contest_study(path, *kinds):
    """A study in which `kinds`, if any, are draws of the kinds that gradients chose."""
    names = [*NAMES, *kinds]
    folder = StudyFolder(full_study(path, names))
    draws = "".join(
        f"  {name}: {{by: random, draw: {n}, parameters: 0.33}}\n" for n, name in enumerate(DRAWS)
    )
    dealt = "by: diagnostics/gradients.json, signal: norm, parameters: 0.33, ranking: shuffled"
    draws += "".join(f"  {name}: {{{dealt}, seed: {n}}}\n" for n, name in enumerate(kinds))
    listed = f"by: [gradients, auto_rgn, significance, even], parameters: 0.33, same_kinds: {len(kinds)}"
    write_text(folder.recipe, f"{RECIPE}{draws}selectors: {{{listed}}}\n")
    entries = manifest(names)
    entries["runs"]["gradients"]["of_full"] = {"parameters": 0.33, "arithmetic": 0.7}
    write_json(folder.manifest, entries)
    write_json(folder.judges, judges(fluency="higher"))
    write_scores(
        folder.scores,
        [score(name, n, 1.0 + value) for name in names for n, value in enumerate(outcomes(name))],
    )
    report([folder.path])
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return contest_study(tmp_path_factory.mktemp("contest") / "study")


@pytest.fixture(scope="module")
def contest(study):
    (found,) = json.loads(study.results.read_text())["selectors"]
    return found


def of(contest, name):
    return next(row for row in contest["rows"] if row["condition"] == name)


def test_gains_shares_and_differences_are_those_worked_out_by_hand(contest):
    assert contest["mean_of_draws"] == pytest.approx(0.3)
    assert [one["gain"] for one in contest["draws"]] == [0.5, 0.25, 0.25, 0.25, 0.25]
    assert contest["full"]["gain"] == 1.0
    best = of(contest, "gradients")
    assert (best["gain"], best["beaten"], best["draws"]) == (1.0, 5, 5)
    assert best["difference"] == pytest.approx(0.7)
    assert best["share"] == pytest.approx(0.5)  # 1 of full's 2 points on every row
    assert (best["parameters"], best["parameters_of_full"], best["arithmetic_of_full"]) == (8192, 0.33, 0.7)
    even = of(contest, "even")
    assert even["difference"] == pytest.approx(-0.05)  # -0.2 on 10 of 40 rows
    assert even["beaten"] == 0  # as good as four of them is not better
    assert of(contest, "auto_rgn")["difference"] == pytest.approx(0.1)  # 16 / 40 - 0.3
    assert of(contest, "auto_rgn")["beaten"] == 4


def test_verdicts_follow_the_corrected_difference_the_draws_and_the_margin(contest):
    assert of(contest, "gradients")["verdict"] == "beats random draws"
    assert of(contest, "even")["verdict"] == "no better than random"  # the interval ends below 0.1
    assert of(contest, "auto_rgn")["verdict"] == "cannot tell"
    p_values = sorted((row["p_value"], row["p_holm"]) for row in contest["rows"])
    assert p_values[0][1] == pytest.approx(min(1.0, 5 * p_values[0][0]))  # Holm over five rows


def test_to_be_surely_above_the_mean_of_the_draws_is_not_enough_where_one_of_them_is_better(contest):
    # Differences of significance: 0.8 on 8 rows, -0.2 on 2, else 0: 0.15. Of the signs of the
    # eight, 2 of 256 are as extreme.
    found = of(contest, "significance")
    assert found["difference"] == pytest.approx(0.15)
    assert found["p_value"] == pytest.approx(2 / 256, abs=0.003)
    assert found["p_holm"] < 0.05
    assert (found["beaten"], found["verdict"]) == (4, "cannot tell")  # random-1 has 0.5, it has 0.45


def test_a_condition_of_the_users_own_with_as_many_parameters_stands_among_them(contest):
    own = of(contest, "mid")
    assert (own["selector"], own["gain"], own["verdict"]) == ("your own", 0.0, "no better than random")
    assert [row["condition"] for row in contest["rows"]] == [
        "gradients",
        "auto_rgn",
        "significance",
        "even",
        "mid",
    ]


def test_draws_of_its_own_kinds_say_what_is_left_of_a_selector(contest, tmp_path):
    """Their mean by row: 1 on rows 0 to 19, 0.2 on the others; gradients is 0.8 above that on half of the rows."""
    kinds = [f"gradients-kinds-{n}" for n in range(1, 6)]
    folder = contest_study(tmp_path / "study", *kinds)
    results = json.loads(folder.results.read_text())
    (found,) = results["selectors"]
    best, other = of(found, "gradients"), of(found, "auto_rgn")
    assert best["kinds_difference"] == pytest.approx(0.4)
    assert (best["kinds_beaten"], best["kinds_draws"]) == (4, 5)
    assert best["kinds_low"] < 0.4 < best["kinds_high"]
    assert best["kinds_p_holm"] < 0.001  # one such test: nothing to correct
    assert (other["kinds_difference"], other["kinds_draws"]) == (None, 0)
    assert best["difference"] == of(contest, "gradients")["difference"]  # to the random draws as before
    assert "to that of draws of its own kinds +0.40" in folder.report.read_text()
    assert {one["kind"] for one in results["roles"] if one["condition"] in kinds} == {"random layers"}


def test_random_draws_are_controls_and_never_recommended(study):
    roles = {one["condition"]: one["kind"] for one in json.loads(study.results.read_text())["roles"]}
    assert {roles[name] for name in DRAWS} == {"random layers"}
    assert roles["gradients"] == roles["even"] == "trained"


def test_the_page_the_table_and_the_figure_say_the_same(study):
    page = study.report.read_text()
    assert "Selectors at equal budget" in page
    assert "gradients beats random draws on fluency: +0.70" in page
    assert "better than 5 of 5" in page
    rows = list(csv.DictReader((study.tables / "selectors.csv").read_text().splitlines()))
    assert [row["verdict"] for row in rows][:2] == ["beats random draws", "cannot tell"]
    figure = (study.figures / "selectors.svg").read_text()
    assert "5 random draws: +0.25 to +0.50" in figure


def test_a_study_without_selectors_has_no_such_section(tmp_path):
    folder = StudyFolder(full_study(tmp_path / "plain"))
    report([folder.path])
    assert json.loads(folder.results.read_text())["selectors"] == []
    assert "Selectors at equal budget" not in folder.report.read_text()
    assert not (folder.tables / "selectors.csv").exists()
