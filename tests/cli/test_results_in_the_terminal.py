"""What the terminal says of a finished study: one table, then the conclusions, in lines that fit."""

import copy
from pathlib import Path

from stratalign.cli import printing


def contrast(condition, dimension, **changes):
    """A row of results.json, as far as it is printed."""
    row = {
        "condition": condition, "dimension": dimension, "judge": "microworld", "protocol": "microworld", "seed": None,
        "better": "higher", "n": 200, "wins": 90, "losses": 60, "net_win_rate": 0.15, "low": 0.02, "high": 0.28,
        "p_holm": 0.0312, "verdict": "better",
    }  # fmt: skip
    return row | changes


FOUND = {
    "judged": {"judge": "microworld", "protocol": "microworld"},
    "study": {"objective": ["Claim_Accuracy"]},
    "comparisons": [
        contrast("mid", "coherence", p_holm=None, low=None),
        contrast("mid", "claim_accuracy", p_holm=0.00012),
        contrast("mid", "length", better=None),
        contrast("mid", "safety", wins=0, losses=0),
        contrast("mid", "reward_accuracy", judge="text", protocol="text"),
        contrast("mid", "topic", seed=1),
    ],
    "conclusions": {
        "note": None,
        "winner": [{"words": "Training mid suffices to do better than base on claim_accuracy. " * 3}],
        "tax": [{"words": f"mid: {'no tax ' * 9}; unsure: \u22120.15 [\u22120.29, \u22120.01]."}],
        "controls": [{"words": "base_again (the base, sampled anew) moves nothing, as it should."}],
    },
}  # fmt: skip


def printed(found, capsys):
    printing.results(found, Path("studies/study/report.html"))
    return capsys.readouterr().out.splitlines()


def test_the_objective_comes_first_and_other_protocols_stay_out(capsys):
    lines = printed(FOUND, capsys)
    assert lines[0] == "Against base, judged by microworld, paired by prompt, clustered by first human turn:"
    assert lines[1].split() == [
        "condition", "dimension", "net", "win", "rate", "95", "%", "interval", "Holm", "p", "verdict",
    ]  # fmt: skip
    assert lines[2].split() == ["mid", "claim_accuracy", "+0.15", "[+0.02,", "+0.28]", "<0.001", "better"]
    assert lines[3].split() == ["mid", "coherence", "+0.15", "undefined", "undefined", "better"]
    assert lines[4] == "safety: every prompt ties for mid"
    assert not any("reward_accuracy" in line or "length" in line or "topic" in line for line in lines)


def test_the_conclusions_follow_in_short_lines_and_the_report_is_last(capsys):
    lines = printed(FOUND, capsys)
    assert all(len(line) <= 100 for line in lines)
    assert lines[5].startswith("Winner: Training mid suffices")
    assert lines[6].startswith("  ")
    # Up to "-0.15" the line has 88 columns: the first half of the interval would fit, but it stays whole.
    assert "  [-0.29, -0.01]." in lines
    assert lines[-2] == "Control: base_again (the base, sampled anew) moves nothing, as it should."
    assert lines[-1] == "Report: studies/study/report.html"


def test_nine_long_names_fit_in_100_columns(capsys):
    found = copy.deepcopy(FOUND)
    found["comparisons"] = [contrast("a-condition-with-a-long-name", "preference_accuracy")] * 9
    assert all(len(line) <= 100 for line in printed(found, capsys))


def test_a_study_without_any_scores_says_why(capsys):
    nothing = {
        "note": "No answer yet: no answers have been judged yet.",
        "winner": [],
        "tax": [],
        "controls": [],
    }
    found = FOUND | {"judged": None, "comparisons": [], "conclusions": nothing}
    assert printed(found, capsys) == [
        "No answer yet: no answers have been judged yet.",
        "Report: studies/study/report.html",
    ]
