"""Measures without a judge, by hand."""

import pytest

from stratalign.errors import UserError
from stratalign.judging import (
    ANSWER_MEASURES,
    DEMONSTRATION_MEASURES,
    PAIR_MEASURES,
    JudgeSettings,
    judged_dimensions,
    score_text,
)
from stratalign.judging.text import Answer, Pair
from stratalign.records import LogProbRecord, Response


def measure(name, text, prompt="", tokens=7, kl=None):
    return ANSWER_MEASURES[name][1](Answer(prompt, text, tokens, kl))


def test_repetition_is_the_share_of_four_grams_seen_before():
    # "a b c d a b c d": 5 four-grams (abcd bcda cdab dabc abcd), one repeats
    assert measure("repetition", "a b c d a b c d") == pytest.approx(1 / 5)
    assert measure("repetition", "all of these words differ") == 0
    assert measure("repetition", "too short here") is None


def test_distinct_counts_words_and_pairs_without_case():
    # "The cat the cat": words the cat the cat (2 of 4), pairs the-cat cat-the the-cat (2 of 3)
    assert measure("distinct_1", "The cat, the cat.") == pytest.approx(2 / 4)
    assert measure("distinct_2", "The cat, the cat.") == pytest.approx(2 / 3)
    assert measure("distinct_1", " ") is None


def test_copy_rate_is_the_share_of_three_grams_from_the_prompt():
    prompt = "how do I bake bread at home"
    # "do i bake bread now": (do i bake) and (i bake bread) stand in the prompt, (bake bread now) does not
    assert measure("copy_rate", "Do I bake bread now?", prompt) == pytest.approx(2 / 3)
    assert measure("copy_rate", prompt, prompt) == 1
    assert measure("copy_rate", "no such words", prompt) == 0


def test_length_and_divergence_are_what_was_recorded():
    assert measure("length", "x", tokens=12) == 12
    assert measure("kl_to_base", "x", kl=1.5) == 1.5
    assert measure("kl_to_base", "", kl=None) is None


def test_pair_measures_compare_chosen_with_rejected():
    # log-ratios: chosen -8 + 10 = 2, rejected -9 + 8 = -1; margin 3 nats; the run itself prefers chosen
    pair = Pair(chosen=-8, rejected=-9, base_chosen=-10, base_rejected=-8)
    assert {name: function(pair) for name, (_, function) in PAIR_MEASURES.items()} == {
        "preference_accuracy": 1.0,
        "reward_accuracy": 1.0,
        "margin": 3.0,
    }
    base = Pair(-10, -8, -10, -8)
    assert {name: function(base) for name, (_, function) in PAIR_MEASURES.items()} == {
        "preference_accuracy": 0.0,
        "reward_accuracy": 0.5,
        "margin": 0.0,
    }


def test_scores_are_one_row_for_each_run_prompt_and_dimension_and_undefined_is_said():
    responses = [
        Response("mid", "r1", "c1", "p", "", 0, "stop", 0, None),
        Response("gone", "r1", "c1", "p", "x", 1, "stop", 0, 0.0),
    ]
    pairs = [LogProbRecord("mid", "r1", "c1", -1.0, -2.0, -1.0, -2.0, 3, 3)]
    scores = score_text(responses, pairs, {"mid": 5})
    assert len(scores) == len(ANSWER_MEASURES) + len(
        PAIR_MEASURES
    )  # the run that is not asked for is left out
    by_name = {score.dimension: score for score in scores}
    assert (by_name["length"].value, by_name["length"].state) == (0, "ok")
    assert (by_name["repetition"].value, by_name["repetition"].state) == (None, "undefined")
    assert {score.seed for score in scores} == {5}


@pytest.mark.parametrize("name", [*ANSWER_MEASURES, *PAIR_MEASURES, *DEMONSTRATION_MEASURES])
def test_every_measure_tells_its_unit_meaning_and_direction(name):
    dimension = (ANSWER_MEASURES | PAIR_MEASURES | DEMONSTRATION_MEASURES)[name][0]
    assert dimension.name == name
    assert dimension.unit
    assert dimension.about
    assert dimension.better in ("higher", "lower", None)


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"Unknown judging protocol 'texts'\. Did you mean 'text'"):
        judged_dimensions(JudgeSettings(protocol="texts"))


def test_a_demonstration_has_its_likelihood_and_no_preference_to_be_right_about():
    record = LogProbRecord("mid", "r1", "c1", -6.0, None, -8.0, None, 4, None)
    (score,) = score_text([], [record], {"mid": 0})
    assert (score.dimension, score.value, score.state) == ("log_probability", -1.5, "ok")  # -6 nats, 4 tokens
