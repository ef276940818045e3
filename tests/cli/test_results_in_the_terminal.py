"""What the terminal says of a finished study: two tables, then the conclusions, in lines that fit."""

import copy

from stratalign.cli import study_tables


def contrast(condition, dimension, **changes):
    """A row of results.json, as far as it is printed."""
    row = {
        "condition": condition, "dimension": dimension, "judge": "microworld", "protocol": "microworld", "seed": None,
        "better": "higher", "n": 200, "wins": 90, "losses": 60, "net_win_rate": 0.15, "low": 0.02, "high": 0.28,
        "p_holm": 0.0312, "verdict": "better",
    }  # fmt: skip
    return row | changes


FOUND = {
    "seeds": {"scope": "for this seed"},
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
    "controls_in_words": ["base_again (the base, sampled anew) shows no significant change."],
    "tax_in_words": [f"mid: {'no tax ' * 9}; unsure: \u22120.15 [\u22120.29, \u22120.01]."],
    "conclusions": {
        "note": None,
        "winner": [
            {
                "dimension": "claim_accuracy",
                "words": "Training mid suffices to do better than base on claim_accuracy. " * 3,
            }
        ],
    },
}  # fmt: skip


def printed(found, capsys):
    study_tables.results(found)
    return capsys.readouterr().out.splitlines()


def test_the_objective_comes_first_and_other_protocols_stay_out(capsys):
    lines = printed(FOUND, capsys)
    assert lines[0] == "Against base, judged by microworld, paired by prompt, clustered, for this seed:"
    assert lines[1].split() == [
        "condition", "dimension", "net", "win", "rate", "95", "%", "interval", "Holm", "p", "verdict",
    ]  # fmt: skip
    assert lines[2].split() == ["mid", "claim_accuracy", "+0.15", "[+0.02,", "+0.28]", "<0.001", "better"]
    assert lines[3].split() == ["elsewhere", "coherence"]
    assert lines[4].split() == ["mid", "+0.15~"]
    assert lines[5] == "* survives Holm's correction; ~ only the uncorrected interval excludes 0"
    assert lines[6] == "safety: every prompt ties for mid"
    assert not any("reward_accuracy" in line or "length" in line or "topic" in line for line in lines)


def test_a_verdict_that_does_not_survive_correction_says_so(capsys):
    rows = [("better", 1.0), ("worse", 0.3), ("better", None), ("worse", 0.04), ("cannot tell", 1.0)]
    found = copy.deepcopy(FOUND)
    found["comparisons"] = [
        contrast(f"c{n}", "claim_accuracy", verdict=verdict, p_holm=p_holm)
        for n, (verdict, p_holm) in enumerate(rows)
    ]
    assert [line.strip().rpartition("  ")[2] for line in printed(found, capsys)[2:7]] == [
        "better, uncorrected", "worse, uncorrected", "better, uncorrected", "worse", "cannot tell",
    ]  # fmt: skip


def test_the_conclusions_follow_in_short_lines(capsys):
    lines = printed(FOUND, capsys)
    assert all(len(line) <= 100 for line in lines)
    assert lines[7].startswith("Winner: Training mid suffices")
    assert lines[8].startswith("  ")
    # Up to "-0.15" the line has 88 columns: the first half of the interval would fit, but it stays whole.
    assert "  [-0.29, -0.01]." in lines
    assert lines[-1] == "Control: base_again (the base, sampled anew) shows no significant change."


def test_other_dimensions_stand_beside_each_other_marked_by_how_sure_they_are(capsys):
    found = copy.deepcopy(FOUND)
    found["comparisons"] = [
        contrast("mid", "claim_accuracy"),
        contrast("mid", "coherence", net_win_rate=-0.2, verdict="worse", p_holm=0.04),
        contrast("mid", "topic", net_win_rate=0.1, p_holm=0.3),
        contrast("full", "topic", net_win_rate=0.0, p_holm=1.0, verdict="cannot tell"),
    ]
    lines = printed(found, capsys)
    assert [line.split() for line in lines[3:6]] == [
        ["elsewhere", "coherence", "topic"],
        ["mid", "-0.20*", "+0.10~"],
        ["full", "+0.00"],
    ]


def test_dimensions_that_stand_in_for_the_objective_have_their_intervals_and_the_others_stand_below(capsys):
    found = FOUND | {"study": {"objective": ["Overall"]}}
    lines = printed(found, capsys)
    assert lines[2].split()[:2] == ["mid", "claim_accuracy"]
    assert lines[3].split() == ["elsewhere", "coherence"]


def test_where_nothing_is_concluded_every_dimension_has_its_interval(capsys):
    found = FOUND | {"conclusions": {"note": "No answer yet.", "winner": []}}
    lines = printed(found, capsys)
    assert [line.split()[1] for line in lines[2:4]] == ["coherence", "claim_accuracy"]
    assert not any(line.startswith("elsewhere") for line in lines)


def test_without_a_judge_the_margin_is_tested_and_what_was_measured_stands_beside_it(capsys):
    def margin(condition, **changes):
        text = {
            "judge": "text",
            "protocol": "text",
            "better": None,
            "family": "primary",
            "dimension": "margin",
        }
        return contrast(condition, **(text | changes))

    def run(condition, accuracy, kl, same):
        return {
            "condition": condition,
            "held_out_accuracy": accuracy and {"mean": accuracy},
            "kl_to_base": kl and {"mean": kl},
            "same_as_base": same,
        }

    found = FOUND | {
        "judged": None,
        "comparisons": [
            margin("mid", p_holm=0.0004),
            margin("mid", dimension="preference_accuracy", family=None, p_holm=None),
        ],
        "runs": [run("base", None, None, None), run("mid", 0.6, 1.5, 0.25), run("mid", 0.8, 2.5, 0.75)],
        "took_hold": {"what": "the margin of held-out pairs", "measures": ["margin"]},
        "conclusions": {"note": "The answers have not been judged.", "winner": []},
        "tax_in_words": [],
        "controls_in_words": [],
    }
    lines = printed(found, capsys)
    what = "the margin of held-out pairs"
    assert lines[0] == f"No verdict; {what} against base, paired by row, clustered, for this seed:"
    # Two runs of mid: accuracy 0.7, KL 2, half of the answers as base's, on average.
    assert lines[2].split() == [
        "mid",
        "margin",
        "+0.15",
        "[+0.02,",
        "+0.28]",
        "<0.001",
        "0.70",
        "2.00",
        "50.0%",
    ]
    assert len(lines) == 4
    assert not any(word in " ".join(lines) for word in ("Winner", "better", "suffices", "Tax"))


def test_nine_long_names_fit_in_100_columns(capsys):
    found = copy.deepcopy(FOUND)
    found["comparisons"] = [contrast("a-condition-with-a-long-name", "preference_accuracy")] * 9
    assert all(len(line) <= 100 for line in printed(found, capsys))


def test_draws_and_windows_are_told_together_not_line_by_line(capsys):
    rows = [
        contrast(name, "claim_accuracy") for name in ("mid", "random-1", "random-2", "random-3", "window-0-2")
    ]
    found = FOUND | {
        "comparisons": rows,
        "against_draws": [{"condition": "mid", "draws": ["random-1", "random-2", "random-3"]}],
        "roles": [{"condition": "mid", "kind": "trained"}, {"condition": "window-0-2", "kind": "window"}],
    }
    lines = printed(found, capsys)
    assert any(line.startswith("mid ") for line in lines)
    assert not any(line.startswith(("random-", "window-")) for line in lines)
    assert "4 more (random draws, windows, shifted blocks) are told together below." in lines


def test_a_study_without_any_scores_says_why(capsys):
    nothing = {
        "note": "No answer yet: no answers have been judged yet.",
        "winner": [],
    }
    found = FOUND | {
        "judged": None,
        "comparisons": [],
        "tax_in_words": [],
        "controls_in_words": [],
        "conclusions": nothing,
    }
    assert printed(found, capsys) == ["No answer yet: no answers have been judged yet."]


def test_selectors_have_their_verdicts_after_the_conclusions(capsys):
    verdicts = [
        "gradients beats random draws on fluency: +0.70.",
        "even: this sample cannot tell it from them.",
    ]
    found = FOUND | {"selectors": [{"rows": [{"words": words} for words in verdicts]}]}
    assert printed(found, capsys)[-2:] == [f"Selector: {words}" for words in verdicts]


PLACE = {"worst_dimension": "word_order", "worst": -0.0833, "worst_low": -0.1875, "worst_high": 0.0}
SHARE = {"share": 0.531, "low": 0.185, "high": 0.863, "standing": "above"}
PROFILE = {
    "places": [
        {"condition": "window-0-2", "layers": [0, 1, 2], **PLACE},
        {"condition": "window-1-3", "layers": [1, 2, 3], **dict.fromkeys(PLACE)},
    ],
    "shares": [
        {
            "dimension": "fluency",
            "why_none": None,
            "conditions": [
                {"condition": "window-0-2", **SHARE},
                {"condition": "window-1-3", **dict.fromkeys(SHARE)},
            ],
        }
    ],
    "words": ["fluency: training layers 0\u20132 suffices."],
}


def test_a_profile_has_each_windows_share_standing_and_worst_loss_before_its_words(capsys):
    lines = printed(FOUND | {"profile": PROFILE}, capsys)[-5:]
    assert lines[0] == "Profile: the share of full's gain on fluency that each window of layers recovers:"
    assert [" ".join(line.split()) for line in lines[1:4]] == [
        "window layers share 95 % interval beside the draws worst loss elsewhere",
        "window-0-2 0-2 0.53 [0.18, 0.86] above word order -0.08 [-0.19, +0.00]",
        "window-1-3 1-3 - [-, -] - -",
    ]
    assert lines[4] == "Profile: fluency: training layers 0\u20132 suffices."


def test_a_profile_without_shares_has_its_words_alone(capsys):
    why = "Full's own gain cannot be told from 0."
    found = PROFILE | {"shares": [PROFILE["shares"][0] | {"why_none": why}], "words": [why]}
    lines = printed(FOUND | {"profile": found}, capsys)
    assert [line for line in lines if "Profile" in line] == [f"Profile: {why}"]
