"""generation.prompts: a source of prompts alone is answered in place of the held-out rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stratalign as sa
from stratalign.cli import plan_tables
from stratalign.errors import UserError
from stratalign.recipe import parse_recipe
from stratalign.records import StudyFolder, read_jsonl


@pytest.fixture
def recipe(make_model: Callable[..., Path], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A study of 8 training and 4 held-out pairs, with prompts of its own."""
    pairs = [{"prompt": f"{n} and one? ", "chosen": f"It is {n + 1}.", "rejected": "No."} for n in range(12)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))

    def make(prompts: list[str], **changes: Any) -> dict[str, Any]:
        file = tmp_path / "prompts.jsonl"
        file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
        return {
            "model": str(make_model("llama")),
            "preferences": {
                "source": str(tmp_path / "pairs.jsonl"),
                "train": 8,
                "validation": 0,
                "held_out": 4,
            },
            "conditions": ["base", "mid"],
            "training": {"learning_rate": 1e-3, "batch_size": 4, "gradient_accumulation": 1},
            "generation": {"max_new_tokens": 4, "prompts": str(file), **changes},
        }

    return make


def test_prompts_of_clusters_that_are_trained_on_are_left_out_and_counted(
    recipe: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # All twelve prompts of the pairs, and two others: 8 are trained on, 4 are held out, 2 are of no pair.
    prompts = [f"{n} AND one?" for n in range(12)] + ["Who? ", "Where? "]
    planned = sa.plan(parse_recipe(recipe(prompts)), out=tmp_path / "out")
    trained = {row.prompt.strip() for row in planned.parts.train}  # type: ignore[union-attr]
    assert len(planned.prompts) == 6
    assert not {prompt.text.casefold() for prompt in planned.prompts} & {text.casefold() for text in trained}
    assert [prompt.text for prompt in planned.prompts][-2:] == ["Who? ", "Where? "]
    assert not {prompt.prompt_id for prompt in planned.prompts} & {
        row.row_id for row in planned.parts.held_out
    }
    plan_tables.plan(planned.describe())
    said = " ".join(capsys.readouterr().out.split())
    assert "are answered, not those of the held-out rows; left out: 8 of clusters that are trained on" in said
    with pytest.raises(UserError, match="8 are of clusters that are trained on"):
        sa.plan(parse_recipe(recipe([text.upper() for text in sorted(trained)])), out=tmp_path / "out")


def test_a_study_answers_its_prompts_and_refuses_to_go_on_with_others(
    recipe: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    study = sa.study(parse_recipe(recipe(["Who? ", "Where? "])), out=tmp_path / "out")
    answers = list(read_jsonl(StudyFolder(tmp_path / "out").responses))
    assert {(one["run"], one["prompt"]) for one in answers} == {
        (run, prompt) for run in ("base", "mid") for prompt in ("Who? ", "Where? ")
    }
    assert (study.path / "report.html").is_file() or list(study.path.glob("*.html"))
    with pytest.raises(UserError, match="generation: prompts was"):
        sa.plan(parse_recipe(recipe(["When? "])), out=tmp_path / "out")
