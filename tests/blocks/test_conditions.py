"""Conditions resolved against a model of twelve layers with q_proj (8 -> 8) and v_proj (8 -> 4)."""

import pytest

from stratalign.blocks import Site, expand_conditions, partition, resolve_condition, single_modules
from stratalign.errors import UserError

KEYS = ("learning_rate", "rank", "alpha", "targets", "beta")
SITES = [
    Site(f"model.layers.{layer}.self_attn.{kind}", layer, f"self_attn.{kind}", 8, out)
    for layer in range(12)
    for kind, out in (("q_proj", 8), ("v_proj", 4))
]
BLOCKS = partition(12)  # local 0-3, mid 4-7, global 8-11


def resolve(name, settings=None, *, learning_rate=1e-5, targets=("q_proj", "v_proj"), rank=4):
    (spec,) = expand_conditions({name: settings}, KEYS)
    rate = spec.overrides.get("learning_rate", learning_rate)
    chosen = spec.overrides.get("targets", targets)
    return resolve_condition(spec, SITES, BLOCKS, learning_rate=rate, targets=chosen, rank=rank)


def test_the_papers_five_conditions_train_the_layers_of_their_names():
    layers = {name: resolve(name).layers for name in ("base", "full", "local", "mid", "global")}
    assert layers == {
        "base": (),
        "full": tuple(range(12)),
        "local": (0, 1, 2, 3),
        "mid": (4, 5, 6, 7),
        "global": (8, 9, 10, 11),
    }
    assert not resolve("base").trains


def test_a_condition_names_exact_modules_and_counts_its_parameters():
    mid = resolve("mid")
    assert mid.modules[:2] == ("model.layers.4.self_attn.q_proj", "model.layers.4.self_attn.v_proj")
    assert len(mid.modules) == 8
    assert mid.parameters == 4 * 4 * ((8 + 8) + (8 + 4))  # 4 layers x rank 4 x (in + out of q and v)


def test_single_modules_are_told_by_kind_and_whole_layers_are_not():
    names = ["h.0.attn.c_proj", "h.2.attn.c_proj", "h.2.mlp.c_proj", "h.2.attn.c_attn"]
    assert single_modules(names) == {"attn.c_proj": (0, 2), "mlp.c_proj": (2,), "c_attn": (2,)}
    assert single_modules(resolve("mid").modules) == single_modules(()) == {}


def test_a_union_of_blocks_may_have_a_learning_rate_for_each():
    joint = resolve(
        "joint", {"blocks": ["local", "global"], "learning_rate": {"local": 1e-5, "global": 5e-6}}
    )
    rates = joint.phases[0].modules
    assert joint.layers == (0, 1, 2, 3, 8, 9, 10, 11)
    assert rates["model.layers.0.self_attn.q_proj"] == 1e-5
    assert rates["model.layers.8.self_attn.q_proj"] == 5e-6


def test_single_layers_are_chosen_by_number_and_range():
    assert resolve("chosen", {"layers": [3, "5-6"]}).layers == (3, 5, 6)
    assert resolve("one", {"layers": 11}).layers == (11,)


def test_random_layers_are_as_many_as_a_block_and_depend_on_the_seed_alone():
    scattered = resolve("random", {"random": "mid", "seed": 1})
    assert len(scattered.layers) == 4
    assert scattered.layers == resolve("other_name", {"random": 4, "seed": 1}).layers
    drawn = {resolve("random", {"random": 4, "seed": seed}).layers for seed in range(20)}
    assert len(drawn) > 10  # 495 possible sets
    run = resolve("run", {"random": 4, "seed": 3, "contiguous": True}).layers
    assert run == tuple(range(run[0], run[0] + 4))


def test_equal_parameters_choose_the_rank_that_comes_nearest():
    # full has 3 times mid's modules, so mid's rank of 16 becomes 16 / 3 = 5.33, rounded to 5
    thin = resolve("thin", {"block": "full", "parameters_like": "mid"}, rank=16)
    assert thin.rank == 5
    assert abs(thin.parameters / resolve("mid", rank=16).parameters - 1) < 0.07


def test_a_list_of_values_makes_one_condition_each():
    specs = expand_conditions(
        {"tuned": {"block": "mid", "learning_rate": [5e-6, 1e-5], "rank": [4, 8]}}, KEYS
    )
    assert [spec.name for spec in specs] == [
        "tuned-5e-06-4",
        "tuned-5e-06-8",
        "tuned-1e-05-4",
        "tuned-1e-05-8",
    ]
    assert specs[1].overrides == {"learning_rate": 5e-6, "rank": 8}
    # a list of targets is one value; a list of lists makes two conditions
    assert len(expand_conditions({"t": {"block": "mid", "targets": ["q_proj", "v_proj"]}}, KEYS)) == 1
    assert len(expand_conditions({"t": {"block": "mid", "targets": [["q_proj"], ["v_proj"]]}}, KEYS)) == 2


def test_phases_train_one_block_after_the_other():
    staged = resolve("staged", {"phases": [{"block": "local", "steps": 5}, {"block": "mid"}]})
    assert [phase.steps for phase in staged.phases] == [5, None]
    assert set(staged.phases[0].modules) == set(resolve("local").modules)
    assert staged.layers == tuple(range(8))


def test_controls_carry_their_labels_and_sampling_seed():
    assert resolve("shuffled", {"block": "full", "labels": "shuffled"}).labels == "shuffled"
    again = resolve("base_again", {"block": "none", "sampling_seed": 1})
    assert (again.trains, again.sampling_seed) == (False, 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"block": "midle"}, "Unknown block 'midle'. Did you mean 'mid'"),
        ({"block": ["mid"]}, "Unknown block"),
        ({"layers": [99]}, "names layer 99, but the model has 12 layers, 0 to 11"),
        ({"layers": [3, 3]}, "names layer 3 twice"),
        ({"layers": []}, "selects no layer"),
        ({"blocks": ["mid", "mid"]}, "selects layer 4-7 twice"),
        ({"blocks": ["mid", "full"]}, "twice by blocks mid, full"),
        ({"blocks": "mid"}, "must be a list of block names"),
        ({"random": 13}, "number of layers from 1 to 12"),
        ({"random": 0}, "number of layers from 1 to 12"),
        ({"block": "mid", "layers": [1]}, "in exactly one way, got block, layers"),
        ({"rank": 3}, "in exactly one way, got none"),
        ({"block": "mid", "lerning_rate": 1}, "Did you mean 'learning_rate'"),
        ({"block": "mid", "seed": 1}, "belongs to `random`"),
        ({"block": "mid", "labels": "shufled"}, "Did you mean 'shuffled'"),
        ({"block": "mid", "sampling_seed": -1}, "whole number from 0"),
        ({"block": "mid", "learning_rate": []}, "no value to try"),
        ({"block": "mid", "targets": ["z_proj"]}, "Unknown target module of condition 'x' 'z_proj'"),
        ({"block": "mid", "targets": ["q_proj", "self_attn.q_proj"]}, "twice"),
        ({"block": "mid", "targets": []}, "has no target modules"),
        ({"block": "mid", "learning_rate": {"local": 1e-5}}, "Give one rate for each block"),
        ({"block": "full", "parameters_like": "none"}, "one of the two trains nothing"),
        ({"block": "full", "parameters_like": "mid", "rank": 3}, "both `rank` and `parameters_like`"),
        ({"phases": [{"block": "mid"}, {"block": "local"}]}, "only the last phase may leave it out"),
        ({"phases": []}, "must be a list"),
        ({"phases": [{"block": "none", "steps": 3}, {"block": "mid"}]}, "trains nothing"),
    ],
)
def test_a_condition_that_selects_wrongly_is_refused_with_what_exists(settings, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        resolve("x", settings)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (["mid", "Mid"], "beside 'mid', which differs only in case"),
        (["mid", "mid"], "is named twice"),
        (["a/b"], "cannot name a condition"),
        (["../up"], "cannot name a condition"),
        ([".hidden"], "cannot name a condition"),
        ({"mid@0": None}, "cannot name a condition"),
        ([], "is empty"),
        ("mid", "must be a list of names or a mapping"),
        ({"mid": 3}, "must be a mapping such as"),
        ([3], "cannot name a condition"),
    ],
)
def test_names_that_cannot_be_folders_are_refused(written, said):
    with pytest.raises(UserError, match=said):
        expand_conditions(written, KEYS)


def test_base_trains_nothing():
    with pytest.raises(UserError, match=r"trains nothing\. Rename yours"):
        resolve("base", {"block": "mid"})
