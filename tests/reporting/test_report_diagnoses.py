"""Diagnoses on the page: shown where there are records, in full sentences, inert, and nowhere else."""

import copy

import pytest
from fake_studies import full_study

from stratalign.errors import UserError
from stratalign.records import write_json
from stratalign.reporting import report
from stratalign.reporting.diagnosed.diagnoses import diagnosis_views

SHARE = {"value": 0.7, "standard_error": 0.05, "low": 0.6, "high": 0.8}
OTHER = SHARE | {"value": 0.3, "low": 0.2, "high": 0.4}
BLOCKS = {
    "by_name": {"local": {"share": SHARE}, "global": {"share": OTHER}},
    "mean_gradient": {
        "largest": "local",
        "over": {"global": {"ratio": 1.5, "low": 1.2, "high": 1.9, "verdict": "not much greater"}},
        "verdict": "not much greater",
    },
}
COSINE = {"value": 0.25, "standard_error": 0.1, "low": 0.05, "high": 0.45}
GRADIENTS = {
    "kind": "gradients",
    "subject": "base",
    "partition": {"local": [0], "global": [1]},
    "settings": {"ratio": 2.0},
    "sources": {
        "<b>rows": {
            "pairs": 64,
            "clusters": 16,
            "chunks": 8,
            "losses": {"sigmoid": {"blocks": BLOCKS}, "sft": {"blocks": BLOCKS}},
        }
    },
    "cosines": [
        {
            "of": {"source": "rows", "loss": "sigmoid"},
            "and": {"source": "rows", "loss": "sft"},
            "all": COSINE,
            "blocks": {"local": COSINE, "global": COSINE | {"value": None, "low": None, "high": None}},
        }
    ],
}
SIGNIFICANCE = {
    "kind": "significance",
    "subject": "mid",
    "partition": {"local": [0], "global": [1]},
    "heatmap": {"layers": [0, 1], "kinds": ["q_proj", "down_proj"], "values": [[4.0, 5.5], [3.5, None]]},
    "losses": {
        "rows": 32,
        "mean": {"trained": 0.25, "base": 0.693},
        "without_block": {"local": {"rise": 0.1, "standard_error": 0.02}},
    },
    "losses_of": "validation",
    "stability": {"share": 0.75, "jaccard": 0.9, "chance": 0.6},
    "training": {
        "gate_steps": [
            {"relative": 0.3, "after_stability": False},
            {"relative": 0.002, "after_stability": True},
            {"relative": 0.004, "after_stability": True},
        ]
    },
}


def test_a_page_without_records_has_no_such_section(tmp_path):
    folder = full_study(tmp_path)
    assert "Diagnoses" not in report([folder]).read_text()


def test_both_kinds_have_figures_and_sentences(tmp_path):
    folder = full_study(tmp_path)
    write_json(folder / "diagnostics" / "gradients.json", GRADIENTS)
    write_json(folder / "diagnostics" / "significance@mid.json", SIGNIFICANCE)
    page = report([folder]).read_text()
    assert "Where the gradients lie: base" in page
    assert "Which modules&#39; updates the loss needs: mid" in page
    assert "<b>rows" not in page
    assert "&lt;b&gt;rows" in page
    assert "Cosines between mean gradients" in page
    for name in ("gradients", "significance@mid"):
        assert (folder / "figures" / f"{name}.svg").is_file()


def test_what_is_said_of_gradients():
    (one,) = diagnosis_views({"gradients": GRADIENTS})
    assert one.words[0] == (
        "<b>rows, sigmoid: per root parameter largest in local, 1.50 [1.20, 1.90] times global. "
        "Much greater than every other block (2 times)? No."
    )
    assert one.places == ("all", "local", "global")
    (row,) = one.cosines
    assert row == ("rows, sigmoid", "rows, sft", ("0.25 [0.05, 0.45]", "0.25 [0.05, 0.45]", "– [–, –]"))
    assert "local: sigmoid 0.70 [0.60, 0.80]; local: sft" in one.pictures[0].drawing.title


def test_what_is_said_of_significance():
    (one,) = diagnosis_views({"significance@mid": SIGNIFICANCE})
    assert one.words[-1] == (
        "After the training was stable, one gate step at t and at t + 1 differed by 0.2 % to 0.4 % of the step "
        "(2 pairs of steps)."
    )
    # q_proj of layer 1 has the lowest number and the lightest cell; layer 1 has no down_proj
    body = one.pictures[0].drawing.body
    assert "down_proj, local 0: 5.500 score" in body
    assert body.count("<rect") == 3
    assert "Scores of modules by layer. q_proj: 0 4.00, 1 3.50" in one.pictures[0].drawing.title


def test_a_record_that_lacks_what_its_kind_has_is_refused_by_name_and_other_kinds_are_left_out():
    broken = copy.deepcopy(SIGNIFICANCE)
    del broken["losses"]
    with pytest.raises(UserError, match=r"diagnostics/a\.json is damaged: it is no record of significance"):
        diagnosis_views({"a": broken})
    with pytest.raises(UserError, match=r"diagnostics/b\.json is damaged"):
        diagnosis_views({"b": {"kind": "profile"}})
    assert diagnosis_views({"c": {}, "d": {"kind": "mine"}}) == ()


def test_which_layer_is_named_is_said_or_that_none_is():
    named = {
        "norm": {"named": 3, "reading": "named", "largest": 3},
        "relative_norm": {"named": None, "reading": "no one largest", "largest": 7},
    }
    gradients = copy.deepcopy(GRADIENTS)
    gradients["sources"]["<b>rows"]["losses"]["sigmoid"]["named"] = named
    (shown,) = diagnosis_views({"gradients": gradients})
    told = "by signal: norm layer 3, relative norm none (no one largest)."
    assert [words for words in shown.words if told in words] == [shown.words[-1]]
    assert shown.words[-1].startswith("<b>rows, sigmoid: ")
    (shown,) = diagnosis_views({"significance": SIGNIFICANCE | {"named": named}})
    assert sum(told in words for words in shown.words) == 1
    (shown,) = diagnosis_views({"significance": SIGNIFICANCE | {"named": None}})
    assert not any("by signal" in words for words in shown.words)
