"""The demo, made small: both studies, the page over them, and what it prints."""

import json
import re
import sys

import pytest

from stratalign import cli
from stratalign.errors import UserError
from stratalign.reporting.diagnosed.calibrated import world_in_words
from stratalign.showcase import demo

SMALL = [
    "preferences.train=24",
    "preferences.validation=0",
    "preferences.held_out=24",
    "generation.max_new_tokens=40",
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    return demo(tmp_path_factory.mktemp("demo"), changes=SMALL, calibration=False)


def test_the_demo_runs_the_five_conditions_and_four_controls_on_two_preference_sets(shown):
    assert list(shown.exhibits) == ["fluency", "mixed"]
    for name, one in shown.exhibits.items():
        kinds = {role["condition"]: role["kind"] for role in one.results["roles"]}
        assert kinds == {
            "base": "base",
            "full": "trained",
            "local": "trained",
            "mid": "trained",
            "global": "trained",
            "base_again": "base again",
            "shuffled": "shuffled labels",
            "random": "random layers",
            "thin": "equal parameters",
        }
        assert one.results["study"]["source"] == f"microworld:{name}"
        assert one.results["study"]["objective"] == [one.dimension]
        manifest = json.loads(one.folder.manifest.read_text())
        assert all(run["proof"]["proven"] for run in manifest["runs"].values())


def test_the_answers_shown_are_those_on_record_under_the_same_prompt(shown):
    for one in shown.exhibits.values():
        record = {}
        for line in one.folder.responses.read_text().splitlines():
            row = json.loads(line)
            record[row["run"], row["prompt"].strip()] = row["response"]
        assert len(one.answers) == 5
        for answer in one.answers:
            assert record["base", answer.prompt] == answer.base
            assert record[one.condition, answer.prompt] == answer.trained
            assert 0 <= answer.base_score <= 1


def test_one_page_tells_of_both_studies(shown):
    page = shown.page.read_text()
    assert "microworld:fluency" in page
    assert "microworld:mixed" in page


def test_the_command_prints_answers_tables_conclusions_and_the_report(shown, monkeypatch, capsys):
    """Everything is done already, so this only prints."""
    out = str(shown.page.parent)
    changes = [part for change in SMALL for part in ("--set", change)]
    monkeypatch.setattr(sys, "argv", ["stratalign", "demo", "--no-calibration", "--out", out, *changes])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    printed = capsys.readouterr().out
    for part in ("== fluency preferences", "== mixed preferences", "> tell ", "95 % interval", "elsewhere",
                 "Tax: ", "Control: base_again", "Control: shuffled", "Control: random", "Control: thin"):  # fmt: skip
        assert part in printed, part
    first = [
        line for line in printed.splitlines() if not re.match(r"(fluency|mixed): [\w ]+[:,] [\d,]+ of", line)
    ]
    assert first[0].startswith(f"fluency: {shown.exhibits['fluency'].recommendation['line'][:30]}")
    assert printed.rstrip().splitlines()[-1].startswith("Report: ")
    assert max(map(len, printed.splitlines()[:-1])) <= 100


def test_a_change_of_the_demo_that_is_no_key_is_refused(tmp_path):
    with pytest.raises(UserError, match="Unknown key"):
        demo(tmp_path, changes=["trainig.rank=4"])


def test_the_calibration_says_who_found_the_layer_and_who_spoke_where_there_is_none():
    readings = {"no signal": (None, 7), "no one largest": (None, 4), "named": (4, 4), "wrong": (0, 0)}

    def told(planted, **said):
        instruments = {
            name: {"named": readings[one][0], "largest": readings[one][1], "reading": one}
            for name, one in said.items()
        }
        return world_in_words({"planted": planted, "instruments": instruments})

    found = told(4, a="named", b="wrong", c="no signal", d="no one largest")
    assert found == (
        "Calibration, layer 4 is known to carry it: a names layer 4, b names layer 0, c sees nothing, "
        "d points at layer 4. 2 of 4 point at it, 1 for certain."
    )
    assert told(None, a="no signal", b="no one largest").endswith("As it should be, none names a layer.")
    assert told(None, a="no signal", b="named").endswith("1 of 2 wrongly name one.")
