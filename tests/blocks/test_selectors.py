"""Conditions chosen by a record: top and bottom shares of modules, and what is refused."""

import pytest

from stratalign.blocks import (
    Site,
    drop_share,
    expand_conditions,
    hard_mask,
    keep_share,
    partition,
    resolve_condition,
)
from stratalign.errors import UserError

KINDS = ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")
SITES = [
    Site(f"model.layers.{layer}.{kind}", layer, kind, 8, 8, attention="attn" in kind)
    for layer in range(6)
    for kind in KINDS
]
NAMES = [site.name for site in SITES]
BY = "diagnostics/significance.json"
RECORD = {BY: {"score": {name: float(i) for i, name in enumerate(NAMES)}, "other": dict.fromkeys(NAMES, 1.0)}}


def resolve(settings, records=RECORD, **options):
    (spec,) = expand_conditions({"s": settings}, ("learning_rate", "targets"))
    given = {"learning_rate": 1e-3, "targets": ["self_attn.q_proj"], "rank": 4} | options
    return resolve_condition(spec, SITES, partition(6), records=records, **given)


def refusal(settings, **options):
    with pytest.raises(UserError) as caught:
        resolve(settings, **options)
    return str(caught.value)


def test_the_top_share_of_modules_trains_whatever_their_kind_and_layer():
    found = resolve({"by": BY, "keep": 0.25})
    assert found.modules == tuple(NAMES[18:])  # the last 6 of 24
    assert found.layers == (4, 5)
    assert found.targets == ("q_proj", "o_proj", "up_proj", "down_proj")  # as they stand in a layer
    assert set(found.phases[0].modules.values()) == {1e-3}
    assert found.parameters == 6 * 4 * 16


def test_dropping_the_bottom_quarter_is_keeping_the_rest():
    assert resolve({"by": BY, "drop": 0.25}).modules == resolve({"by": BY, "keep": 0.75}).modules
    assert len(resolve({"by": BY, "drop": 0.25}).modules) == 18


def test_shares_are_counted_to_the_nearest_module_and_are_never_empty():
    scores = {name: -float(i) for i, name in enumerate("abcde")}
    assert keep_share(scores, 0.5) == frozenset("abc")  # 2.5 rounds up
    assert drop_share(scores, 0.5) == frozenset("ab")
    assert keep_share(scores, 0.01) == drop_share(scores, 0.99) == frozenset("a")


def test_equal_numbers_are_taken_in_the_models_order():
    assert hard_mask({"c": 1.0, "a": 1.0, "b": 2.0}, 2) == frozenset("cb")
    assert resolve({"by": BY, "keep": 0.25, "signal": "other"}).modules == tuple(NAMES[:6])


def test_targets_of_the_condition_itself_restrict_what_is_ranked():
    found = resolve({"by": BY, "keep": 0.5, "targets": ["q_proj"]}, targets=["q_proj"])
    assert found.modules == tuple(n for n in NAMES if "q_proj" in n)[3:]


def test_a_list_of_shares_makes_one_condition_each():
    specs = expand_conditions({"top": {"by": BY, "keep": [0.1, 0.2, 0.3]}}, ())
    assert [(spec.name, spec.selection["keep"]) for spec in specs] == [
        ("top-0.1", 0.1),
        ("top-0.2", 0.2),
        ("top-0.3", 0.3),
    ]


def test_a_record_that_is_not_there_names_the_command_that_makes_it():
    message = refusal({"by": BY, "keep": 0.25}, records={})
    assert "stratalign diagnose significance RECIPE.yaml" in message
    message = refusal({"by": "diagnostics/gradients@mid.json", "keep": 0.25}, records={})
    assert "stratalign diagnose gradients RECIPE.yaml" in message
    message = refusal({"by": "studies/other/diagnostics/gradients.json", "keep": 0.25}, records={})
    assert message.endswith("stratalign diagnose gradients RECIPE.yaml --out studies/other")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"by": BY}, "either the share to keep or the one to drop"),
        ({"by": BY, "keep": 0.25, "drop": 0.25}, "either the share to keep or the one to drop"),
        ({"by": BY, "keep": 25}, "must be a share between 0 and 1"),
        ({"by": BY, "keep": True}, "must be a share between 0 and 1"),
        ({"by": 3, "keep": 0.5}, "name its file"),
        ({"block": "mid", "keep": 0.5}, "belongs to `by`"),
        ({"by": BY, "keep": 0.25, "signal": "scor"}, "Did you mean 'score'?"),
    ],
)
def test_mistakes_are_told_with_what_to_do(settings, said):
    assert said in refusal(settings)


def test_a_record_of_another_model_and_rates_by_block_are_refused():
    foreign = {BY: {"score": {"model.layers.9.mlp.up_proj": 1.0, "model.layers.8.mlp.up_proj": 0.0}}}
    assert "is of another model" in refusal({"by": BY, "keep": 0.5}, records=foreign)
    assert "takes one learning_rate" in refusal({"by": BY, "keep": 0.5}, learning_rate={"mid": 1e-3})
    assert "has no numbers for modules" in refusal({"by": BY, "keep": 0.5}, records={BY: {}})


def test_a_shuffled_ranking_chooses_as_many_of_each_kind_at_random():
    """The numbers rise with the kind, so that the top half of all 24 is up_proj and down_proj of every layer."""
    by_kind = {
        BY: {"score": {site.name: 10.0 * KINDS.index(site.kind) + site.layer for site in SITES}},
    }
    settings = {
        "by": BY,
        "keep": 0.375,
        "ranking": "shuffled",
    }  # 9 modules: down_proj everywhere, up_proj of 3
    found = [resolve(settings | {"seed": seed}, by_kind).modules for seed in range(40)]
    for modules in found:
        kinds = [name.rsplit("layers.")[1][2:] for name in modules]
        assert [kinds.count(kind) for kind in KINDS] == [0, 0, 3, 6]
    drawn = {name for modules in found for name in modules if "up_proj" in name}
    assert len(drawn) == 6  # every layer's is drawn by some seed
    assert resolve(settings, by_kind).modules == found[0]
    assert len(set(found)) > 10


def test_with_arithmetic_a_shuffled_ranking_is_dealt_out_among_the_layers_that_keep_to_it():
    """Of the upper half's modules down_proj has the largest numbers, of the lower half's q_proj has: dealt out over
    all layers, q_proj would be chosen above too."""
    score = {s.name: float((10 if s.kind == KINDS[3 if s.layer >= 3 else 0] else 0) + s.layer) for s in SITES}
    settings = {"by": BY, "parameters": 0.5, "arithmetic": 0.55, "ranking": "shuffled"}
    for seed in range(20):
        modules = resolve(settings | {"seed": seed}, {BY: {"score": score}}).modules
        assert len(modules) == 3
        assert all("down_proj" in name and int(name.split(".")[2]) >= 3 for name in modules)


def test_a_list_of_seeds_makes_one_control_each():
    written = {"c": {"by": BY, "keep": [0.1, 0.2], "ranking": "shuffled", "seed": [1, 2]}}
    specs = expand_conditions(written, ())
    assert [spec.name for spec in specs] == ["c-0.1-1", "c-0.1-2", "c-0.2-1", "c-0.2-2"]
    assert [spec.selection["seed"] for spec in specs] == [1, 2, 1, 2]


def test_rankings_that_are_not_known_and_seeds_of_nothing_are_refused():
    assert "shuffled" in refusal({"by": BY, "keep": 0.5, "ranking": "random"})
    assert "belongs to `random` or `ranking`" in refusal({"by": BY, "keep": 0.5, "seed": 1})
