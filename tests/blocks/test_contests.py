"""The recipe's `selectors` section: what it expands into, and what it refuses."""

import pytest
import yaml

from stratalign.blocks import SELECTORS, SelectorsSettings, draws_of_kinds, selector_conditions
from stratalign.errors import UserError
from stratalign.listing import catalogues
from stratalign.recipe import parse_recipe

PLAIN = {"model": "microworld", "preferences": {"source": "microworld:fluency"}}


def recipe(selectors, conditions=("base", "mid")):
    return parse_recipe(PLAIN | {"conditions": conditions, "selectors": selectors})


def test_the_section_stands_for_one_condition_each_and_as_many_random_draws():
    made = selector_conditions(SelectorsSettings(by=["auto_rgn", "even"], parameters=0.3, seed=4), ["q_proj"])
    common = {"parameters": 0.3, "unit": "module", "targets": ["q_proj"]}
    assert list(made) == ["base", "full", "auto_rgn", "even", *(f"random-{n}" for n in range(1, 6))]
    assert made["auto_rgn"] == {"by": "diagnostics/gradients.json", "signal": "relative", **common}
    assert made["even"] == {"by": "even", **common}
    assert made["random-5"] == {"by": "random", "seed": 4, "draw": 4, **common}
    assert selector_conditions(SelectorsSettings(), ["q_proj"]) == {}


def test_draws_of_a_selectors_own_kinds_are_its_ranking_dealt_out_anew():
    settings = SelectorsSettings(by=["even", "auto_rgn"], arithmetic=0.6, same_kinds=5, seed=4)
    made = selector_conditions(settings, ["q_proj"])
    names = [f"auto_rgn-kinds-{n}" for n in range(1, 6)]
    assert list(made)[-5:] == names == list(draws_of_kinds(settings, "auto_rgn"))
    assert made["auto_rgn-kinds-3"] == {**made["auto_rgn"], "ranking": "shuffled", "seed": 6}
    assert draws_of_kinds(settings, "even") == draws_of_kinds(settings, "snr") == ()
    assert "auto_rgn-kinds-3" in [spec.name for spec in recipe({"by": ["auto_rgn"], "same_kinds": 5}).specs()]


@pytest.mark.parametrize(
    "own", [["base", {"mine": {"layers": [3]}}], {"base": None, "mine": {"layers": [3]}}]
)
def test_the_users_own_conditions_stay_first_and_reading_again_changes_nothing(own):
    read = recipe({"by": ["even"], "arithmetic": 0.5}, own)
    names = [spec.name for spec in read.specs()]
    assert names == ["base", "mine", "full", "even", *(f"random-{n}" for n in range(1, 6))]
    assert all(spec.selection["arithmetic"] == 0.5 for spec in read.specs() if "by" in spec.selection)
    again = parse_recipe(yaml.safe_load(read.to_yaml()))
    assert again.specs() == read.specs()
    assert again.to_yaml() == read.to_yaml()


def test_a_recipe_without_selectors_is_written_as_before():
    assert "selectors" not in parse_recipe(PLAIN).to_yaml()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"by": ["gradient"]}, "Unknown selector 'gradient'. Did you mean 'gradients'?"),
        ({"by": ["even", "even"]}, "named twice"),
        ({"by": ["even"], "random": 4}, "greater than or equal to 5"),
        ({"by": ["even"], "unit": "block"}, "Known: module, layer"),
        ({"by": ["even"], "parameters": 1}, "less than 1"),
        ({"by": ["snr"], "same_kinds": 4}, "same_kinds is 0 or at least 5, got 4"),
        ({"by": ["snr"], "same_kinds": 5, "unit": "layer"}, "whole layers have all kinds"),
        ({"by": ["even"], "parmeters": 0.5}, "Did you mean 'parameters'?"),
    ],
)
def test_sections_that_cannot_be_are_refused(section, said):
    with pytest.raises(UserError) as caught:
        recipe(section)
    assert said in str(caught.value)


def test_a_condition_of_ones_own_may_not_take_a_selectors_name():
    with pytest.raises(UserError, match="rename yours"):
        recipe({"by": ["even"]}, {"base": None, "even": {"layers": [1]}})


def test_the_catalogue_is_listed_with_the_source_of_each():
    listed = catalogues()["selectors"]
    assert list(listed) == list(SELECTORS)
    assert all("source: " in line for line in listed.values())
    assert "arXiv:2210.11466" in listed["auto_rgn"]
