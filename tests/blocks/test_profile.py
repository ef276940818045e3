"""The profile's conditions: windows at every depth, draws that are no windows, blocks with moved boundaries."""

import pytest

from stratalign.blocks import (
    BoundarySettings,
    ProfileSettings,
    added_conditions,
    partition,
    random_draws,
    shifted_blocks,
    windows,
)
from stratalign.errors import UserError
from stratalign.recipe import parse_recipe

WRITTEN = {"model": "tiny", "preferences": {"source": "pairs.jsonl"}}


def ends(n_layers, **settings):
    return [(own[0], own[-1]) for own in windows(n_layers, ProfileSettings(**settings))]


def test_twelve_layers_have_ten_windows_of_three():
    assert ends(12) == [(first, first + 2) for first in range(10)]


def test_a_stride_that_does_not_end_at_the_top_gets_one_window_more():
    # 0-2, 2-4, 4-6, then 6-8 ends one below the top layer 9: 7-9 covers it.
    assert ends(10, stride=2) == [(0, 2), (2, 4), (4, 6), (6, 8), (7, 9)]
    assert ends(9, stride=3) == [(0, 2), (3, 5), (6, 8)]
    assert ends(3) == [(0, 2)]


@pytest.mark.parametrize("layers", [3, 7, 12, 28, 80])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_layer_is_in_some_window(layers, stride):
    covered = {layer for own in windows(layers, ProfileSettings(stride=stride)) for layer in own}
    assert covered == set(range(layers))


def test_single_layers_are_windows_of_one_and_no_draw_stands_beside_them():
    settings = ProfileSettings(window=1)
    names = [one.name for one in added_conditions(settings, None, 3, partition(3))]
    assert names == ["base", "full", "window-0", "window-1", "window-2"]


def test_draws_are_distinct_as_large_as_a_window_and_none_is_one():
    draws = random_draws(12, ProfileSettings(random=40))
    assert len(set(draws)) == 40
    assert all(len(own) == 3 and own[-1] - own[0] > 2 for own in draws)
    assert draws[:5] == random_draws(12, ProfileSettings())
    assert draws != random_draws(12, ProfileSettings(random=40, seed=1))


def test_a_shallow_model_has_fewer_draws_and_too_many_are_refused():
    # Three of four layers: 4 sets, of which 0-2 and 1-3 are windows.
    assert sorted(random_draws(4, ProfileSettings())) == [(0, 1, 3), (0, 2, 3)]
    with pytest.raises(UserError, match=r"Give profile\.random: 2 or less"):
        random_draws(4, ProfileSettings(random=3))


def test_boundaries_move_every_inner_edge_together():
    moved = shifted_blocks(partition(12), 1)
    assert moved == {"local": range(5), "mid": range(5, 9), "global": range(9, 12)}
    assert shifted_blocks(partition(12), -2) == {
        "local": range(2),
        "mid": range(2, 6),
        "global": range(6, 12),
    }
    added = added_conditions(None, BoundarySettings(), 12, partition(12))
    assert [one.name for one in added[2:]] == [
        f"{block}{by:+d}" for by in (1, -1, 2, -2) for block in ("local", "mid", "global")
    ]


@pytest.mark.parametrize(
    ("blocks", "by", "says"),
    [
        (partition(3), 1, "leaves block 'global' of 1 layer with none"),
        (partition(6), -2, "leaves block 'local' of 2 layers with none"),
        ({"odd": (1, 3), "even": (0, 2)}, 1, "consecutive"),
        ({"low": range(3), "high": range(5, 9)}, 1, "one after the other"),
        ({"only": range(4)}, 1, "two or more"),
    ],
)
def test_boundaries_that_cannot_be_moved_are_refused(blocks, by, says):
    with pytest.raises(UserError, match=says):
        shifted_blocks(blocks, by)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"profile": {"window": 0}}, "profile.window"),
        ({"profile": {"stride": 4}}, "leaves out layers"),
        ({"profile": {"window": 1, "random": 2}}, "leave `random` out"),
        ({"profile": {"random": -1}}, "profile.random"),
        ({"profile": {"windows": 3}}, "Did you mean 'window'"),
        ({"boundaries": {"shift": []}}, "distinct whole numbers from 1"),
        ({"boundaries": {"shift": [0]}}, "distinct whole numbers from 1"),
        ({"boundaries": {"shift": [1, 1]}}, "distinct whole numbers from 1"),
    ],
)
def test_bad_values_are_refused_with_a_sentence(section, says):
    with pytest.raises(UserError, match=says):
        parse_recipe({**WRITTEN, **section})


def specs(conditions, n_layers=12, **section):
    recipe = parse_recipe({**WRITTEN, "conditions": conditions, **section})
    return {spec.name: spec for spec in recipe.all_specs(n_layers, partition(n_layers))}


def test_base_and_full_are_added_where_they_are_not_written():
    found = specs(["mid"], profile={"random": 1})
    assert list(found)[:3] == ["base", "full", "mid"]
    assert len(found) == 3 + 10 + 1
    assert found["window-9-11"].selection == {"layers": [9, 10, 11]}
    assert list(specs(["mid"])) == ["mid"]


def test_written_names_that_collide_are_refused_and_so_is_another_full():
    with pytest.raises(UserError, match=r"'Window-0-2' has the name of one that profile adds"):
        specs({"Window-0-2": {"block": "mid"}}, profile={})
    with pytest.raises(UserError, match=r"'mid\+1' has the name of one that boundaries adds"):
        specs({"mid+1": {"block": "mid"}}, boundaries={})
    with pytest.raises(UserError, match=r"'full' must be \{block: full\}"):
        specs({"full": {"block": "mid"}}, profile={})
    with pytest.raises(UserError, match=r"'full' must be \{block: full\}"):
        specs({"full": {"block": "full", "labels": "shuffled"}}, profile={})


def test_a_window_larger_than_the_model_is_refused_once_the_model_is_known():
    with pytest.raises(UserError, match=r"profile.window is 5, but the model has 4 layers"):
        specs(["mid"], 4, profile={"window": 5})


def test_a_recipe_without_the_sections_is_written_without_them():
    assert "\nprofile:" not in parse_recipe(WRITTEN).to_yaml()
    assert "boundaries" not in parse_recipe(WRITTEN).to_yaml()
    both = parse_recipe({**WRITTEN, "profile": {}, "boundaries": {}}).to_yaml()
    assert "\nprofile:\n  window: 3\n" in both
    assert "\nboundaries:\n  shift:\n" in both
