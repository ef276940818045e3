"""A study with scorers: their rows beside the judge's, kept between runs; without them nothing changes."""

import json

import pytest
import yaml

import stratalign as sa
from stratalign.errors import UserError
from stratalign.pipeline.stages.training import begin
from stratalign.records import StudyFolder, read_scores


@pytest.fixture
def write(recipe, tmp_path, monkeypatch):
    """`write(scorers=[...])`: a small recipe beside a module of scores that counts its calls in calls.txt."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COUNTED", str(tmp_path / "calls.txt"))
    (tmp_path / "study_scores.py").write_text(
        "import os\n"
        "def score(prompts, responses):\n"
        "    with open(os.environ['COUNTED'], 'a') as file:\n"
        "        file.write(f'{len(responses)}\\n')\n"
        "    return {'ends': [1.0 if r else None for r in responses], 'size': [len(r) for r in responses]}\n"
        "score.dimensions = {'ends': {}, 'size': {'better': 'lower', 'unit': 'letters'}}\n"
    )

    def file(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe(conditions=["base", "mid"], **changes)))
        return path

    return file


OWN = [{"function": "study_scores:score", "name": "mine"}]


def test_rows_of_scorers_stand_beside_the_judges_and_are_not_scored_again(write, tmp_path):
    file, out = write(scorers=OWN), tmp_path / "out"
    folder = sa.study(file, ["preferences.objective=[Size]"], out)
    answers = {
        (row["run"], row["prompt_id"]): row["response"]
        for row in map(json.loads, folder.responses.read_text().splitlines())
    }
    rows = [score for score in read_scores(folder.scores) if score.judge == "mine"]
    assert {(row.run, row.prompt_id): row.value for row in rows if row.dimension == "size"} == {
        key: float(len(text)) for key, text in answers.items()
    }
    assert {row.state for row in rows if row.dimension == "ends"} == {
        "ok" if text else "undefined" for text in answers.values()
    }
    judges = json.loads(folder.judges.read_text())["judges"]
    # the objective is the scorer's alone, so it decides
    assert [judge["judge"] for judge in judges] == ["mine", "text"]
    assert judges[0]["kind"] == "scorer"
    results = json.loads(folder.results.read_text())
    assert results["judged"] == {"judge": "mine", "protocol": "mine"}
    assert results["conclusions"]["winner"][0]["dimension"] == "size"
    counted = (tmp_path / "calls.txt").read_text()
    assert sum(map(int, counted.split())) <= 16
    before = folder.scores.read_bytes()
    sa.judge(file, ["preferences.objective=[size]"], out)
    assert (tmp_path / "calls.txt").read_text() == counted
    assert folder.scores.read_bytes() == before
    assert yaml.safe_load(folder.recipe.read_text())["scorers"] == [
        {"function": "study_scores:score", "name": "mine"}
    ]


def test_a_reward_model_scores_the_held_out_answers(write, tmp_path):
    from reward_models import make_reward_model

    reward = make_reward_model(tmp_path / "rm")
    folder = sa.study(write(scorers=[{"reward": "rm"}]), out=tmp_path / "out")
    rows = [score for score in read_scores(folder.scores) if score.judge == "rm"]
    assert {row.dimension for row in rows} == {"reward"}
    assert {row.state for row in rows} == {"ok"}
    assert len(rows) == 2 * 8
    assert (tmp_path / "out" / "scorers" / "rm.jsonl").is_file()
    assert str(reward) in folder.recipe.read_text()


def test_without_scorers_nothing_is_written_of_them(write, tmp_path):
    planned = sa.plan(write(), out=tmp_path / "out")
    begin(planned)
    written = yaml.safe_load(StudyFolder(tmp_path / "out").recipe.read_text())
    assert {"scorers", "pairs"}.isdisjoint(written)
    assert set(planned.fingerprints) == {
        "model",
        "preferences",
        "training",
        "generation",
        "run base@0",
        "run mid@0",
    }


@pytest.mark.parametrize(
    ("scorers", "changes", "message"),
    [
        (OWN, ["preferences.objective=[sise]"], "Did you mean 'size'"),
        ([{"function": "study_scores:scores"}], [], "has no attribute 'scores'"),
        ([{**OWN[0], "name": "text"}], [], "which is a protocol"),
        ([{"reward": "./nowhere"}], [], "does not exist"),
        ([OWN[0], OWN[0]], [], "two scorers are called mine"),
    ],
)
def test_what_is_wrong_with_a_scorer_is_told_before_anything_is_trained(
    write, tmp_path, scorers, changes, message
):
    with pytest.raises(UserError, match=message):
        sa.plan(write(scorers=scorers), changes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tasks_need_lm_eval(write, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(UserError, match=r"pip install 'stratalign\[tasks\]'"):
        sa.plan(write(scorers=[{"tasks": ["arc_easy"]}]), out=tmp_path / "out")
