"""Every failure signature: a study in which it shows, a sound one in which none does, and commands that are real."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from answered_studies import ALL, FEW, HALF, MOST, NONE, answered_study

from stratalign.cli.verbs import app
from stratalign.recipe import load_recipe
from stratalign.reporting import read_study, report, summarise
from stratalign.reporting.answer.commands import located, scaled_rate, with_condition
from stratalign.reporting.signatures import CATALOGUE, Signature, find_signatures

LOST = tuple(-value for value in ALL)
GAIN = {"mid": {"fluency": ALL}}
LIKERT = {"scale": [1, 5], "anchor": 3}


def of(run: str, **changes: Any) -> Callable[..., dict[str, Any]]:
    """Changes of one run's records, whatever the record."""
    return lambda name, _at: changes if name == run else {}


def ranked_right(share: float, **more: float) -> Callable[[str, int], dict[str, float]]:
    """Held-out pairs of which this share, of forty, is ranked right by one nat."""
    return lambda run, n: {"chosen": -39.0 if n < 40 * share else -41.0, **more}


def answered_by(**replies: int) -> dict[str, Any]:
    """The entry of the judge j, and how many replies each model gave."""
    answered = [{"model": model, "replies": count} for model, count in replies.items()]
    return {"kind": "judge", "model": "j", "answered": answered}


def as_base(run: str, n: int) -> dict[str, Any]:
    return {"response": f"The same answer to question {n}."}


SHOWN: dict[str, dict[str, Any]] = {
    "base differs from base": {"gains": GAIN | {"base_again": {"coherence": MOST}}},
    "shuffled labels win": {"gains": {"mid": {"fluency": MOST}, "shuffled": {"fluency": MOST}}},
    "nothing moved": {"gains": {"mid": {"fluency": NONE}}, "answers": as_base},
    "loss did not fall": {"gains": GAIN, "steps": lambda run, at: {"loss": 0.69 + at / 100}},
    "memorised pairs": {"gains": GAIN, "steps": lambda run, at: {"accuracy": 1.0, "loss": 0.69 / (at + 1)}},
    # Chosen falls by 0.1 nats a token (2 of 20), rejected by 4 in all.
    "likelihood displacement": {
        "gains": GAIN, "pairs": lambda run, n: {"chosen": -42.0 + 0.1 * (n % 2), "rejected": -44.0},
    },
    "reward up, answers not": {"gains": {"mid": {"fluency": FEW}}, "pairs": ranked_right(0.9)},
    "alignment tax": {"gains": {"mid": {"fluency": ALL, "coherence": LOST}}},
    "late layers insufficient": {"gains": GAIN | {"global": {"fluency": HALF}}},
    "block misses the target": {"gains": {"full": {"fluency": ALL}, "mid": {"fluency": HALF}}},
    "below the anchor": {
        "gains": {"mid": {"fluency": NONE}}, "judge": LIKERT,
        "scores": lambda run, name, n, value: (1.0 + n % 3, "ok"),
    },
    "base rambles": {"gains": GAIN, "answers": lambda run, n: {"finish": "length" if n % 2 else "stop"}},
    "truncated answers": {"gains": GAIN, "answers": lambda run, n: {"finish": "length" if n < 4 else "stop"}},
    "empty answers": {"gains": GAIN, "answers": lambda run, n: {"response": " "} if run == "mid" and n < 2 else {}},
    "length explosion": {"gains": GAIN, "answers": of("mid", tokens=15)},
    "answers shrank": {"gains": GAIN, "answers": of("mid", tokens=5)},
    "repetition": {
        "gains": {"mid": {"fluency": ALL, "repetition": (0.1,) * 40}}, "dimensions": ("fluency", "repetition"),
    },
    "KL explosion": {"gains": GAIN, "answers": lambda run, n: {"kl_to_base": None if run == "base" else 5.0}},
    "ceiling": {
        "gains": GAIN, "judge": LIKERT,
        "scores": lambda run, name, n, value: (5.0 if name == "coherence" and n < 36 else value, "ok"),
    },
    "missing scores": {
        "gains": GAIN, "scores": lambda run, name, n, value: (None, "blocked") if n < 2 else (value, "ok"),
    },
    "another model judged": {"gains": GAIN, "judge": answered_by(j=60, cheaper=20)},
}  # fmt: skip

JUST_NOT: dict[str, dict[str, Any]] = {
    "base differs from base": {"gains": GAIN | {"base_again": {"coherence": HALF}}},
    "shuffled labels win": {"gains": GAIN | {"shuffled": {"fluency": MOST}}},
    # 35 of 40 answers are base's: 87.5 %.
    "nothing moved": {
        "gains": {"mid": {"fluency": NONE}},
        "answers": lambda run, n: as_base(run, n) if n < 35 else {},
    },
    "loss did not fall": {"gains": GAIN, "steps": lambda run, at: {"loss": 0.69 + at / 1000}},
    "memorised pairs": {
        "gains": GAIN, "steps": lambda run, at: {"accuracy": 1.0, "loss": 0.69 / (at + 1)}, "pairs": ranked_right(0.9),
    },
    # 0.04 nats a token; and a fall of both without a margin.
    "likelihood displacement": {"gains": GAIN, "pairs": lambda run, n: {"chosen": -40.8, "rejected": -44.0}},
    "reward up, answers not": {"gains": GAIN, "pairs": ranked_right(0.9)},
    "alignment tax": {"gains": {"mid": {"fluency": ALL, "coherence": FEW}}},
    "late layers insufficient": {"gains": {"mid": {"fluency": HALF}, "global": {"fluency": HALF}}},
    "block misses the target": {"gains": {"full": {"fluency": ALL}, "mid": {"fluency": ALL}}},
    "below the anchor": {"gains": {"mid": {"fluency": NONE}}, "judge": LIKERT},
    "base rambles": {"gains": GAIN, "answers": lambda run, n: {"finish": "length" if n < 19 else "stop"}},
    "truncated answers": {"gains": GAIN, "answers": lambda run, n: {"finish": "length" if n < 3 else "stop"}},
    "empty answers": {"gains": GAIN, "answers": lambda run, n: {"response": ""} if run == "mid" and n < 1 else {}},
    "length explosion": {"gains": GAIN, "answers": of("mid", tokens=14)},
    "answers shrank": {"gains": GAIN, "answers": of("mid", tokens=6)},
    "repetition": {
        "gains": {"mid": {"fluency": ALL, "repetition": (0.04,) * 40}}, "dimensions": ("fluency", "repetition"),
    },
    "KL explosion": {"gains": GAIN, "answers": lambda run, n: {"kl_to_base": None if run == "base" else 4.9}},
    "ceiling": {
        "gains": GAIN, "judge": LIKERT,
        "scores": lambda run, name, n, value: (5.0 if name == "coherence" and n < 30 else value, "ok"),
    },
    "missing scores": {
        "gains": GAIN, "scores": lambda run, name, n, value: (None, "undefined") if n < 20 else (value, "ok"),
    },
    "another model judged": {"gains": GAIN, "judge": answered_by(**{"j-2026-01-01": 80})},
}  # fmt: skip


def seen_in(folder: Path) -> dict[str, Signature]:
    records = read_study(folder)
    return {one.name: one for one in find_signatures(records, summarise(records))}


def studied(path: Path, gains: dict[str, Any], **changes: Any) -> Path:
    return answered_study(path, gains, **changes)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_signature_shows_where_its_pattern_is_and_not_just_short_of_it(tmp_path: Path, name: str) -> None:
    shown = seen_in(studied(tmp_path / "shown", **SHOWN[name]))
    assert name in shown
    assert all((shown[name].title, shown[name].seen, shown[name].cause, shown[name].check, shown[name].next))
    assert name not in seen_in(studied(tmp_path / "not", **JUST_NOT[name]))


def test_pairs_are_not_learnt_by_heart_while_the_loss_stands_where_it_began(tmp_path: Path) -> None:
    hardly = studied(
        tmp_path, **SHOWN["memorised pairs"] | {"steps": lambda run, at: {"accuracy": 1.0, "loss": 0.69}}
    )
    assert "memorised pairs" not in seen_in(hardly)


def test_a_sound_study_shows_none(tmp_path: Path) -> None:
    gains = {
        "full": {"fluency": ALL, "coherence": HALF},
        "mid": {"fluency": MOST},
        "base_again": {"fluency": HALF},
    }
    assert seen_in(studied(tmp_path, gains, pairs=ranked_right(0.8))) == {}


def test_a_study_without_records_shows_none(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: tiny\n")
    assert seen_in(tmp_path) == {}


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("name", CATALOGUE)
def test_the_next_command_is_one_that_the_command_line_takes(tmp_path: Path, name: str, listed: bool) -> None:
    folder = studied(tmp_path / "a study", **SHOWN[name], listed=listed)
    command = located(seen_in(folder)[name].next, str(folder))
    program, verb, *arguments = shlex.split(command)
    assert program == "stratalign"
    verbs: Any = typer.main.get_command(app)
    asked = verbs.commands[verb].make_context(verb, list(arguments)).params
    if verb == "list":
        return
    assert Path(asked["recipe"]) == folder / "recipe.yaml"
    before, after = load_recipe(folder / "recipe.yaml"), load_recipe(folder / "recipe.yaml", asked["changes"])
    assert (after == before) == (not asked["changes"])
    after.specs()
    for spec in after.specs():
        after.settings_of(spec)
    stays = {"conditions", "seeds"}
    changed = {key for key in type(after).model_fields if getattr(after, key) != getattr(before, key)}
    only_objective = changed == {"preferences"} and name == "ceiling"
    # A change that makes stored results stale needs a folder of its own.
    assert (asked["out"] is not None and Path(asked["out"]) == folder) == (changed <= stays or only_objective)


def test_a_higher_rate_is_offered_for_each_block_where_the_recipe_has_one_for_each(tmp_path: Path) -> None:
    rates = {"learning_rate": {"mid": 1e-5, "global": 2e-6}}
    folder = studied(tmp_path, **SHOWN["nothing moved"], training=rates)
    command = shlex.split(seen_in(folder)["nothing moved"].next)
    (change,) = [part for part in command if part.startswith("training.")]
    assert json.loads(change.partition("=")[2]) == {"mid": 1e-4, "global": 2e-5}


def test_nothing_moved_shows_on_a_loss_that_stays_where_dpo_begins(tmp_path: Path) -> None:
    flat = studied(tmp_path, steps=lambda run, at: {"loss": math.log(2)}, **SHOWN["nothing moved"])
    assert list(seen_in(flat)) == ["nothing moved"]


def test_results_hold_the_signatures_and_the_page_shows_them_with_the_study_named(tmp_path: Path) -> None:
    folder = studied(tmp_path / "mine", **SHOWN["truncated answers"])
    page = report([folder]).read_text()
    (found,) = json.loads((folder / "results.json").read_text())["signatures"]
    assert found["name"] == "truncated answers"
    assert found["seen"] == "Cut at 64 tokens: base 10.0 %; mid 10.0 %."
    wanted = "stratalign study {}/recipe.yaml --set generation.max_new_tokens=128 --out {}-longer"
    assert found["next"] == wanted.replace("{}", "{study}")
    assert wanted.replace("{}", "mine") in page
    assert "{study}" not in page


def test_hostile_text_in_a_signature_is_inert(tmp_path: Path) -> None:
    attack = "<script>alert(1)</script>"
    gains = {"mid": {"fluency": ALL, attack: LOST}}
    page = report([studied(tmp_path, gains, dimensions=("fluency", attack))]).read_text()
    assert "Known ways to go wrong" in page
    assert page.count("<script") == 2  # ours: the data, and the filters


@pytest.mark.parametrize(
    "written", [{"base": None, "a_tuned": None}, ["base", {"a_tuned": {"block": "mid"}}]]
)
def test_a_condition_that_is_offered_takes_nobodys_name_and_has_no_dot(written: Any) -> None:
    # A dot in a key path would lead into the condition.
    (key, value), *_ = with_condition({"conditions": written}, "a_tuned", {"block": "mid"}).items()
    assert (
        ("a_tuned_2" in key)
        if isinstance(written, dict)
        else (value[:2], [*value[2]]) == (written, ["a_tuned_2"])
    )
    (dotted,) = with_condition({"conditions": {"base": None}}, "mid-0.1_tuned", {})
    assert dotted == "conditions.mid-0_1_tuned"


def test_another_learning_rate_reaches_conditions_and_what_is_tuned():
    tuned = {"learning_rate": {"local": [1e-5, 2e-5], "global": 5e-6}, "by": "margin"}
    recipe = {
        "training": {"learning_rate": 1e-5},
        "conditions": {
            "base": None,
            "mid": {"learning_rate": 3e-5},
            "joint": {"tune": tuned},
            "full": {"rank": 8},
        },
        "tune": {"conditions": ["full"], "learning_rate": [5e-6, 1e-5]},
    }
    assert scaled_rate(recipe, 3) == {
        "training.learning_rate": 3e-5,
        "conditions.mid.learning_rate": 9e-5,
        "conditions.joint.tune.learning_rate": {"local": [3e-5, 6e-5], "global": 1.5e-5},
        "tune.learning_rate": [1.5e-5, 3e-5],
    }
    assert scaled_rate({"conditions": ["base", "mid"], "tune": None}, 0.5) == {"training.learning_rate": 5e-6}
