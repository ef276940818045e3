"""What the report says of conditions tuned on validation, from a tuning.json written by hand."""

from dataclasses import replace

import fake_studies
import pytest

from stratalign.reporting.inputs import read_study
from stratalign.reporting.page.tuned import tuned_view
from stratalign.reporting.results import summarise


def candidate(name, rate, mean, behind=None):
    return {
        "candidate": name,
        "learning_rate": rate,
        "rank": 8,
        "parameters": 100,
        "mean": mean,
        "low": mean - 0.02,
        "high": mean + 0.02,
        "seeds": {"0": name},
        "behind_best": behind
        and {"difference": behind[0], "low": behind[1], "high": behind[2], "verdict": behind[3]},
    }


def tuned(best, chosen, candidates, tied=(), edges=()):
    second = next(one for one in candidates if one["candidate"] != best)
    return {
        "by": "loss",
        "loss": "sigmoid",
        "better": "lower",
        "candidates": candidates,
        "best": best,
        "chosen": chosen,
        "tied": list(tied),
        "edges": list(edges),
        "second": {"candidate": second["candidate"], **second["behind_best"]},
    }


def order(*names, verdict="behind"):
    pair = {
        "ahead": names[0],
        "of": names[1],
        "difference": 0.1,
        "low": 0.05,
        "high": 0.15,
        "verdict": verdict,
    }
    return {"order": [{"condition": name, "mean": 0.5} for name in names], "pairs": [pair]}


TUNING = {
    "rows": 96,
    "clusters": 32,
    "rule": "The best.",
    "conditions": {
        "local": tuned(
            "local-0.002",
            "local-0.002",
            [
                candidate("local-0.001", 1e-3, 0.6, (0.1, 0.05, 0.15, "behind")),
                candidate("local-0.002", 2e-3, 0.5),
            ],
            edges=[{"key": "learning_rate", "block": None, "value": 2e-3, "end": "highest"}],
        ),
        "mid": tuned(
            "mid-0.002",
            "mid-0.001",
            [
                candidate("mid-0.001", 1e-3, 0.55, (0.01, -0.02, 0.04, "cannot tell")),
                candidate("mid-0.002", 2e-3, 0.54),
            ],
            tied=["mid-0.001"],
        ),
    },
    "orders": [
        {
            "by": "loss",
            "at_one": [
                {"values": {"learning_rate": 1e-3}, **order("mid", "local")},
                {"values": {"learning_rate": 2e-3}, **order("local", "mid", verdict="cannot tell")},
            ],
            "tuned": order("local", "mid"),
        }
    ],
}


@pytest.fixture
def view(tmp_path, monkeypatch):
    """A study in which mid gains and local does not, each beside an untuned condition of the same layers."""
    blocks = fake_studies.BLOCKS | {"local_one": range(4), "mid_one": range(4, 8)}
    monkeypatch.setattr(fake_studies, "BLOCKS", blocks)
    conditions = ("base", "local", "mid", "local_one", "mid_one")
    study = fake_studies.full_study(tmp_path, conditions)
    return tuned_view(replace(summarise(read_study(study)), tuning=TUNING))


def test_each_choice_says_how_surely_it_is_the_best(view):
    assert view.choices == (
        "local: learning rate 0.002, rank 8, loss 0.5000. It is the best of 2; the second, learning rate 0.001, "
        "rank 8, differs by +0.1000 [+0.0500, +0.1500].",
        "mid: learning rate 0.001, rank 8, loss 0.5500. Of 2, learning rate 0.002, rank 8 has the best mean, but one "
        "other candidate cannot be told from it, and the smallest of these is taken; the second, learning rate 0.001, "
        "rank 8, differs by +0.0100 [−0.0200, +0.0400]: cannot tell.",
    )
    assert [row.mark for row in view.candidates] == [
        "",
        "best, chosen",
        "chosen, cannot be told from the best",
        "best",
    ]


def test_a_best_value_at_the_edge_is_a_warning(view):
    (warning,) = view.warnings
    assert warning.startswith("local: the best learning rate, 0.002, is the highest tried")


def test_orders_at_one_rate_name_whom_tuning_turns_round(view):
    assert [tuple(row) for row in view.orders] == [
        ("learning rate 0.001", "mid > local", "mid and local (both sure)"),
        ("learning rate 0.002", "local ~ mid", "none"),
        ("each tuned", "local > mid", ""),
    ]


def test_tuned_conditions_stand_beside_untuned_ones_of_the_same_layers_on_held_out_prompts(view):
    assert view.held_out[0].startswith("local ")
    assert "untuned (local_one)" in view.held_out[0]
    assert "untuned (mid_one)" in view.held_out[1]
    assert view.held_out[2].startswith("By net win rate of fluency: mid, local.")


def test_a_study_that_tunes_nothing_has_no_such_section(tmp_path):
    results = summarise(read_study(fake_studies.full_study(tmp_path)))
    assert tuned_view(results) is None
