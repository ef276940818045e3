"""`stratalign power` in the terminal and as JSON."""

import json
import re
import shlex
from pathlib import Path

import pytest
from command_line import call, refusal

from stratalign.records import StudyFolder, write_json, write_scores, write_text


def test_power_prints_one_line_for_each_assumption():
    done = call("power", "--prompts", 1000, "--sd", 1.27, "--correlation", 0.5, "--ties", 0.4, "--tests", 16)
    assert (done.code, done.err) == (0, "")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines == [
        "Power 80 %, two-sided alpha 0.05, 1,000 prompts",
        "effect assumed tests detectable",
        "mean difference correlation 0.5 1 0.113",
        "net win rate ties 0.4 1 0.069",
        "mean difference correlation 0.5 16 0.152",
        "net win rate ties 0.4 16 0.093",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prompts", "9" * 400], "`prompts` must lie between 1e-09 and 1e+09"),
        (["--prompts", 10**26, "--sd", 1], "`prompts` must lie between"),
        (
            ["--effect", "nan", "--sd", 1],
            "`effect` must lie between 1e-09 and 1e+09, whatever its sign; got nan",
        ),
        (["--effect", 1e-300, "--sd", 1], "`effect` must lie between"),
        (["--prompts", 10, "--sd", 1e308], "`sd` must lie between"),
        (["--prompts", 10, "--sd", "inf"], "`sd` must lie between"),
        (["--net-win-rate", 1e-300], "`net_win_rate` must lie between"),
        (["--prompts", 10, "--cluster-size", "inf", "--icc", 0.5], "`cluster_size` must lie between"),
        (["--prompts", 10, "--alpha", 1e-320], "`alpha / tests` must lie between"),
        (["--prompts", 10, "--tests", 10**400], "`tests` must lie between"),
        (["--prompts", 10, "--tests", 10**9], "`alpha / tests` must lie between"),
        (["--prompts", 10, "--power", "nan"], "`power` lies between"),
        (["--prompts", 10, "--ties", "nan"], "`ties` is a share"),
    ],
)
def test_numbers_that_no_study_has_are_refused(arguments, told):
    assert told in refusal("power", *arguments)


def test_a_difference_to_look_for_gives_prompts_and_power():
    done = call("power", "--net-win-rate", -0.1, "--prompts", 400, "--ties", 0.36, "--json")
    (row,) = json.loads(done.out)["assumed"]
    assert (row["prompts_needed"], round(row["chance"], 3)) == (503, 0.705)
    line = call("power", "--net-win-rate", -0.1, "--prompts", 400, "--ties", 0.36).out.splitlines()[2]
    assert line.split()[-4:] == ["0.112", "-0.1", "503", "0.71"]


def test_power_from_a_study_shows_the_objective_and_what_the_rest_could_see(tmp_path):
    study = StudyFolder(tmp_path)
    write_text(study.recipe, "preferences: {objective: [fluency]}\nconditions: [base, mid]\n")
    one = {"unit": "share", "better": "higher", "about": ""}
    dimensions = [{"name": name, **one} for name in ("fluency", "logic")]
    write_json(
        study.judges, {"judges": [{"judge": "j", "protocol": "p", "hash": "", "dimensions": dimensions}]}
    )
    from stratalign.records import Score

    rows = [
        Score(f"p{n}", f"c{n}", run, 0, "j", "p", name, 0, float(value), "ok")
        for n in range(20)
        for name, size in (("fluency", 4), ("logic", 2))
        for run, value in (("base", 0), ("mid", 1 if n % size else -1))
    ]
    write_scores(study.scores, rows)
    done = call("power", "--from", tmp_path, "--prompts", 80)
    assert (done.code, done.err) == (0, "")
    assert "20 prompts in 20 clusters" in done.out
    (line,) = [line for line in done.out.splitlines() if line.startswith("mid - base")]
    # 15 wins and 5 losses: +0.5, no ties; fluency alone is meant to be moved, so it is one test, and decided.
    assert line.split()[3:7] == ["fluency", "+0.500*", "0", "%"]
    assert "1 further contrasts could see" in done.out
    found = json.loads(call("power", "--from", tmp_path, "--json").out)["observed"]
    assert [(row["dimension"], row["effect"]) for row in found] == [
        ("fluency", "net win rate"),
        ("fluency", "mean difference"),
        ("logic", "net win rate"),
        ("logic", "mean difference"),
    ]


def test_mistakes_are_refused_in_a_sentence(tmp_path):
    assert "which difference to look for" in refusal("power")
    assert "is not a study" in refusal("power", "--from", tmp_path)
    assert "Beside it give only" in refusal("power", "--from", tmp_path, "--sd", 1)


def test_the_commands_of_the_page_on_statistics_work():
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    commands = [
        shlex.split(found) for found in re.findall(r"^stratalign (power --.*?)(?:  |$)", page, re.MULTILINE)
    ]
    assert len(commands) == 4
    for command in commands:
        done = call(*command)
        # The last one names a study that is not there.
        assert done.code == (2 if "--from" in command else 0), done
