"""The answer of a study as a file and as the page's first box, on studies whose numbers are known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from answered_studies import ALL, FEW, HALF, MOST, NONE, answered_study
from fake_studies import score

from stratalign.records import (
    StudyFolder,
    read_json,
    read_scores,
    write_bytes,
    write_json,
    write_scores,
)
from stratalign.reporting import report


def answer_of(folder: Path) -> dict[str, Any]:
    report([folder])
    found: dict[str, Any] = json.loads(StudyFolder(folder).recommendation.read_text())
    return found


def negative(values: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-value for value in values)


ALL_CONTROLS = {
    "base_again": {"fluency": HALF, "coherence": HALF},
    "shuffled": {"fluency": HALF, "coherence": HALF},
}


def test_a_cheaper_condition_that_is_shown_to_be_as_good_is_recommended(tmp_path: Path) -> None:
    # full and mid are above base everywhere and equal to each other; mid has 4 of 12 layers. That mid loses a tenth of
    # the prompts to full is excluded: 40 clusters would all tie with probability 0.9^40 = 0.015, the p value.
    gains = {"full": {"fluency": ALL}, "mid": {"fluency": ALL}, "local": {"fluency": HALF}, **ALL_CONTROLS}
    found = answer_of(answered_study(tmp_path, gains))
    assert found["verdict"] == "train"
    assert found["train"] == {
        "condition": "mid", "layers": [4, 5, 6, 7], "modules": 8, "by_kind": {}, "targets": ["q_proj", "v_proj"],
        "rank": 16, "alpha": 32, "learning_rate": 1e-4, "schedule": None, "loss": "sigmoid", "beta": 0.1,
        "steps": 20, "phases": 1,
    }  # fmt: skip
    assert found["line"].startswith(
        "Train mid (layers 4–7, 8,192 parameters) at learning rate 0.0001: suffices for a net win rate of +1.00"
    )
    assert found["words"][0] == (
        "full has the largest gain; mid loses less than 0.10 of a net win rate to it (one-sided, Holm p 0.015), and is "
        "cheaper: by tax, then trained parameters, then the highest first layer."
    )
    assert found["rule"].startswith("Of the conditions that no other beats head to head")
    assert [one["condition"] for one in found["alternatives"]] == ["full", "local"]
    (gain,) = found["gain"]
    assert (gain["net_win_rate"], gain["mean_difference"], gain["outcome"]) == (1.0, 1.0, "better")
    assert found["parameters"] == 4 * 2048
    assert found["adapter_bytes"] == 4 * 4 * 2048
    assert found["share_of_model"] == pytest.approx(8192 / 1_234_567)
    assert found["kl_to_base"] == {"mid": {"mean": 0.5, "standard_error": 0.0, "n": 40}}
    assert found["adapters"] == ["adapters/mid"]


def test_single_modules_are_named_by_kind_and_layer(tmp_path: Path) -> None:
    study = StudyFolder(answered_study(tmp_path, {"mid": {"fluency": ALL}}))
    found = read_json(study.manifest)
    entry = found["runs"]["mid"]
    entry["modules"] = [one for one in entry["modules"] if "layers.6" not in one or "q_proj" not in one]
    write_json(study.manifest, found)
    write_json(study.adapters / "mid" / "adapter_config.json", {})
    answer = answer_of(tmp_path)
    assert answer["line"].startswith("Train mid (7 modules in layers 4–7, 8,192 parameters) at")
    said = "q_proj of layers 4–5 and 7; v_proj of layers 4–7"
    assert answer["words"][-1] == f"Its modules: {said}."
    assert answer["train"]["by_kind"] == {"q_proj": [4, 5, 7], "v_proj": [4, 5, 6, 7]}
    card = (study.adapters / "mid" / "README.md").read_text(encoding="utf-8")
    assert f"- modules: {said}\n" in card.replace("\\", "")


def test_all_layers_are_not_asked_whether_random_ones_would_do(tmp_path: Path) -> None:
    # Training every layer says nothing of which layers matter; training four of them does, with random ones beside it.
    of_all = answer_of(answered_study(tmp_path / "all", {"full": {"fluency": ALL}}))
    of_four = answer_of(answered_study(tmp_path / "four", {"mid": {"fluency": ALL}}))
    assert [of_all["train"]["condition"], of_four["train"]["condition"]] == ["full", "mid"]
    assert not any("andom layers" in sentence for sentence in of_all["words"])
    assert any("No random layers were judged beside it" in sentence for sentence in of_four["words"])


def test_of_blocks_of_one_size_the_highest_is_recommended(tmp_path: Path) -> None:
    found = answer_of(answered_study(tmp_path, {"local": {"fluency": ALL}, "global": {"fluency": ALL}}))
    assert found["train"]["condition"] == "global"
    assert "No null control was in the study" in " ".join(found["words"])


def test_a_condition_that_is_beaten_head_to_head_is_not_recommended(tmp_path: Path) -> None:
    # mid is above base by 1 everywhere, full by 2: full wins all 40 prompts against mid.
    found = answer_of(answered_study(tmp_path, {"full": {"fluency": (2,) * 40}, "mid": {"fluency": ALL}}))
    assert found["train"]["condition"] == "full"
    (other,) = found["alternatives"]
    assert (other["condition"], other["words"]) == (
        "mid",
        "does better than base, but loses to full head to head",
    )


def test_conditions_that_were_never_compared_are_not_said_to_be_alike(tmp_path: Path) -> None:
    # full was answered under seed 0 and mid under seed 1, so that no row has both; base's answers serve either.
    study = StudyFolder(answered_study(tmp_path, {"full": {"fluency": ALL}, "mid": {"fluency": ALL}}))
    rows = [replace(one, seed=int(one.run == "mid")) for one in read_scores(study.scores)]
    write_scores(study.scores, rows)
    found = answer_of(tmp_path)
    assert read_json(study.results)["pairs"] == []
    (other,) = found["alternatives"]
    assert (found["train"]["condition"], other["condition"]) == ("full", "mid")
    assert other["words"] == "does better than base and is cheaper; not shown to be as good as full"
    assert found["words"][0] == "mid is cheaper, and was not compared with full head to head."


def test_of_equals_one_that_pays_no_tax_comes_first(tmp_path: Path) -> None:
    gains = {"full": {"fluency": ALL}, "mid": {"fluency": ALL, "coherence": negative(ALL)}}
    found = answer_of(answered_study(tmp_path, gains))
    assert found["train"]["condition"] == "full"
    assert found["tax"]["pays"] == []


def test_the_tax_is_told_as_it_was_tested(tmp_path: Path) -> None:
    gains = {"mid": {"fluency": ALL, "coherence": negative(MOST), "safety": FEW}}
    names = ("fluency", "coherence", "safety")
    found = answer_of(answered_study(tmp_path, gains, dimensions=names))
    tax = found["tax"]
    assert [one["dimension"] for one in tax["pays"]] == ["coherence"]
    assert tax["pays"][0]["net_win_rate"] == -0.5
    # safety: +0.125, standard error sqrt((23/40 - 0.125^2) / 40) = 0.118; a loss of 0.10 is 1.9 of them away, p 0.03,
    # twice that after the correction for two claims.
    assert (tax["margin"], tax["no_larger"], tax["cannot_tell"]) == (0.1, [], ["safety"])
    # Two tests of the dimensions that are not meant to move: 2 x 0.0022 = 0.004.
    assert tax["words"] == (
        "pays on coherence (\u22120.50, Holm p 0.004); this sample cannot tell whether 0.10 or more is lost on safety"
    )
    assert "; pays on coherence" in found["line"]


@pytest.mark.parametrize("random", [ALL, HALF, None])
def test_one_random_draw_says_nothing_about_layers_in_general(
    tmp_path: Path, random: tuple[int, ...] | None
) -> None:
    gains = {"mid": {"fluency": ALL}} | ({"random": {"fluency": random}} if random else {})
    found = answer_of(answered_study(tmp_path, gains))
    assert (found["train"]["condition"], found["any_layers_would_do"]) == ("mid", None)
    assert "random layers" not in found["line"]
    said = " ".join(found["words"])
    assert ("whether these layers matter is not known" in said) == (random is None)
    few = "1 random draw was judged beside it: too few to say whether these layers matter or any as many would do"
    assert (few in said) == (random is not None)
    assert ("mid beats random (4 layers drawn at random, as many as mid)" in said) == (random is HALF)


@pytest.mark.parametrize(("last", "any_layers"), [(ALL, True), (HALF, False)])
def test_five_draws_say_whether_any_layers_would_do(
    tmp_path: Path, last: tuple[int, ...], any_layers: bool
) -> None:
    gains = {f"drawn-{n}": {"fluency": HALF} for n in range(1, 5)} | {"drawn-5": {"fluency": last}}
    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": ALL}, **gains}))
    assert (found["train"]["condition"], found["any_layers_would_do"]) == ("mid", any_layers)
    assert ("not shown to beat random layers" in found["line"]) == any_layers
    assert "too few to say" not in " ".join(found["words"])


def test_rankings_dealt_out_anew_are_draws_and_many_of_them_are_told_together(tmp_path: Path) -> None:
    # mid wins all 40 prompts; of three draws of its size two win half and lose half of them, the third ties with mid.
    gains = {"mid": {"fluency": ALL}, "drawn-1": {"fluency": HALF}, "drawn-2": {"fluency": HALF}}
    found = answer_of(answered_study(tmp_path, gains | {"drawn-3": {"fluency": ALL}}))
    assert (found["train"]["condition"], found["any_layers_would_do"]) == ("mid", None)
    who = "modules of the same kinds, drawn at random, about as many parameters as mid; drawn-1 to drawn-3"
    # By prompt the draws' mean outcome is 1 or -1/3, half of each: 1/3 over all, and mid's 1 is 2/3 above that.
    (held,) = found["held_against"]
    assert (held["condition"], held["outcome"]) == ("drawn-1 to drawn-3", "cannot tell")
    assert found["words"][0].startswith(
        f"mid beats not all, but the mean of 3 draws ({who}) on fluency (+0.67 ["
    )
    assert found["words"][0].endswith("Holm p <0.001; better than 2 of 3).")
    results = json.loads(StudyFolder(tmp_path).results.read_text())
    (beside,) = results["against_draws"]
    assert (beside["condition"], beside["beaten"], beside["n"]) == ("mid", 2, 40)
    assert beside["difference"] == pytest.approx(2 / 3)
    assert results["controls_in_words"] == [
        f"3 draws ({who}): net win rates of 0 to +1.00 against base on fluency, 1 of 3 better after correction; "
        "better than their mean: mid (+0.67, above 2 of 3)."
    ]
    assert len(results["conclusions"]["controls"]) == 3


def test_a_choice_is_held_against_draws_of_its_own_ranking(tmp_path: Path) -> None:
    # All train four layers. The draw of the other choice's ranking does as well as the choice: it is not its own.
    drawn = ["drawn-1", "drawn-2", "drawn-3"]
    gains = {"chosen": ALL, "other": HALF, **dict.fromkeys(drawn, HALF), "drawn-other": ALL}
    found = answer_of(answered_study(tmp_path, {name: {"fluency": gain} for name, gain in gains.items()}))
    (held,) = found["held_against"]
    assert (held["condition"], held["outcome"]) == ("drawn-1 to drawn-3", "better")
    assert (found["train"]["condition"], found["any_layers_would_do"]) == ("chosen", None)


def test_more_draws_take_no_power_from_candidates(tmp_path: Path) -> None:
    few = answered_study(tmp_path / "few", {"chosen": {"fluency": MOST}, "full": {"fluency": FEW}})
    drawn = {name: {"fluency": FEW} for name in ("random", "drawn-1", "drawn-2", "drawn-3", "drawn-other")}
    many = answered_study(tmp_path / "many", {"chosen": {"fluency": MOST}, "full": {"fluency": FEW}, **drawn})
    found = []
    for folder in (few, many):
        report([folder])
        results = json.loads(StudyFolder(folder).results.read_text())
        rows = {
            one["condition"]: one["p_holm"] for one in results["comparisons"] if one["dimension"] == "fluency"
        }
        (pair,) = [
            one for one in results["pairs"] if {one["condition"], one["against"]} == {"chosen", "full"}
        ]
        found.append((rows["chosen"], rows["full"], pair["p_holm"]))
    assert found[0] == found[1]


def test_draws_that_train_more_are_no_rivals(tmp_path: Path) -> None:
    # What twelve random layers do as well says nothing of which four layers matter.
    gains = {"full": {"fluency": HALF}, "mid": {"fluency": ALL}, "drawn-wide": {"fluency": ALL}}
    found = answer_of(answered_study(tmp_path, gains))
    assert found["any_layers_would_do"] is None
    assert [one["condition"] for one in found["held_against"]] == ["full"]


def test_a_cheaper_condition_that_is_not_shown_to_be_as_good_is_passed_over(tmp_path: Path) -> None:
    # Full wins all 40 prompts, mid ties with base on three, so that head to head it loses three and wins none: -0.075,
    # p = 2 / 2^3, not beaten. But a loss of a tenth is not excluded: binomial(40, 3/40) is 4 or more with p 0.35.
    gains = {"full": {"fluency": ALL}, "mid": {"fluency": (1,) * 37 + (0,) * 3}}
    found = answer_of(answered_study(tmp_path, gains))
    assert found["train"]["condition"] == "full"
    (mid,) = found["alternatives"]
    assert mid["words"] == "does better than base and is cheaper; not shown to be as good as full"
    # SE of -0.075: sqrt((3/40 - (3/40)^2) / 39) = 0.0422. To exclude 0.1 at a true -0.075 leaves room for 0.025: at 5 %
    # one-sided with 39 degrees of freedom 2.531 x 0.0422 = 0.107 is seen, so n = 40 x (0.107 / 0.025)^2, about 730.
    assert found["words"][0].startswith("mid is cheaper and may do as well (−0.07 [")
    assert (
        "on fluency against full); about 730 prompts would show a loss of less than the margin"
        in found["words"][0]
    )


def test_where_each_condition_is_beaten_by_another_nothing_is_recommended(tmp_path: Path) -> None:
    # Both gain on both dimensions; full wins every prompt against mid in fluency and loses every one in coherence.
    gains = {
        "full": {"fluency": (2,) * 40, "coherence": ALL},
        "mid": {"fluency": ALL, "coherence": (2,) * 40},
    }
    found = answer_of(answered_study(tmp_path, gains, objective=("fluency", "coherence")))
    assert (found["verdict"], found["train"], found["peft"], found["next"]) == ("cannot tell", None, None, [])
    assert found["line"] == "Cannot tell which condition to train on fluency and coherence."
    assert found["words"][:2] == [
        "full does better than base, but loses to mid head to head.",
        "mid does better than base, but loses to full head to head.",
    ]


def test_a_sure_gain_is_not_recommended_beside_a_larger_one_that_is_not_sure(tmp_path: Path) -> None:
    # Eight clusters of five prompts. mid wins one prompt of each, +0.2, p = 2 / 2^8. full wins all of seven clusters
    # and loses all of one, +0.75, p = 18 / 2^8 = 0.07: head to head neither beats the other.
    gains = {"full": {"fluency": (1,) * 35 + (-1,) * 5}, "mid": {"fluency": (1, 0, 0, 0, 0) * 8}}
    found = answer_of(answered_study(tmp_path, gains, clusters=8))
    assert (found["verdict"], found["line"]) == (
        "cannot tell",
        "Cannot tell which condition to train on fluency.",
    )
    assert found["words"][0].startswith("mid does better than base; full has a larger gain so far (+0.75 [")
    assert [one["words"] for one in found["alternatives"]] == [
        "cannot be told from base; its gain is the largest so far",
        "does better than base; not shown to be as good as full",
    ]


def test_the_prompts_that_would_show_it_are_those_that_every_requirement_takes(tmp_path: Path) -> None:
    # Of 40 prompts in ten clusters, mid and local each lose one to full: -0.025. The rate itself would take fewer than
    # 141 prompts, but a sample in which everything ties takes log(0.05 / 2) / log(0.9) = 35.01 clusters for two claims,
    # with four prompts each 140.05.
    gains = {
        "full": {"fluency": ALL},
        "mid": {"fluency": (1,) * 39 + (0,)},
        "local": {"fluency": (0,) + (1,) * 39},
    }
    found = answer_of(answered_study(tmp_path, gains, clusters=10))
    assert found["train"]["condition"] == "full"
    said = [one for one in found["words"] if "is cheaper and may do as well" in one]
    assert len(said) == 2
    assert all("prompts would show a loss of less than the margin" in one for one in said)
    assert all(int(re.findall(r"about ([\d,]+) prompts", one)[0].replace(",", "")) >= 141 for one in said)
    # Three of 40 prompts are lost by eight points: a mean difference of -0.6, and a rate of -0.075. On a scale of 30
    # points 0.75 are allowed, on one of 20 points 0.5, which the difference is beyond.
    far = {"full": {"fluency": (9,) * 40}, "mid": {"fluency": (9,) * 37 + (1,) * 3}}
    points = answer_of(answered_study(tmp_path / "points", far, judge={"scale": [-10, 20]}))
    assert points["train"]["condition"] == "full"
    assert "prompts would show" in points["words"][0]
    points = answer_of(answered_study(tmp_path / "narrow", far, judge={"scale": [-5, 15]}))
    assert points["words"][0].endswith("a loss of less than the margin is not shown.")


def test_a_condition_whose_proof_failed_beats_nobody(tmp_path: Path) -> None:
    folder = answered_study(tmp_path, {"full": {"fluency": (2,) * 40}, "mid": {"fluency": ALL}})
    study = StudyFolder(folder)
    record = read_json(study.manifest)
    record["runs"]["full"]["proof"] = {"proven": False, "checks": {"reload": {"holds": False, "detail": ""}}}
    write_json(study.manifest, record)
    found = answer_of(folder)
    assert (found["verdict"], found["train"]["condition"]) == ("train", "mid")


def test_no_more_is_said_to_be_detectable_than_there_is(tmp_path: Path) -> None:
    # Eight clusters, half of which win and half lose: SE sqrt(1 / 7) = 0.38, of which even one test takes 3.3.
    gains = {"mid": {"fluency": ((1,) * 5 + (-1,) * 5) * 4}}
    found = answer_of(answered_study(tmp_path, gains, clusters=8))
    words = " ".join(one["words"] for one in found["reach"]["questions"])
    assert "40 prompts see no net win rate surely" in words
    assert "of about 1." not in words


def test_the_gain_of_the_one_that_was_picked_has_an_interval_for_that(tmp_path: Path) -> None:
    # mid: 30 wins, 10 losses: 0.5, SE sqrt(0.75 / 39). Two candidates: t(1 - 0.05 / 4, 39) = 2.331 (scipy.stats.t).
    gains = {"mid": {"fluency": MOST}, "local": {"fluency": HALF}}
    found = answer_of(answered_study(tmp_path, gains))
    (gain,) = found["gain"]
    half = 2.3313 * (0.75 / 39) ** 0.5
    assert gain["selected_low"] == pytest.approx(0.5 - half, abs=1e-3)
    assert gain["selected_high"] == pytest.approx(0.5 + half, abs=1e-3)
    assert gain["selected_low"] < gain["low"]
    assert "Picked among 2 candidates" in " ".join(found["words"])
    alone = answer_of(answered_study(tmp_path / "alone", {"mid": {"fluency": MOST}}))
    assert alone["gain"][0]["selected_low"] is None
    assert "Picked among" not in " ".join(alone["words"])


def test_controls_are_never_recommended(tmp_path: Path) -> None:
    gains = {"mid": {"fluency": HALF}, "random": {"fluency": ALL}, "thin": {"fluency": ALL}}
    found = answer_of(answered_study(tmp_path, gains))
    assert found["verdict"] == "cannot tell"
    assert [one["condition"] for one in found["alternatives"]] == ["mid"]


@pytest.mark.parametrize(("prompts", "verdict"), [(24, "cannot tell"), (40, "nothing")])
def test_few_prompts_that_all_tie_do_not_say_that_base_is_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompts: int, verdict: str
) -> None:
    # If one prompt in ten gained, all of 24 would tie with probability 0.9^24 = 0.08, all of 40 with 0.015.
    monkeypatch.setattr("answered_studies.PROMPTS", prompts)
    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": (0,) * prompts}}))
    assert found["verdict"] == verdict


def test_what_cannot_be_told_says_how_many_prompts_would(tmp_path: Path) -> None:
    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": FEW}}))
    assert (found["verdict"], found["train"], found["peft"]) == ("cannot tell", None, None)
    # Effect 0.125, standard error sqrt((23/40 - 1/64) / 39) = 0.1197, one test at 0.05 two-sided. Noncentral t with 39
    # degrees of freedom: 2.873 standard errors, so n = 40 x (2.873 x 0.1197 / 0.125)^2 = 304.
    assert found["prompts_needed"] == pytest.approx(304, rel=0.01)
    about = int(found["next"][0].split("preferences.held_out=")[1].split()[0])
    assert about % 10 == 0
    assert 0 <= about - found["prompts_needed"] < 10
    assert f"about {about} prompts would (mid +0.12 so far, with 40)" in found["line"]


def test_more_prompts_than_the_source_has_are_no_command(tmp_path: Path) -> None:
    folder = answered_study(tmp_path, {"mid": {"fluency": FEW}})
    record = read_json(StudyFolder(folder).preferences)
    write_json(StudyFolder(folder).preferences, record | {"rows": {"read": 60, "kept": 60, "bad": 0}})
    found = answer_of(folder)
    assert found["prompts_needed"] > 60
    assert found["next"] == []
    assert found["words"][-1] == "The source has 60 usable rows, so that takes more data."


def test_without_any_gain_so_far_no_number_of_prompts_is_invented(tmp_path: Path) -> None:
    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": negative(FEW)}}))
    assert (found["verdict"], found["prompts_needed"]) == ("cannot tell", None)
    assert "no condition is above base so far (mid −0.12 with 40 prompts)" in found["line"]


@pytest.mark.parametrize("loss", [ALL, MOST])
def test_where_base_is_better_nothing_is_recommended(tmp_path: Path, loss: tuple[int, ...]) -> None:
    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": negative(loss)}}))
    assert found["verdict"] == "nothing"
    assert found["line"] == "Nothing to recommend: base is as good or better on fluency."
    assert "mid does worse than base on fluency" in found["words"][0]


def test_where_everything_ties_nothing_is_recommended(tmp_path: Path) -> None:
    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": NONE}}))
    assert found["verdict"] == "nothing"
    assert found["words"][0] == "Every prompt ties with base: nothing moved."


def test_where_base_differs_from_itself_nobody_should_train(tmp_path: Path) -> None:
    gains = {"mid": {"fluency": ALL}, "base_again": {"coherence": MOST}}
    found = answer_of(answered_study(tmp_path, gains))
    assert (found["verdict"], found["train"]) == ("controls fail", None)
    assert found["line"] == "Do not train on this evidence: the controls fail."
    assert "base_again (the base, sampled anew) moves coherence" in found["words"][0]


def test_where_shuffled_labels_do_as_well_nobody_should_train(tmp_path: Path) -> None:
    gains = {"mid": {"fluency": MOST}, "shuffled": {"fluency": MOST}}
    assert answer_of(answered_study(tmp_path / "equal", gains))["verdict"] == "controls fail"
    # All 40 against 30 of 40: the interval of +0.5 ends at about +0.77, below +1.
    clear = answer_of(answered_study(tmp_path / "clear", gains | {"mid": {"fluency": ALL}}))
    assert clear["verdict"] == "train"
    assert "Part of the gain on fluency comes from training alone: shuffled has +0.50" in " ".join(
        clear["words"]
    )


def test_an_unfinished_study_has_no_answer_and_says_what_is_behind(tmp_path: Path) -> None:
    folder = answered_study(tmp_path, {"mid": {"fluency": ALL}})
    rows = [score(run, n, 1.0) for run, count in (("base", 40), ("mid", 30)) for n in range(count)]
    write_scores(StudyFolder(folder).scores, [replace(one, judge="j", protocol="p") for one in rows])
    found = answer_of(folder)
    assert (found["verdict"], found["line"]) == ("unfinished", "Unfinished: no answer yet.")
    assert "mid has 30 of 40 judged answers." in found["words"]
    assert found["next"] == ["stratalign study {study}/recipe.yaml --out {study}"]
    StudyFolder(folder).scores.unlink()
    assert answer_of(folder)["words"] == ["No answer yet: no answers have been judged yet."]


def test_what_is_decided_needs_no_more_prompts_than_it_took(tmp_path: Path) -> None:
    # 14 wins, 4 losses: +0.25, standard error sqrt((18/40 - 0.25^2) / 39) = 0.0997; four studies of five would find
    # 2.873 x 0.0997 = 0.286, for which 0.25 would need 53 prompts. It is decided with 40: p 0.03.
    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": (1,) * 14 + (-1,) * 4 + (0,) * 22}}))
    (asked,) = found["reach"]["questions"]
    assert asked["detectable"] == pytest.approx(0.286, rel=0.01)
    assert (asked["sure"], asked["needed"], found["verdict"]) == (True, 40, "train")
    assert asked["words"] == (
        "mid against base on fluency: the observed +0.25 is decided; 40 new prompts would find a net win rate of about "
        f"{asked['detectable']:.2f} or more (80 % power)."
    )


def test_a_pilot_says_whether_the_full_study_could_decide(tmp_path: Path) -> None:
    folder = answered_study(tmp_path, {"mid": {"fluency": FEW}}, preferences={"held_out": 160})
    found = answer_of(folder)["reach"]
    assert (found["pilot"], found["full"]) == (True, 1000)
    (against_base,) = found["questions"]
    # 2.873 x 0.1197 = 0.344 with 40 prompts, half of that with 160, a fifth with 1,000; 0.125 lies between.
    assert against_base["detectable"] == pytest.approx(0.344, rel=0.01)
    recipe, paper = against_base["larger"]
    assert (recipe["prompts"], paper["prompts"]) == (160, 1000)
    assert recipe["detectable"] == pytest.approx(0.172, rel=0.01)
    assert paper["detectable"] == pytest.approx(0.0688, rel=0.01)
    assert (recipe["decided"], paper["decided"]) == (False, True)
    text = page_text(folder)
    assert "This is a pilot" in text
    assert (
        "the study as the recipe has it (160 prompts) could see 0.17, and the observed +0.12 would not be decided"
        in text
    )
    assert (
        "a study of the paper's size (1,000 prompts) could see 0.07, and the observed +0.12 would be decided"
        in text
    )


def test_the_config_to_paste_makes_the_adapter_that_was_trained(tmp_path: Path) -> None:
    from peft import LoraConfig

    found = answer_of(answered_study(tmp_path, {"mid": {"fluency": ALL}}))["peft"]
    made: dict[str, Any] = {}
    exec(found["python"], made)
    config = made["config"]
    assert isinstance(config, LoraConfig)
    modules = [f"model.layers.{n}.self_attn.{kind}" for n in (4, 5, 6, 7) for kind in ("q_proj", "v_proj")]
    assert config.target_modules == set(modules)
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (16, 32, 0.0, "none")
    stored = dict(found["adapter_config"])
    assert stored.pop("peft_type") == "LORA"
    assert LoraConfig(**stored).to_dict() == config.to_dict()


def test_the_file_knows_nothing_of_time_and_place_and_the_box_shows_seconds(tmp_path: Path) -> None:
    here, there = (answered_study(tmp_path / name, {"mid": {"fluency": ALL}}) for name in ("here", "there"))
    write_json(StudyFolder(there).timings, {"runs": {"mid": {"own_seconds": 7.0}}, "host": "elsewhere"})
    assert "60.0 s of its own training here" not in page_text(there)
    assert "7.00 s of its own training here" in page_text(there)
    assert "1 min 00 s of its own training here; about 1 min 30 s if trained alone (estimated)" in page_text(
        here
    )
    first, second = (StudyFolder(one).recommendation.read_bytes() for one in (here, there))
    assert first == second
    assert str(tmp_path).encode() not in first
    assert b"seconds" not in first


def test_each_of_several_studies_has_its_answer(tmp_path: Path) -> None:
    one = answered_study(tmp_path / "one", {"mid": {"fluency": ALL}})
    two = answered_study(tmp_path / "two", {"mid": {"fluency": FEW}})
    page = report([one, two])
    assert [json.loads((folder / "recommendation.json").read_text())["verdict"] for folder in (one, two)] == [
        "train",
        "cannot tell",
    ]
    assert page.read_text().count('class="answer-box') == 2


def test_a_condition_whose_proof_failed_is_not_recommended(tmp_path: Path) -> None:
    folder = answered_study(tmp_path, {"mid": {"fluency": ALL}, "full": {"fluency": ALL}})
    found = json.loads(StudyFolder(folder).manifest.read_text())
    found["runs"]["mid"]["proof"]["proven"] = False
    write_json(StudyFolder(folder).manifest, found)
    assert answer_of(folder)["train"]["condition"] == "full"


def test_a_condition_whose_adapter_changed_is_not_recommended_and_one_that_cannot_be_told_is(
    tmp_path: Path,
) -> None:
    folder = answered_study(tmp_path, {"mid": {"fluency": ALL}, "full": {"fluency": ALL}})
    study = StudyFolder(folder)
    found = json.loads(study.manifest.read_text())
    found["runs"]["mid"]["proof"] = {"proven": False, "checks": {"reproduced": {"holds": None, "detail": ""}}}
    found["runs"]["mid"]["trained"] = {"adapter_sha256": sha256(b"trained").hexdigest(), "witnessed": {}}
    write_json(study.manifest, found)
    assert answer_of(folder)["train"]["condition"] == "mid"
    write_bytes(study.adapters / "mid" / "adapter_model.safetensors", b"another")
    assert answer_of(folder)["train"]["condition"] == "full"


def test_hostile_names_are_inert_in_the_box(tmp_path: Path) -> None:
    attack = "</pre><script>alert(1)</script>"
    folder = answered_study(tmp_path, {"mid": {attack: ALL}}, dimensions=(attack,), objective=(attack,))
    found = json.loads(StudyFolder(folder).manifest.read_text())
    found["runs"]["mid"]["modules"] = [attack]
    write_json(StudyFolder(folder).manifest, found)
    page = report([folder]).read_text()
    assert page.count("<script") == 2  # ours: the data, and the filters
    assert page.count("&lt;script&gt;alert(1)") > 3


def test_a_study_that_has_grown_smaller_is_finished(tmp_path: Path) -> None:
    gains = {"mid": {"fluency": ALL}, "full": {"fluency": ALL}}
    large, small = (
        answered_study(tmp_path / "large", gains),
        answered_study(tmp_path / "small", {"mid": gains["mid"]}),
    )
    folder = StudyFolder(large)
    # What the pipeline does when the recipe loses a condition: a new recipe and new scores; all else stays.
    folder.recipe.write_bytes(StudyFolder(small).recipe.read_bytes())
    folder.scores.write_bytes(StudyFolder(small).scores.read_bytes())
    found = answer_of(large)
    assert found["verdict"] == "train"
    assert json.loads(folder.results.read_text())["missing"] == []
    report([small])
    assert folder.results.read_bytes() == StudyFolder(small).results.read_bytes()


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data


def page_text(folder: Path) -> str:
    parser = _Text()
    parser.feed(report([folder]).read_text())
    return " ".join(parser.text.split())
