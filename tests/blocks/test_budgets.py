"""Budgets by hand on a small set of sites: parameters and arithmetic, whole layers, even ones, random draws.

Four layers of q [8 -> 8] and up [8 -> 16]: 64 + 128 = 192 weights a layer, 4 x 192 = 768 operations a token forward and
backward. LoRA of rank 1 on q has 8 + 8 = 16 parameters, on up 8 + 16 = 24, a layer 40, all layers 160. Full takes
4 x 768 + 6 x 160 = 4032 operations.
"""

from collections import Counter

import pytest

from stratalign.blocks import Site, cost_of, expand_conditions, partition, resolve_condition
from stratalign.errors import UserError

SITES = [
    Site(f"model.layers.{layer}.{kind}", layer, kind, 8, out, attention=kind == "q_proj")
    for layer in range(4)
    for kind, out in (("q_proj", 8), ("up_proj", 16))
]
BY = "diagnostics/x.json"
SCORES = [1, 8, 2, 7, 3, 6, 4, 5]
"""Of q and up, layer by layer: up of layers 0, 1, 2, 3 come first, then q of layers 3, 2, 1, 0."""
RECORD = {BY: {"score": {site.name: float(value) for site, value in zip(SITES, SCORES, strict=True)}}}


def resolve(settings, rank=1, records=RECORD, sites=SITES):
    targets = ["q_proj", "up_proj"]
    (spec,) = expand_conditions({"s": settings}, ("learning_rate", "targets"))
    options = {"learning_rate": 1e-3, "targets": targets, "rank": rank, "full_targets": targets}
    return resolve_condition(spec, sites, partition(4), records=records, **options)


def short(found):
    return [name.removeprefix("model.layers.").removesuffix("_proj") for name in found.modules]


def refusal(settings, **options):
    with pytest.raises(UserError) as caught:
        resolve(settings, **options)
    return str(caught.value)


def test_costs_are_those_worked_out_by_hand():
    assert cost_of(SITES, SITES, 1) == (160, 4032)
    top = [SITES[6]]  # q of layer 3: one layer forward and backward, 16 parameters
    assert cost_of(SITES, top, 1) == (16, 768 + 6 * 16)
    assert cost_of(SITES, [SITES[0], SITES[6]], 2).arithmetic == 3072 + 6 * 64
    assert cost_of(SITES, [], 1) == (0, 0)
    assert cost_of(SITES, top, 1).of(cost_of(SITES, SITES, 1)) == (0.1, 864 / 4032)


def test_the_best_modules_train_until_the_next_would_pass_the_budget():
    # 0.45 x 160 = 72: up of layers 0, 1, 2 has 72; the next, up of layer 3, would pass.
    assert short(resolve({"by": BY, "parameters": 0.45})) == ["0.up", "1.up", "2.up"]
    # 0.44 x 160 = 70.4: two of them have 48, the third would pass, and nothing smaller is taken in its place.
    assert short(resolve({"by": BY, "parameters": 0.44})) == ["0.up", "1.up"]
    assert short(resolve({"by": BY, "parameters": 0.44}, rank=7)) == [
        "0.up",
        "1.up",
    ]  # shares at the same rank


def test_shares_are_of_what_full_trains_not_of_what_may_be_chosen():
    # 0.2 x 160 = 32 are two q of 16, although 0.2 of all q would be less than one.
    (spec,) = expand_conditions({"s": {"by": BY, "parameters": 0.2, "targets": ["q_proj"]}}, ("targets",))
    found = resolve_condition(
        spec, SITES, partition(4), learning_rate=1e-3, targets=["q_proj"], rank=1, records=RECORD,
        full_targets=["q_proj", "up_proj"],
    )  # fmt: skip
    assert short(found) == ["2.q", "3.q"]


def test_arithmetic_is_kept_by_the_lowest_layer_and_parameters_are_the_same():
    # 0.6 x 4032 = 2419. With 48 parameters (0.3): from layer 1 3 x 768 + 288 = 2592 is too much, from 2 1824 is not.
    found = resolve({"by": BY, "parameters": 0.3, "arithmetic": 0.6})
    assert short(found) == ["2.up", "3.up"]
    assert found.parameters == resolve({"by": BY, "parameters": 0.3}).parameters == 48
    assert cost_of(SITES, [s for s in SITES if s.name in found.modules], 1).arithmetic <= 0.6 * 4032
    # As many modules as a quarter of all, but only from layer 2 up.
    assert short(resolve({"by": BY, "keep": 0.25, "arithmetic": 0.6})) == ["2.up", "3.up"]
    assert short(resolve({"by": BY, "keep": 0.75, "arithmetic": 0.6})) == ["2.q", "2.up", "3.q", "3.up"]


@pytest.mark.parametrize("arithmetic", [0.3, 0.45, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("parameters", [0.16, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("by", [BY, "even", "random"])
def test_no_budget_is_ever_passed(by, parameters, arithmetic):
    for unit in ("module", "layer"):
        try:
            found = resolve({"by": by, "parameters": parameters, "arithmetic": arithmetic, "unit": unit})
        except UserError as error:
            if "too few" not in str(error):
                raise
            continue
        cost = cost_of(SITES, [s for s in SITES if s.name in found.modules], 1)
        assert 0 < cost.parameters <= parameters * 160
        assert cost.arithmetic <= arithmetic * 4032


def test_whole_layers_are_chosen_by_their_mean_score():
    record = {BY: {"score": {s.name: [3.0, 9.0, 1.0, 5.0][s.layer] + (s.kind == "q_proj") for s in SITES}}}
    # 0.5 x 160 = 80 = two layers of 40: the best are 1 and 3.
    assert resolve({"by": BY, "parameters": 0.5, "unit": "layer"}, records=record).layers == (1, 3)
    assert resolve({"by": BY, "keep": 0.25, "unit": "layer"}, records=record).layers == (1,)
    assert resolve({"by": BY, "drop": 0.25, "unit": "layer"}, records=record).layers == (0, 1, 3)


def test_even_layers_lie_in_the_middles_of_equal_stretches_and_the_last_is_cut_to_the_budget():
    assert resolve({"by": "even", "parameters": 0.5}).layers == (1, 3)  # 2 of 4: floor(1), floor(3)
    assert resolve({"by": "even", "parameters": 0.25}).layers == (2,)
    # 0.35 x 160 = 56 = layer 1 (40) and q of layer 3 (16).
    assert short(resolve({"by": "even", "parameters": 0.35})) == ["1.q", "1.up", "3.q"]
    assert resolve({"by": "even", "parameters": 0.35, "unit": "layer"}).layers == (2,)


def test_random_draws_are_distinct_and_have_the_kinds_of_even_layers():
    even = resolve({"by": "even", "parameters": 0.35})
    draws = [resolve({"by": "random", "parameters": 0.35, "draw": draw}) for draw in range(20)]
    assert len({found.modules for found in draws}) == 20
    kinds = Counter(name.rpartition(".")[2] for name in even.modules)
    assert kinds == {"q_proj": 2, "up_proj": 1}
    for found in draws:
        assert Counter(name.rpartition(".")[2] for name in found.modules) == kinds
        assert found.parameters == even.parameters
    assert {name for found in draws for name in found.modules} == {site.name for site in SITES}
    assert resolve({"by": "random", "parameters": 0.35, "draw": 3}).modules == draws[3].modules
    assert resolve({"by": "random", "parameters": 0.35, "seed": 1}).modules != draws[0].modules


def test_there_are_only_so_many_draws_of_whole_layers():
    one = {"by": "random", "parameters": 0.25, "unit": "layer"}
    assert {resolve(one | {"draw": draw}).layers for draw in range(4)} == {(0,), (1,), (2,), (3,)}
    assert "only 4 distinct draws" in refusal(one | {"draw": 4})


def test_all_ways_of_choosing_have_equal_parameters_within_one_module():
    for share in (0.2, 0.35, 0.5, 0.65, 0.8):
        for by in (BY, "even", "random"):
            spent = resolve({"by": by, "parameters": share}).parameters
            assert share * 160 - 24 < spent <= share * 160


def test_smaller_units_are_advised_only_where_layers_are_chosen_and_the_advised_share_does():
    """A module of 80 + 1 parameters among 81 x 41 + 3 = 3324: a share of 0.02437, of which 0.024 would pay for 79."""
    sites = [Site("model.layers.0.odd", 0, "odd", 1, 2)]
    sites += [Site(f"model.layers.{layer}.q_proj", layer, "q_proj", 80, 1) for layer in range(41)]
    targets = {"targets": ["q_proj", "odd"]}
    record = {BY: {"score": {sites[1].name: 1.0}}}

    def said(settings):
        (spec,) = expand_conditions({"s": settings | targets}, ("targets",))
        options = {"learning_rate": 1e-3, "rank": 1, "full_targets": targets["targets"], "records": record}
        return resolve_condition(spec, sites, partition(41), **targets, **options)

    with pytest.raises(UserError, match=r"Give at least 0\.025\.$"):
        said({"by": BY, "parameters": 0.02})
    assert said({"by": BY, "parameters": 0.025}).parameters == 81
    message = refusal({"by": BY, "parameters": 0.2, "unit": "layer"})
    assert message.endswith("Give at least 0.25, or choose single modules (unit: module).")
    assert "Ask for fewer." in refusal({"by": "random", "parameters": 0.15, "draw": 9})


def test_targets_stand_in_the_models_order_whichever_layer_has_them_first():
    found = resolve(
        {"by": BY, "parameters": 0.6}
    )  # up of layers 0 to 3 = 96; the next, q of layer 3, is too much
    assert (short(found), found.targets) == (["0.up", "1.up", "2.up", "3.up"], ("up_proj",))
    found = resolve({"by": BY, "parameters": 0.7})
    assert (short(found)[0], found.targets) == ("0.up", ("q_proj", "up_proj"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"by": BY, "parameters": 0.1}, "model.layers.0.up_proj has 24. Give at least 0.15"),
        ({"by": "even", "parameters": 0.2, "unit": "layer"}, "too few to train anything: layer 0 has 40"),
        ({"by": BY, "parameters": 0.3, "arithmetic": 0.1}, "layer 3, the cheapest, needs more"),
        ({"by": BY, "arithmetic": 0.5}, "either the share to keep or the one to drop"),
        ({"by": BY, "keep": 0.5, "parameters": 0.5}, "either the share to keep or the one to drop"),
        ({"by": BY, "drop": 0.5, "arithmetic": 0.5}, "both `drop` and `arithmetic`"),
        ({"by": BY, "parameters": 1.5}, "must be a share between 0 and 1"),
        ({"by": BY, "parameters": 0.5, "unit": "block"}, "Known: module, layer"),
        ({"by": "even", "keep": 0.5}, "is chosen by even, which is no record"),
        ({"by": "random", "parameters": 0.5, "signal": "x"}, "leave out signal"),
        ({"by": "even", "parameters": 0.5, "draw": 1}, "belongs to `by: random`"),
        ({"by": "random", "parameters": 0.5, "draw": -1}, "must be a whole number"),
        ({"by": "even", "parameters": 0.5, "seed": 1}, "belongs to `random` or `ranking`"),
        ({"block": "mid", "unit": "layer"}, "belongs to `by`"),
        ({"by": "diagnostics/weights.json", "parameters": 0.5}, "stratalign diagnose weights RECIPE.yaml"),
    ],
)
def test_mistakes_are_told_with_what_to_do(settings, said):
    assert said in refusal(settings)
