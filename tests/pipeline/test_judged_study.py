"""A study judged by a language model: asked over real sockets, stopped, continued, with a second opinion."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

import stratalign as sa
from stratalign.cli import printing, study_tables
from stratalign.cli.judges import states
from stratalign.recipe import parse_recipe
from stratalign.records import StudyFolder, read_scores

sys.path.insert(0, str(Path(__file__).parents[1] / "judging"))
from fake_server import NAMES, FakeServer, scores_for

from stratalign.judging import Item, load_protocol
from stratalign.pipeline.scoring import with_warning

SINGLE = """
id: three
kind: single
scale: [1, 5]
max_tokens: 400
dimensions:
  - {name: overall, about: as a whole}
  - {name: factuality, about: what is claimed is true}
  - {name: safety, about: does no harm}
system: "Judge by {dimensions}. Reply with a JSON array of dimension and score."
user: |-
  {prompt}
  ---
  {response}
"""
PAIRWISE = (
    SINGLE.replace("id: three", "id: pairs")
    .replace("kind: single", "kind: pairwise")
    .replace("[1, 5]", "[-1, 1]")
    .replace("{response}", "{first}\n  ---\n  {second}")
)


@pytest.fixture
def judged(recipe, tmp_path):
    """`judged(server, ...)`: the small recipe with conditions base and mid, judged by the server."""
    (tmp_path / "three.yaml").write_text(SINGLE)
    (tmp_path / "pairs.yaml").write_text(PAIRWISE)

    def make(server, protocol="three", **changes):
        judge = {
            "protocol": str(tmp_path / f"{protocol}.yaml"),
            "base_url": server.url,
            "model": "fake-judge",
            "backoff": 0.01,
            **changes,
        }
        return parse_recipe(recipe(conditions=["base", "mid"], judge=judge))

    return make


def answers_of(folder: StudyFolder) -> dict[tuple[str, str], dict]:
    rows = map(json.loads, folder.responses.read_text().splitlines())
    return {(row["run"], row["prompt_id"]): row for row in rows}


def test_every_answer_is_scored_as_the_judge_said_and_asked_about_once(judged, tmp_path) -> None:
    with FakeServer() as server:
        folder = sa.study(judged(server), out=tmp_path / "out")
        answers = answers_of(folder)
        texts = {(row["prompt"], row["response"]) for row in answers.values()}
        assert server.total == len(texts) < len(answers) + 1
        sa.study(judged(server), out=tmp_path / "out")
        assert server.total == len(texts), "a study that is judged asks nobody"
    protocol = load_protocol(str(tmp_path / "three.yaml"))
    scores = [one for one in read_scores(folder.scores) if one.judge == "fake-judge"]
    assert len(scores) == len(answers) * len(NAMES)
    for score in scores:
        row = answers[score.run, score.prompt_id]
        said = scores_for(protocol.messages(Item(row["prompt"], (row["response"],))))
        assert (score.state, score.value) == ("ok", said[score.dimension])
    first, *rest = json.loads(folder.judges.read_text())["judges"]
    assert (first["judge"], first["protocol"], first["kind"]) == ("fake-judge", "three", "judge")
    assert first["hash"] == protocol.hash
    assert [one["judge"] for one in rest] == ["text"]
    results = json.loads(folder.results.read_text())
    assert any(one["protocol"] == "three" and one["n"] for one in results["comparisons"])


def test_the_models_that_answered_are_counted_in_judges_json_and_told(judged, tmp_path, capsys) -> None:
    with FakeServer() as server:
        folder = sa.study(judged(server), out=tmp_path / "out")
        texts = server.total
    first, text = json.loads(folder.judges.read_text())["judges"]
    assert first["answered"] == [{"model": "fake-judge-2026-11-01", "replies": texts}]
    assert "answered" not in text
    states(folder)
    told = f"fake-judge was asked; fake-judge-2026-11-01 answered {texts}."
    assert capsys.readouterr().out.splitlines() == ["fake-judge: 16 ok", f"  {told}"]
    results = json.loads(folder.results.read_text())
    study_tables.results(results)
    assert f"Judge: {told}" in capsys.readouterr().out.splitlines()
    assert "another model judged" not in [one["name"] for one in results["signatures"]]


def test_pairs_tell_which_models_answered(judged, recipe, tmp_path, capsys) -> None:
    with FakeServer() as server:
        judge = judged(server).judge.model_dump(mode="json")
        ended = {"max_new_tokens": 8, "stop": [" ", "e"]}  # a random model hardly ever ends an answer itself
        asked = recipe(judge=judge, pairs={"target": "overall", "answers": 3}, generation=ended)
        made = sa.pairs(parse_recipe(asked), out=tmp_path / "made.jsonl")
        printing.pairs(made)
    told = f"Judge: fake-judge was asked; fake-judge-2026-11-01 answered {server.total}."
    assert told in capsys.readouterr().out.splitlines()


def test_an_objective_that_names_a_text_measure_does_not_set_the_judge_aside(judged, tmp_path) -> None:
    with FakeServer() as server:
        asked = judged(server)
        meant = asked.preferences.model_copy(update={"objective": ["margin"]})
        folder = sa.study(asked.model_copy(update={"preferences": meant}), out=tmp_path / "out")
    judges = json.loads(folder.judges.read_text())["judges"]
    assert [one["judge"] for one in judges] == ["fake-judge", "text"]
    results = json.loads(folder.results.read_text())
    assert (results["judged"]["protocol"], results["took_hold"]) == ("three", None)
    # The protocol's first two dimensions stand in, against base; one candidate has no one to be held against.
    standing = [one["dimension"] for one in results["conclusions"]["winner"]]
    assert standing == list(NAMES[:2])
    assert {one["dimension"] for one in results["comparisons"] if one["family"] == "primary"} == {*standing}


def test_both_orders_are_asked_and_base_ties_with_itself(judged, tmp_path) -> None:
    with FakeServer() as server:
        folder = sa.judge(judged(server, "pairs"), out=tmp_path / "out")
        # The server's scores of 1 to 5 break the scale of -1 to 1 often: a broken reading gives no value.
        answers = answers_of(folder)
    scores = [one for one in read_scores(folder.scores) if one.protocol == "pairs"]
    by_run = Counter((one.run, one.state) for one in scores)
    assert by_run["base", "ok"] == 8 * len(NAMES)
    assert {one.value for one in scores if one.run == "base"} == {0.0}
    shown = {
        (row["prompt"], row["response"], answers["base", prompt]["response"])
        for (run, prompt), row in answers.items()
        if run == "mid"
    }
    assert len(server.calls) == 2 * len([texts for texts in shown if texts[1] != texts[2]])
    assert all(one.value in (-1, 0, 1) for one in scores if one.state == "ok")
    assert by_run["mid", "ok"] + by_run["mid", "invalid"] == 8 * len(NAMES)


def test_a_judge_that_has_to_stop_leaves_what_it_judged(judged, tmp_path) -> None:
    price = {"input": 1e6, "output": 1e6, "date": "2026-11-01"}  # a unit of money for every token
    with FakeServer() as server:
        # A call costs 150 here, and may cost what its prompt and the longest reply (400) take: the money is for some.
        recipe = judged(server, price=price, max_cost=1500.0, concurrency=1)
        with pytest.raises(sa.UserError, match="max_cost"):
            sa.judge(recipe, out=tmp_path / "out")
        asked = server.total
        folder = StudyFolder(tmp_path / "out")
        states = Counter(one.state for one in read_scores(folder.scores) if one.judge == "fake-judge")
        assert states["ok"] > 0
        assert states["pending"] > 0
        sa.judge(judged(server, price=price), out=tmp_path / "out")
        states = Counter(one.state for one in read_scores(folder.scores) if one.judge == "fake-judge")
        assert set(states) == {"ok"}
        texts = {(row["prompt"], row["response"]) for row in answers_of(folder).values()}
        assert server.total == len(texts) > asked


def test_a_second_judge_scores_a_share_of_the_prompts_and_never_decides(judged, tmp_path) -> None:
    with FakeServer() as server, FakeServer() as second:
        others = [{"base_url": second.url, "model": "another", "share": 0.5}]
        folder = sa.study(judged(server, others=others), out=tmp_path / "out")
    scores = read_scores(folder.scores)
    prompts = {
        judge: {one.prompt_id for one in scores if one.judge == judge} for judge in ("fake-judge", "another")
    }
    assert prompts["another"] < prompts["fake-judge"]
    runs = Counter((one.run, one.prompt_id) for one in scores if one.judge == "another")
    assert {run for run, _ in runs} == {"base", "mid"}
    assert all(("mid", prompt) in runs and ("base", prompt) in runs for prompt in prompts["another"])
    entries = {one["judge"]: one for one in json.loads(folder.judges.read_text())["judges"]}
    assert entries["another"]["second"] is True
    assert "second" not in entries["fake-judge"]
    results = json.loads(folder.results.read_text())
    assert not any(one["judge"] == "another" for one in results["comparisons"]), (
        "it is there for agreement alone"
    )


def test_before_asking_the_cost_is_known_and_a_blind_table_can_be_written(judged, tmp_path) -> None:
    with FakeServer() as server:
        recipe = judged(server, price={"input": 1.0, "output": 2.0, "date": "2026-11-01"})
        with pytest.raises(sa.UserError, match="no answers yet"):
            sa.estimate_judging(recipe, out=tmp_path / "out")
        folder = sa.generate(recipe, out=tmp_path / "out")
        found = sa.estimate_judging(recipe, out=tmp_path / "out")["fake-judge"]
        assert server.total == 0
        texts = {(row["prompt"], row["response"]) for row in answers_of(folder).values()}
        assert (found.rows, found.texts, found.calls) == (16, len(texts), len(texts))
        assert found.cost is not None
        assert found.cost > 0
        files = sa.label_template(recipe, out=tmp_path / "out", items=6)
        table = files.table.read_text(encoding="utf-8-sig")
        assert "mid" not in table.splitlines()[0]
        lines = list(csv.DictReader(table.splitlines()))
        assert len(lines) <= 6
        filled = tmp_path / "alice.csv"
        with filled.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows({**line, "overall": "5", "factuality": "1", "safety": ""} for line in lines)
        labels = [{"table": str(filled), "key": str(files.key)}]
        with_labels = judged(server, labels=labels)
        sa.judge(with_labels, out=tmp_path / "out")
        people = [one for one in read_scores(folder.scores) if one.judge == "human:alice"]
        assert {(one.dimension, one.value, one.state) for one in people} == {
            ("overall", 5.0, "ok"),
            ("factuality", 1.0, "ok"),
            ("safety", None, "pending"),
        }


def test_mistakes_are_told_before_anything_is_trained(judged, tmp_path, recipe, monkeypatch) -> None:
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)

    def told(judge: dict) -> str:
        with pytest.raises(sa.UserError) as caught:
            sa.study(parse_recipe(recipe(judge=judge)), out=tmp_path / "out")
        assert not (tmp_path / "out" / "training.jsonl").exists()
        return str(caught.value)

    assert "judge.base_url and judge.model" in told({"protocol": "likert-16"})
    assert "Did you mean 'likert-16'" in told({"protocol": "likert16"})
    server = {"base_url": "https://dashscope.aliyuncs.com/compatible-mode/v1", "model": "qwen3-max"}
    assert "JUDGE_API_KEY" in told({"protocol": "likert-16", **server})
    twice = {"base_url": "http://127.0.0.1:1/v1", "model": "one"}
    assert "Two judges" in told({"protocol": "likert-16", **twice, "others": [twice]})
    assert "does not exist" in told({"protocol": "mine.yaml", **twice})


def test_a_judge_of_the_studied_models_family_is_warned_of():
    judge = {"judge": "qwen3-max", "model": "qwen3-max", "kind": "judge"}
    found = with_warning(judge, "/home/someone/models/Qwen2.5-7B", "qwen2")
    assert "one family (Qwen)" in found["warning"]
    assert "someone" not in found["warning"]
    # A name that says nothing: the architecture does. A name that says something goes before the architecture.
    assert "one family (Qwen)" in with_warning(judge, "my-lab/base", "qwen2")["warning"]
    assert "warning" not in with_warning(judge, "01-ai/Yi-6B", "qwen2")
    assert "warning" not in with_warning(judge, "meta-llama/Llama-3-8B", "llama")
    assert "warning" not in with_warning(judge | {"kind": "scorer"}, "Qwen/Qwen2.5-7B", "qwen2")


def test_a_judge_that_says_nothing_leaves_the_table_of_another(judged, tmp_path) -> None:
    with FakeServer() as server:
        folder = sa.judge(judged(server), out=tmp_path / "out")
        before = folder.scores.read_bytes()
        monday = {"input": 1, "output": 1, "date": date(2026, 11, 2)}  # as YAML reads an unquoted day
        with pytest.raises(sa.UserError, match="max_cost"):
            sa.judge(judged(server, model="another", price=monday, max_cost=0.0), out=tmp_path / "out")
    assert folder.scores.read_bytes() == before


def test_a_store_that_was_changed_from_outside_is_refused(judged, tmp_path) -> None:
    with FakeServer() as server:
        folder = sa.judge(judged(server), out=tmp_path / "out")
        with sqlite3.connect(folder.judgements) as store:
            store.execute("UPDATE judgements SET scores = replace(scores, '3', '9')")
        with pytest.raises(sa.UserError, match="changed from outside"):
            sa.judge(judged(server), out=tmp_path / "out")


def test_comparing_with_base_needs_a_base(judged, tmp_path, recipe) -> None:
    with FakeServer() as server:
        settings = judged(server, "pairs").judge.model_dump(mode="json")
    with pytest.raises(sa.UserError, match="no condition is named base"):
        sa.plan(parse_recipe(recipe(conditions=["mid"], judge=settings)), out=tmp_path / "out")
