"""A run's fingerprint holds the settings that its loss reads, and no others."""

import stratalign as sa
from stratalign.recipe import parse_recipe
from stratalign.training import LOSS_KEYS


def test_only_what_a_loss_reads_makes_its_results_stale_and_zero_is_as_if_not_set(recipe, tmp_path):
    conditions = {
        "dpo": {"block": "mid"},
        "rpo": {"block": "mid", "nll": 0.5},
        "simple": {"block": "mid", "loss": "simpo", "beta": 2},
        "imitating": {"block": "mid", "loss": "sft"},
    }
    planned = sa.plan(parse_recipe(recipe(conditions=conditions)), out=tmp_path / "out")
    found = {
        name: {
            key: value
            for key, value in planned.fingerprints[f"run {name}@0"]["training"].items()
            if key in LOSS_KEYS
        }
        for name in conditions
    }
    assert found == {
        "dpo": {"beta": 0.1},
        "rpo": {"beta": 0.1, "nll": 0.5},
        "simple": {"beta": 2.0, "simpo_gamma": 0.5},
        "imitating": {},
    }
