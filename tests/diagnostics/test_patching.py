"""Exchanging states between base and tuned: gates against replaying the other model's states, and the ends."""

import numpy as np
import pytest
import torch

from models.whole_models import KINDS, set_up
from stratalign.diagnostics import PatchingSettings, measure_patching
from stratalign.diagnostics.patching import gated_margins, open_layers
from stratalign.errors import UserError
from stratalign.models import Captured, replay
from stratalign.preferences import without_rejected
from training.joint_setups import make_trees

BLOCKS = {"low": range(2), "high": range(2, 4)}
QUICK = PatchingSettings(resamples=200, window=2)


def measured(engine, sites, trees=None, **options):
    return measure_patching(
        engine, "r", sites, BLOCKS, 4, trees or make_trees(12), options.get("settings", QUICK), seed=0
    )


@pytest.mark.parametrize(
    "kind", ["llama", *(pytest.param(k, marks=pytest.mark.slow) for k in KINDS if k != "llama")]
)
def test_gates_are_the_other_models_states_on_entry_to_a_layer(kind):
    _, sites, engine = set_up(kind, lambda name: True)
    trees = make_trees(4)
    batch = engine.collate(trees)
    passed = engine.base(batch)
    states = {"base": {}, "tuned": {}}
    engine.walk(batch, passed, states["base"].__setitem__)
    with engine.active("r", frozenset()):
        engine.walk(batch, passed, states["tuned"].__setitem__)
    arguments = passed.captured.arguments
    for layer in range(5):
        below = open_layers(sites, range(layer))
        above = open_layers(sites, range(layer, 4))
        found = gated_margins(engine, "r", sites, {"below": below, "above": above}, trees)
        with torch.no_grad():
            last = replay(engine.anatomy, Captured({layer: states["tuned"][layer]}, arguments), layer)
            one = engine._log_probabilities(last[batch.rows, batch.positions], batch)
            with engine.active("r", frozenset()):
                last = replay(engine.anatomy, Captured({layer: states["base"][layer]}, arguments), layer)
                other = engine._log_probabilities(last[batch.rows, batch.positions], batch)
        assert np.allclose(found["below"], one[:, 0] - one[:, 1], atol=1e-9)
        assert np.allclose(found["above"], other[:, 0] - other[:, 1], atol=1e-9)


def test_the_ends_are_the_two_models_exactly_and_steps_add_up():
    _, sites, engine = set_up("llama", lambda name: True)
    record = measured(engine, sites)
    rows, top = record["layers"], record["top"]
    assert (rows[0]["denoising"]["value"], top["denoising"]["value"]) == (0.0, 1.0)
    assert (rows[0]["noising"]["value"], top["noising"]["value"]) == (1.0, 0.0)
    for key in ("made", "lost"):
        assert sum(row[key]["value"] for row in rows) == pytest.approx(1)
    effect = record["scores"]["effect"]
    for site in sites:
        row = rows[site.layer]
        assert effect[site.name] == pytest.approx((row["made"]["value"] + row["lost"]["value"]) / 2)
    assert [row["layers"] for row in record["windows"]] == [[0, 1], [1, 2], [2, 3]]
    assert record["windows"][0]["alone"] == record["blocks"]["low"]["alone"] == rows[2]["denoising"]


def test_an_adapter_in_one_layer_has_its_whole_effect_there():
    _, sites, engine = set_up("llama", lambda name: "layers.2." in name)
    own = [site for site in sites if site.layer == 2]
    record = measured(engine, own)
    assert [row["made"]["value"] for row in record["layers"]] == [0, 0, 1, 0]
    assert [row["lost"]["value"] for row in record["layers"]] == [0, 0, 1, 0]
    assert record["blocks"]["low"]["alone"]["value"] == 0
    assert record["blocks"]["high"]["without"]["value"] == 1


def test_intervals_are_over_clusters_of_the_ratio_of_sums():
    """Two clusters that rise by 3 and 2, of which a setting keeps 1 each: resamples of two have the shares 2/6, 2/5 and
    2/4, and rises of 3, 2.5 and 2."""
    from stratalign.diagnostics.patching import _Scaled

    trees = make_trees(2)
    values = {"x": np.array([1.0, 1.0])}
    scaled = _Scaled(values, np.zeros(2), np.array([3.0, 2.0]), trees, 2000, seed=0)
    share = scaled.share("x")
    assert share["value"] == pytest.approx(2 / 5)
    assert (share["low"], share["high"]) == (pytest.approx(1 / 3), pytest.approx(1 / 2))
    assert scaled.total() == {"rise": 2.5, "low": 2.0, "high": 3.0, "tells": True}


def test_what_cannot_be_patched_is_refused():
    _, sites, engine = set_up("llama", lambda name: True)
    with pytest.raises(UserError, match="demonstrations"):
        measured(engine, sites, [without_rejected(tree) for tree in make_trees(4)])
    for tensor, p in engine.bank.parameters("r").items():
        if "lora_B" in tensor:
            p.data.zero_()
    with pytest.raises(UserError, match="changes no margin"):
        measured(engine, sites)
