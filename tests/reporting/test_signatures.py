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
from stratalign.reporting.answer.commands import located, scaled_rate, with_conditions
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
    return {"kind": "judge", "scale": [1, 5], "model": "j", "answered": answered}


def as_base(run: str, n: int) -> dict[str, Any]:
    return {"response": f"The same answer to question {n}."}


SHOWN: dict[str, dict[str, Any]] = {
    "base differs from base": {"gains": GAIN | {"base_again": {"coherence": MOST}}},
    "shuffled labels win": {"gains": {"mid": {"fluency": MOST}, "shuffled": {"fluency": MOST}}},
    "base empty": {"gains": GAIN, "answers": lambda run, n: {"response": " ", "tokens": 0} if n < 2 else {}},
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
    "base empty": {"gains": GAIN, "answers": lambda run, n: {"response": ""} if n < 1 else {}},
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


TEXTS = {"kinds": {"text": 500}}
MESSAGES = {"kinds": {"messages": 500}}


def rendered(used: str, available: bool = True) -> dict[str, Any]:
    return {"template": {"used": used, "available": available, "rendered_by": None}}


def half_empty(run: str, n: int) -> dict[str, Any]:
    return {"response": "", "tokens": 0} if n % 2 else {}


def all_cut(run: str, n: int) -> dict[str, Any]:
    return {"finish": "length", "tokens": 64}


@pytest.mark.parametrize(
    ("base_share", "blamed"), [(0, "empty answers"), (9, "empty answers"), (10, "base empty")]
)
def test_empty_answers_are_put_down_to_training_only_where_the_base_has_clearly_fewer(
    tmp_path: Path, base_share: int, blamed: str
) -> None:
    # 20 of 40 answers of mid are empty; 10 of base's are half as many, 9 are fewer.
    counts = {"base": base_share, "mid": 20}
    answers = lambda run, n: {"response": "", "tokens": 0} if n < counts[run] else {}  # noqa: E731
    seen = seen_in(studied(tmp_path, GAIN, answers=answers))
    assert ("empty answers" in seen) == (blamed == "empty answers")
    assert ("base empty" in seen) == (base_share >= 2)
    if blamed == "base empty":
        assert "Empty: base 25.0 %; mid 50.0 %." in seen["base empty"].seen
        assert "learning_rate" not in "".join(one.next for one in seen.values())


@pytest.mark.parametrize("answers", [half_empty, all_cut])
def test_a_base_that_is_asked_without_its_template_is_sent_to_it(tmp_path: Path, answers: Any) -> None:
    (found,) = seen_in(studied(tmp_path, GAIN, answers=answers, account=TEXTS | rendered("raw"))).values()
    assert found.next.endswith("--set preferences.template=chat --out {study}-template")
    assert "preferences.template: raw" in found.cause


@pytest.mark.parametrize("answers", [half_empty, all_cut])
@pytest.mark.parametrize(
    "account",
    [
        MESSAGES,
        MESSAGES | rendered("raw"),
        TEXTS | rendered("chat"),
        TEXTS | rendered("raw", available=False),
    ],
)
def test_nobody_is_sent_to_a_template_that_is_used_already_or_is_not_there(
    tmp_path: Path, answers: Any, account: Any
) -> None:
    (found,) = seen_in(studied(tmp_path, GAIN, answers=answers, account=account)).values()
    assert found.name in ("base empty", "base rambles")
    assert "preferences.template" not in found.next + found.cause


def test_answers_that_go_on_with_another_turn_are_ended_there(tmp_path: Path) -> None:
    # Of four answers three go on with another turn.
    going_on = lambda run, n: {  # noqa: E731
        "finish": "length", "response": f"{run}.\nuser\nWho wrote Hamlet?" if n % 4 else f"{run} is"
    }  # fmt: skip
    account = MESSAGES | rendered("chat")
    (found,) = seen_in(
        studied(tmp_path, GAIN, answers=going_on, account=account, generation={"stop": ["END"]})
    ).values()
    assert "75.0 % of these answers go on with another turn" in found.cause
    (change,) = [part for part in shlex.split(found.next) if part.startswith("generation.")]
    assert json.loads(change.partition("=")[2]) == ["END", "\nuser\n"]


def test_a_limit_below_the_chosen_responses_is_named_and_raised_beyond_them(tmp_path: Path) -> None:
    # 64 tokens are fewer than 1.5 times 100; 64, 128, 256: the first that is enough for 150.
    long = lambda run, n: {"tokens_chosen": 100, "tokens_rejected": 100}  # noqa: E731
    (found,) = seen_in(studied(tmp_path, GAIN, answers=all_cut, pairs=long)).values()
    assert "held-out chosen responses have 100 tokens on average" in found.cause
    assert "generation.max_new_tokens=256" in found.next


def test_lengths_and_likeness_are_read_where_the_base_answers(tmp_path: Path) -> None:
    # Over all prompts mid would be twice as long as base, and equal on the half where both say nothing.
    base_silent = lambda run, n: {"response": "", "tokens": 0} if run == "base" and n % 2 else {}  # noqa: E731
    assert "length explosion" not in seen_in(studied(tmp_path / "length", GAIN, answers=base_silent))
    nearly = lambda run, n: {"response": "", "tokens": 0} if n >= 7 else as_base(run, n)  # noqa: E731
    assert "nothing moved" not in seen_in(
        studied(tmp_path / "equal", {"mid": {"fluency": NONE}}, answers=nearly)
    )


def test_a_base_that_repeats_itself_is_not_put_down_to_training(tmp_path: Path) -> None:
    # Of word 4-grams 0.2 repeat in base's answers and 0.3 in mid's; 0.05 and 0.15 where training is to blame.
    gains = {"mid": {"fluency": ALL, "repetition": (0.1,) * 40}}
    for base, blamed in ((0.2, False), (0.05, True)):
        repeated = {"base": base, "mid": base + 0.1}
        scores = lambda run, name, n, value, repeated=repeated: (  # noqa: E731
            repeated[run] if name == "repetition" else value, "ok"
        )  # fmt: skip
        seen = seen_in(
            studied(tmp_path / str(base), gains, dimensions=("fluency", "repetition"), scores=scores)
        )
        assert ("learning_rate" in seen["repetition"].next) == blamed
        assert ("the base already repeats itself" in seen["repetition"].cause) != blamed


@pytest.mark.parametrize(("base", "lower"), [(4.0, True), (2.0, False)])
def test_scores_below_the_anchor_are_put_down_to_training_only_where_the_base_is_not_below_it(
    tmp_path: Path, base: float, lower: bool
) -> None:
    means = {"base": base, "mid": 2.0}
    scores = lambda run, name, n, value: (means[run] + n % 2 / 10, "ok")  # noqa: E731
    found = seen_in(studied(tmp_path, {"mid": {"fluency": NONE}}, judge=LIKERT, scores=scores))[
        "below the anchor"
    ]
    assert ("learning_rate" in found.next) == lower
    assert ("base 4.05 on fluency" in found.seen) == lower  # half of the answers have a tenth more
    assert ("not due to training" in found.cause) != lower


def rates_in(command: str) -> dict[str, Any]:
    """Key path -> value of every change that a command makes to a learning rate."""
    changes = [part.partition("=")[::2] for part in shlex.split(command) if "=" in part]
    return {key: json.loads(value) for key, value in changes if "learning_rate" in key + value}


RISING = {"steps": lambda run, at: {"loss": 0.69 + at / 100}}


def test_a_guess_at_a_higher_rate_gives_way_to_a_loss_that_rose(tmp_path: Path) -> None:
    seen = seen_in(studied(tmp_path, {"mid": {"fluency": FEW}}, pairs=ranked_right(0.9), **RISING))
    risen, reward = seen["loss did not fall"], seen["reward up, answers not"]
    assert rates_in(risen.next) == {"training.learning_rate": 2e-5}
    assert reward.next == risen.next
    assert "too small" not in reward.cause
    assert "“The training loss rose” speaks against training that changes the model more." in reward.cause


def test_opposite_advice_that_was_seen_both_times_becomes_one_command_that_tries_both(tmp_path: Path) -> None:
    folder = studied(tmp_path, {"mid": {"fluency": NONE}}, answers=as_base, **RISING)
    seen = seen_in(folder)
    moved, risen = seen["nothing moved"], seen["loss did not fall"]
    assert (moved.next, moved.cause) == (risen.next, risen.cause)
    assert "This study cannot tell which is right" in moved.cause
    # The recipe's rate is 1e-4: 0.3 and 3 times that.
    wanted = {"block": "mid", "learning_rate": [3e-5, 3e-4]}
    assert rates_in(moved.next) == {"conditions.mid_less_or_more": wanted}
    changes = [part for part in shlex.split(moved.next) if part.startswith("conditions.")]
    names = [spec.name for spec in load_recipe(folder / "recipe.yaml", changes).specs()]
    assert names == ["base", "mid", "mid_less_or_more-3e-05", "mid_less_or_more-0.0003"]


def test_opposite_advice_for_different_conditions_is_given_for_each_alone(tmp_path: Path) -> None:
    gains = {"full": {"fluency": ALL}, "mid": {"fluency": FEW}}
    steps = lambda run, at: {"loss": 0.69 + at / 100} if run == "full" else {}  # noqa: E731
    pairs = lambda run, n: ranked_right(0.9)(run, n) if run == "mid" else {}  # noqa: E731
    seen = seen_in(studied(tmp_path, gains, steps=steps, pairs=pairs))
    lower = {"conditions.full_less": {"block": "full", "learning_rate": 3e-5}}
    higher = {"conditions.mid_more": {"block": "mid", "learning_rate": 3e-4}}
    assert rates_in(seen["loss did not fall"].next) == lower
    assert rates_in(seen["reward up, answers not"].next) == higher


def test_a_guess_gives_way_to_a_base_whose_own_answers_are_empty(tmp_path: Path) -> None:
    seen = seen_in(
        studied(
            tmp_path,
            {"mid": {"fluency": FEW}},
            pairs=ranked_right(0.9),
            answers=half_empty,
            account=TEXTS | rendered("raw"),
        )
    )
    assert list(seen) == ["base empty", "reward up, answers not"]
    assert seen["reward up, answers not"].next == seen["base empty"].next
    assert "First look at the base" in seen["reward up, answers not"].cause


@pytest.mark.parametrize("higher", ["nothing moved", "reward up, answers not", "late layers insufficient"])
@pytest.mark.parametrize(
    "lower",
    ["loss did not fall", "memorised pairs", "alignment tax", "below the anchor", "empty answers", "answers shrank",
     "repetition", "KL explosion"],
)  # fmt: skip
def test_no_study_is_sent_to_a_higher_and_to_a_lower_rate(tmp_path: Path, higher: str, lower: str) -> None:
    both = {**SHOWN[lower], **SHOWN[higher], "gains": SHOWN[higher]["gains"] | SHOWN[lower]["gains"]}
    found = seen_in(studied(tmp_path, **both)).values()
    rates = [rate for one in found if (rate := rates_in(one.next).get("training.learning_rate"))]
    assert not (min(rates, default=1e-4) < 1e-4 < max(rates, default=1e-4))


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
    (key, value), *_ = with_conditions({"conditions": written}, {"a_tuned": {"block": "mid"}}).items()
    assert (
        ("a_tuned_2" in key)
        if isinstance(written, dict)
        else (value[:2], [*value[2]]) == (written, ["a_tuned_2"])
    )
    (dotted,) = with_conditions({"conditions": {"base": None}}, {"mid-0.1_tuned": {}})
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
