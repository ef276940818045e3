"""A choice of modules against draws of as many, by hand."""

from pathlib import Path

import pytest
import yaml

from benchmarks.significance_use import choices, difference, main, table
from stratalign.errors import UserError
from stratalign.records import Score


def scores(**runs):
    """Runs of four prompts in two clusters."""
    return [
        Score(f"p{i}", "ab"[i // 2], run, 0, "m", "m", "grammar", 0, value, "ok")
        for run, values in runs.items()
        for i, value in enumerate(values)
    ]


def test_every_choice_has_its_own_draws():
    runs = ["base", "full", "frozen", "top-0.1", "top-0.2", "frozen_by_chance-1", "frozen_by_chance-2"]
    runs += ["top_by_chance-0.1-1", "top_by_chance-0.2-1", "top_by_chance-0.2-12"]
    assert choices(runs) == {
        "frozen": ["frozen_by_chance-1", "frozen_by_chance-2"],
        "top-0.1": ["top_by_chance-0.1-1"],
        "top-0.2": ["top_by_chance-0.2-1", "top_by_chance-0.2-12"],
    }


def test_the_difference_and_its_interval_over_clusters():
    """Differences 1, 1, 3, 3: mean 2, cluster sums of residuals -2 and 2, SE^2 = 2 x 8 / 16 = 1; t with one degree of
    freedom is 12.7062."""
    one = {"p0": ("a", 2.0), "p1": ("a", 2.0), "p2": ("b", 4.0), "p3": ("b", 4.0)}
    others = [{p: (c, 0.5) for p, (c, _) in one.items()}, {p: (c, 1.5) for p, (c, _) in one.items()}]
    found = difference(one, others)
    assert found == pytest.approx({"mean": 2.0, "low": 2 - 12.7062, "high": 2 + 12.7062}, abs=1e-4)


def test_a_row_says_gain_share_draws_and_how_many_lie_below():
    drawn = {"top_by_chance-0.1-1": [1, 1, 2, 2], "top_by_chance-0.1-2": [3, 3, 4, 4]}
    said = table(scores(base=[0] * 4, full=[4] * 4, **{"top-0.1": [2, 2, 3, 3]}, **drawn), "grammar")
    row = said.splitlines()[-1]
    # gain 2.5 of 4; draws gain 1.5 and 3.5, the first below
    assert row.startswith("| top-0.1 | 2.500 [")
    assert "| 0.62 | 2.500 [1.500, 3.500] | 0.000 [0.000, 0.000] | 1 of 2 |" in row
    with pytest.raises(UserError, match="no scores of full"):
        table(scores(base=[0] * 4), "grammar")


def test_the_recipe_has_five_draws_of_every_size(tmp_path, capsys):
    recipe = yaml.safe_load((Path(__file__).parents[2] / "benchmarks" / "significance_use.yaml").read_text())
    conditions = recipe["conditions"]
    for kind in ("frozen", "top"):
        drawn = conditions[f"{kind}_by_chance"]
        assert drawn == conditions[kind] | {"ranking": "shuffled", "seed": [1, 2, 3, 4, 5]}
    assert main([str(tmp_path)]) == 2
    assert "Run `stratalign study` first" in capsys.readouterr().err
