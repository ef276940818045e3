"""A study whose answers nothing has judged: no verdict, whatever the text measures say, and how to get one."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from answered_studies import PROMPTS, answered_study

from stratalign.judging import JudgeSettings
from stratalign.judging.scoring import describe_judges, score_text
from stratalign.recipe import load_recipe
from stratalign.records import (
    LogProbRecord,
    Response,
    Score,
    StudyFolder,
    append_jsonl,
    read_json,
    read_jsonl,
    write_json,
    write_scores,
)
from stratalign.reporting import read_study, report, summarise
from stratalign.reporting.results import Results

ALL_RIGHT = {"full": PROMPTS, "mid": PROMPTS, "local": PROMPTS // 2}
"""How many of the forty held-out pairs each ranks right; 20 of 40 are a coin's toss."""
MARGINS: Mapping[str, float] = {}


def measured_study(
    folder: Path,
    right: Mapping[str, int] = ALL_RIGHT,
    margins: Mapping[str, float] = MARGINS,
    answers: Callable[[str, int], Mapping[str, Any]] = lambda run, n: {},
    objective: Sequence[str] = ("Overall",),
) -> Path:
    """A finished study that only the text measures have scored. A pair's margin is `margins` (by default 1 nat) where
    it is ranked right, and as much below 0 elsewhere."""

    def pair(run: str, n: int) -> dict[str, float]:
        size = margins.get(run, 1.0)
        return {"chosen": -40.0 + (size if n < right[run] else -size)}

    answered_study(
        folder, {name: {} for name in right}, objective=objective, dimensions=(), pairs=pair, answers=answers
    )
    study = StudyFolder(folder)
    base = [LogProbRecord("base", f"p{n}", f"c{n}", -40, -40, -40, -40, 20, 20) for n in range(PROMPTS)]
    append_jsonl(study.logprobs, base)
    seeds = dict.fromkeys(("base", *right), 0)
    responses = [Response(**row) for row in read_jsonl(study.responses)]
    logprobs = [LogProbRecord(**row) for row in read_jsonl(study.logprobs)]
    write_scores(study.scores, score_text(responses, logprobs, seeds))
    entries = describe_judges(JudgeSettings(), responses, {}, folder)
    write_json(study.judges, {"schema": 1, "judges": entries})
    return folder


def answer_of(folder: Path) -> dict[str, Any]:
    report([folder])
    found: dict[str, Any] = read_json(StudyFolder(folder).recommendation)
    return found


def results_of(folder: Path) -> Results:
    return summarise(read_study(folder))


def text_of(page: Path) -> str:
    """What the page says of its study, without the part that explains how to read any page."""
    found = re.sub(r"(?s)<(style|script).*?</\1>|<svg.*?</svg>", "", page.read_text())
    return html.unescape(re.sub(r"<[^>]+>", " ", found.partition('<section id="reading"')[0]))


def test_a_study_without_a_judge_has_no_verdict_and_recommends_nothing(tmp_path: Path) -> None:
    found = answer_of(measured_study(tmp_path))
    assert found["verdict"] == "no judge"
    assert found["line"] == (
        "No verdict: the answers have not been judged. Training took hold for full and mid."
    )
    assert (found["train"], found["peft"], found["tax"], found["any_layers_would_do"]) == (None,) * 4
    assert (found["gain"], found["alternatives"], found["held_against"], found["adapters"]) == (
        [],
        [],
        [],
        [],
    )
    assert found["reach"]["questions"] == []


@pytest.mark.parametrize("objective", [("margin",), ("reward_accuracy", "length")])
def test_an_objective_that_names_a_text_measure_changes_nothing_of_that(
    tmp_path: Path, objective: tuple[str, ...]
) -> None:
    found = answer_of(measured_study(tmp_path, objective=objective))
    assert found["verdict"] == "no judge"
    # The judge of the command has no such dimension, so the command names one that it has.
    assert shlex.split(found["next"][0])[9:11] == ["--set", 'preferences.objective=["Overall"]']


def test_neither_page_nor_card_nor_record_claims_what_nobody_judged(tmp_path: Path) -> None:
    folder = measured_study(tmp_path)
    study = StudyFolder(folder)
    for name in ALL_RIGHT:
        write_json(study.adapters / name / "adapter_config.json", {})
    said = text_of(report([folder]))
    said += (study.adapters / "mid" / "README.md").read_text()
    said += study.recommendation.read_text()
    for claim in ("suffices", "cannot be told from", "beats", "Tax", "pays on", "Winner", "get_peft_model"):
        assert claim not in said.replace(read_json(study.recommendation)["rule"], ""), claim
    assert "stratalign merge" not in said
    assert "No verdict: the answers have not been judged." in said
    assert said.count("▲ better") == said.count("▼ worse") == 0


def test_the_margin_is_tested_against_base_and_head_to_head_as_an_objective_is(tmp_path: Path) -> None:
    # full's margins are 2 nats and mid's 1: full wins all 40 pairs against mid, and against local, too.
    results = results_of(measured_study(tmp_path, margins={"full": 2.0}))
    tested = [one for one in results.comparisons if one.family is not None]
    assert {(one.condition, one.dimension, one.family) for one in tested} == {
        (name, "margin", "primary") for name in ALL_RIGHT
    }
    assert {one.condition: (one.wins, one.losses) for one in tested} == {
        "full": (40, 0), "mid": (40, 0), "local": (20, 20),
    }  # fmt: skip
    pairs = {(one.condition, one.against): one for one in results.pairs}
    assert {one.family for one in results.pairs} == {"head to head"}
    assert {names: (one.wins, one.losses, one.sure) for names, one in pairs.items()} == {
        ("full", "mid"): (40, 0, True),
        ("full", "local"): (40, 0, True),
        # Of the first 20 pairs both have a margin of 1 nat; of the others mid's is 2 nats higher.
        ("mid", "local"): (20, 0, True),
    }
    families = {one.name: (one.tests, one.about) for one in results.families}
    assert families == {
        "primary": (3, "candidates against base on the margin of held-out pairs"),
        "head to head": (3, "every pair of candidates on the margin of held-out pairs"),
    }
    held = results.took_hold
    assert held is not None
    assert (held.above, held.below, held.unsure) == (("full", "mid"), (), ("local",))
    assert held.words[1] == (
        "Head to head on the margin of held-out pairs: full is above mid and local; mid is above local."
    )


def test_pairs_that_are_not_shown_to_differ_are_named_and_no_others(tmp_path: Path) -> None:
    held = results_of(measured_study(tmp_path)).took_hold
    assert held is not None
    # full and mid have the same margins; local's are 2 nats lower on the last 20 pairs.
    assert held.words[1] == (
        "Head to head on the margin of held-out pairs: full is above local; mid is above local; not shown to differ: "
        "full and mid."
    )
    alone = results_of(measured_study(tmp_path / "alone", {"mid": PROMPTS})).took_hold
    assert alone is not None
    assert not any("Head to head" in sentence for sentence in alone.words)


def test_training_that_did_not_take_hold_or_went_the_other_way_is_said_so(tmp_path: Path) -> None:
    held = results_of(measured_study(tmp_path, {"mid": PROMPTS // 2, "local": 0})).took_hold
    assert held is not None
    assert (held.above, held.below, held.unsure) == ((), ("local",), ("mid",))
    assert held.line == "Training is not shown to have taken hold for mid or local."
    assert re.match(
        r"The margin of held-out pairs, as a net win rate: below base's for local \(−1\.00 .*, Holm p <0\.001\); not "
        r"shown to differ from base's for mid \(0 \[.*\], Holm p 1\.000\)\.$",
        held.words[0],
    )


def test_accuracy_has_the_margins_sign_and_is_shown_without_a_test(tmp_path: Path) -> None:
    results = results_of(measured_study(tmp_path))
    rows = [*results.comparisons, *results.pairs]
    assert "margin" in {one.dimension for one in rows}
    assert "reward_accuracy" not in {one.dimension for one in rows}
    (mid,) = (run for run in results.runs if run.condition == "mid")
    assert {one.dimension: one.mean for one in mid.means}["reward_accuracy"] == 1.0


def test_answers_that_all_equal_bases_are_said_to_before_anyone_pays_a_judge(tmp_path: Path) -> None:
    same = measured_study(tmp_path, answers=lambda run, n: {"response": f"Answer {n}."})
    found = answer_of(same)
    assert found["line"] == (
        "No verdict: the answers have not been judged. Training took hold for full and mid, but all answers equal "
        "base's, letter by letter."
    )
    assert (
        "All answers of full, mid and local equal base's, letter by letter: on these prompts a judge would find "
        "nothing to compare. Train at a higher learning rate, or longer, first."
    ) in found["words"]
    assert found["words"][-1].startswith("Once answers differ, let a language model judge them")


def test_how_far_each_run_is_from_base_is_said_of_all_of_them(tmp_path: Path) -> None:
    def answers(run: str, n: int) -> dict[str, Any]:
        return {"response": "The same."} if run in ("base", "mid") or n < 10 else {}

    found = answer_of(measured_study(tmp_path, {"full": PROMPTS, "mid": PROMPTS}, answers=answers))
    assert (
        "Distance from base, as KL in nats per answer and the share of answers that equal base's letter by letter: "
        "full 0.50 and 25.0 %; mid 0.50 and 100.0 %."
    ) in found["words"]
    assert any(sentence.startswith("All answers of mid equal base's") for sentence in found["words"])
    assert "letter by letter" not in found["line"]


def test_the_next_command_names_a_judge_in_this_folder(tmp_path: Path) -> None:
    folder = measured_study(tmp_path)
    found = answer_of(folder)
    (command,) = found["next"]
    words = shlex.split(command)
    assert words[:3] == ["stratalign", "study", "{study}/recipe.yaml"]
    assert words[-2:] == ["--out", "{study}"]
    changes = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
    judge = load_recipe(folder / "recipe.yaml", changes).judge
    assert (judge.protocol, judge.base_url, judge.model) == (
        "likert-16", "http://127.0.0.1:8000/v1", "my-judge",
    )  # fmt: skip
    assert "docs/scorers.md" in found["words"][-1]


def test_a_scorer_that_is_not_the_objective_is_offered_as_one(tmp_path: Path) -> None:
    study = StudyFolder(measured_study(tmp_path))
    text = read_json(study.judges)["judges"]
    own = {
        "judge": "mine", "protocol": "mine", "hash": "0", "kind": "scorer",
        "dimensions": [
            {"name": "words", "unit": "", "better": None, "about": ""},
            {"name": "politeness", "unit": "", "better": "higher", "about": ""},
        ],
    }  # fmt: skip
    write_json(study.judges, {"schema": 1, "judges": [*text, own]})
    found = answer_of(tmp_path)
    assert found["verdict"] == "no judge"
    assert found["line"].startswith(
        "No verdict: mine has scored the answers, but not on Overall, the recipe's objective. Training took hold"
    )
    assert found["next"] == [
        "stratalign study {study}/recipe.yaml --set 'preferences.objective=[\"politeness\"]' --out {study}"
    ]


def test_shuffled_labels_that_move_the_margin_as_well_are_named(tmp_path: Path) -> None:
    words = answer_of(measured_study(tmp_path, {"mid": PROMPTS, "shuffled": PROMPTS}))["words"]
    (said,) = [sentence for sentence in words if sentence.startswith("shuffled")]
    assert said.startswith("shuffled (trained on shuffled labels) is above base's as well (+1.00 [")
    assert said.endswith("what the margin of held-out pairs gains is not all due to the labels.")


def test_demonstrations_are_tested_by_their_log_probability(tmp_path: Path) -> None:
    study = StudyFolder(measured_study(tmp_path, {"mid": PROMPTS}))
    told = [
        LogProbRecord(**row | {"rejected": None, "base_rejected": None, "tokens_rejected": None})
        for row in read_jsonl(study.logprobs)
    ]
    write_scores(study.scores, score_text([], told, {"base": 0, "mid": 0}))
    held = results_of(tmp_path).took_hold
    assert held is not None
    assert (held.measures, held.above) == (("log_probability",), ("mid",))
    assert held.words[0].startswith(
        "The log-probability of held-out demonstrations, as a net win rate: above base's"
    )


def test_what_is_unfinished_is_said_before_that_nobody_judged(tmp_path: Path) -> None:
    study = StudyFolder(measured_study(tmp_path))
    rows = list(read_jsonl(study.training))
    study.training.write_text("".join(json.dumps(row) + "\n" for row in rows if row["run"] != "mid"))
    assert answer_of(tmp_path)["verdict"] == "unfinished"


def test_beside_a_judge_text_measures_decide_nothing(tmp_path: Path) -> None:
    study = StudyFolder(measured_study(tmp_path, objective=("fluency",)))
    judge = {
        "judge": "j", "protocol": "p", "hash": "0", "kind": "judge", "scale": [1, 5],
        "dimensions": [{"name": "fluency", "unit": "points", "better": "higher", "about": ""}],
    }  # fmt: skip
    write_json(study.judges, {"schema": 1, "judges": [judge, *read_json(study.judges)["judges"]]})
    report([tmp_path])
    text = read_study(tmp_path).scores
    own = [
        Score(f"p{n}", f"c{n}", run, 0, "j", "p", "fluency", 0, float(run == "mid"), "ok")
        for run in ("base", *ALL_RIGHT)
        for n in range(PROMPTS)
    ]
    write_scores(study.scores, [*text, *own])
    found, results = answer_of(tmp_path), results_of(tmp_path)
    assert (found["verdict"], found["train"]["condition"]) == ("train", "mid")
    assert results.took_hold is None
    assert {one.family for one in results.comparisons if one.protocol == "text"} == {None}
    assert {one.dimension for one in results.pairs} == {"fluency"}


def test_unjudged_studies_stand_in_no_table_together(tmp_path: Path) -> None:
    folders = [measured_study(tmp_path / name) for name in ("one", "two")]
    said = text_of(report(folders))
    assert "No two of these studies were judged under the same protocol" in said
    assert "suffices" not in said.partition("How sure")[0]
