"""Worlds on a tiny random model: what is damaged, who answers what, and that a seed says it all."""

import pytest
import torch

from stratalign.calibration import WorldSettings, draw_noise, make_world
from stratalign.calibration.running import training_prompts
from stratalign.calibration.worlds import draw_layer
from stratalign.errors import UserError
from stratalign.models import ModelSettings, list_sites, load_model, load_tokenizer

SETTINGS = WorldSettings(pairs=40, rank=2, rise=0.1, most_tokens=60)


@pytest.fixture(scope="module")
def folder(ending_model):
    return ending_model


@pytest.fixture(scope="module")
def make(folder):
    """`make("planted", 3)`: the world, and the model that it left."""
    settings = ModelSettings(base=str(folder))
    tokenizer = load_tokenizer(settings)
    prompts = training_prompts(tokenizer)

    def made(kind, seed, settings_of=SETTINGS):
        loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
        world = make_world(kind, seed, loaded, list_sites(loaded.model), tokenizer, prompts, settings_of)
        return world, dict(loaded.model.named_parameters())

    return made


@pytest.fixture(scope="module")
def planted(make):
    return make("planted", 3)


@pytest.fixture(scope="module")
def sound(folder):
    model = load_model(ModelSettings(base=str(folder)), dtype=torch.float32, device=torch.device("cpu")).model
    return dict(model.named_parameters())


def changed(weights, sound):
    return {name for name, tensor in weights.items() if not torch.equal(tensor, sound[name])}


def test_damage_stays_in_the_seven_modules_of_the_drawn_layer(planted, sound):
    world, weights = planted
    names = changed(weights, sound)
    assert len(names) == 7
    assert all(f"layers.{world.planted}." in name and "_proj" in name for name in names)


def test_the_damage_has_the_rank_and_the_relative_norm_that_it_says(planted, sound):
    world, weights = planted
    for name in changed(weights, sound):
        noise = (weights[name] - sound[name]).double()
        values = torch.linalg.svdvals(noise)
        assert values[1] > 1e-3 * values[0]
        assert values[2] < 1e-5 * values[0]  # rank 2, up to float32
        assert float(noise.norm() / sound[name].norm()) == pytest.approx(world.strength, rel=1e-3)


def test_a_seed_says_it_all_and_another_one_something_else(make, planted):
    world, weights = planted
    again, same = make("planted", 3)
    assert again == world
    assert not changed(weights, same)
    assert make("planted", 4)[0].train != world.train


def test_layers_are_drawn_over_all_positions():
    """The draw itself, of 4 layers by 40 seeds: each comes."""
    assert {draw_layer("planted", seed, range(4)) for seed in range(40)} == {0, 1, 2, 3}
    assert draw_layer("null", 0, range(4)) is None


def test_clusters_are_either_trained_on_or_held_back(planted):
    world, _ = planted
    held, trained = ({tree.cluster for tree in part} for part in (world.held_back, world.train))
    assert held
    assert trained
    assert not held & trained
    assert len(world.train) + len(world.held_back) + world.left_out == SETTINGS.pairs


def test_chosen_answers_are_the_sound_models_and_rejected_the_damaged_ones(planted, sound, folder):
    """Each side is likelier under the model that gave it, summed over pairs; and the tokens are its very samples."""
    world, weights = planted
    model = load_model(ModelSettings(base=str(folder)), dtype=torch.float32, device=torch.device("cpu")).model

    def likelihoods(state):
        with torch.no_grad():
            for name, tensor in model.named_parameters():
                tensor.copy_(state[name])
            totals = [0.0, 0.0]
            for tree in (*world.train, *world.held_back):
                for side, branch in enumerate(tree.branches):
                    ids = torch.tensor([*tree.prefix, *branch.ids])
                    logp = model(input_ids=ids[None]).logits[0].log_softmax(-1)
                    first = len(tree.prefix) + branch.first_label
                    at = torch.arange(first, len(ids))
                    totals[side] += float(logp[at - 1, ids[at]].sum())
        return totals

    by_sound, by_damaged = likelihoods(sound), likelihoods(weights)
    assert by_sound[0] > by_damaged[0]
    assert by_sound[1] < by_damaged[1]


def test_null_worlds_have_a_model_that_is_sound_or_damaged_and_no_truth(make, sound):
    world, weights = make("null", 3)
    assert (world.planted, world.layer, world.strength) == (None, None, None)
    assert not changed(weights, sound)
    hurt, weights = make("null, damaged", 3)
    assert hurt.planted is None
    assert hurt.layer is not None
    assert all(f"layers.{hurt.layer}." in name for name in changed(weights, sound))


def test_full_rank_noise_has_full_rank(folder):
    loaded = load_model(ModelSettings(base=str(folder)), dtype=torch.float32, device=torch.device("cpu"))
    site = list_sites(loaded.model)[0]
    noise = draw_noise(site, None, 0)
    assert noise.shape == (site.out_features, site.in_features)
    assert float(noise.norm()) == pytest.approx(1)
    assert int(torch.linalg.matrix_rank(noise)) == min(noise.shape)


def test_a_world_that_cannot_be_made_is_refused(make):
    with pytest.raises(UserError, match="takes as many prompts, got 1280"):
        make("planted", 3, SETTINGS.model_copy(update={"pairs": 2000}))
    with pytest.raises(UserError, match="take a model that ends its answers"):
        make("planted", 3, SETTINGS.model_copy(update={"most_tokens": 1}))
    with pytest.raises(UserError, match="Ask for a smaller rise"):
        make("planted", 3, SETTINGS.model_copy(update={"rise": 99.0}))
