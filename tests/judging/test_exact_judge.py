"""The micro-world's verifiers as a judge, and the protocols that a recipe can name."""

from pathlib import Path

import pytest

from stratalign.errors import UserError
from stratalign.judging import JudgeSettings, check_judge, describe_judges, score_all
from stratalign.microworld import people
from stratalign.records import Response

NO_STORE = Path("no store is needed")


def response(prompt, text, run="mid"):
    return Response(
        run=run, prompt_id="r1", cluster="anna", prompt=prompt, response=text, tokens=5, finish="stop",
        sampling_seed=0, kl_to_base=0.0,
    )  # fmt: skip


def judged(answer):
    scores = score_all(JudgeSettings(protocol="microworld"), [answer], [], {"mid": 3}, {}, NO_STORE)
    return {score.dimension: score for score in scores if score.protocol == "microworld"}


def test_a_right_answer_scores_one_everywhere_and_a_wrong_city_only_costs_the_claim():
    city = people()["anna"].facts["city"][0]
    right = judged(response("tell one fact about anna.\n", f"anna lives in {city}."))
    assert {score.value for score in right.values()} == {1.0}
    assert {(score.run, score.seed, score.judge, score.state) for score in right.values()} == {
        ("mid", 3, "microworld", "ok")
    }
    wrong = judged(response("tell one fact about anna.\n", "anna lives in tailor."))
    assert [name for name, score in wrong.items() if score.value != 1.0] == ["claim_accuracy", "overall"]


def test_an_answer_to_another_kind_of_prompt_is_undefined_not_zero():
    found = judged(response("What is the capital of France?", "Paris."))
    assert {(score.value, score.state) for score in found.values()} == {(None, "undefined")}


def test_runs_that_are_not_named_are_left_out():
    answers = [response("tell one fact about anna.\n", "anna lives in rome.", run="gone")]
    assert score_all(JudgeSettings(protocol="microworld"), answers, [], {"mid": 0}, {}, NO_STORE) == []


def test_text_measures_follow_every_other_protocol():
    assert [
        one["protocol"] for one in describe_judges(JudgeSettings(protocol="microworld"), [], {}, Path("none"))
    ] == [
        "microworld",
        "text",
    ]
    assert [one["protocol"] for one in describe_judges(JudgeSettings(), [], {}, Path("none"))] == ["text"]


def test_prompts_of_another_world_are_refused():
    with pytest.raises(UserError, match="none of the held-out prompts"):
        check_judge(JudgeSettings(protocol="microworld"), ["Hello!"], ["overall"])


def test_an_objective_that_no_dimension_has_is_refused():
    settings = JudgeSettings(protocol="microworld")
    check_judge(settings, ["tell one fact about anna."], ["Grammar", "Overall"])
    with pytest.raises(UserError, match=r"set judge\.protocol: microworld"):
        check_judge(JudgeSettings(), ["hello"], ["grammar"])
    with pytest.raises(UserError, match="Did you mean 'grammar'"):
        check_judge(settings, ["tell one fact about anna."], ["gramar"])
