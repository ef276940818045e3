"""Signal-to-noise ratios of real architectures' weights, fused and transposed ones included."""

import numpy as np
import pytest
import torch

from models.whole_models import KINDS, set_up
from stratalign.diagnostics import measure_weights
from stratalign.diagnostics.weights import places_in_kind, singular_values

BLOCKS = {"low": range(2), "high": range(2, 4)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_module_is_measured_as_the_model_has_it(kind):
    """Norms from torch's own; one matrix for a fused weight; random weights have little signal."""
    model, sites, _ = set_up(kind)
    found = measure_weights(model, sites, BLOCKS)
    assert [row["module"] for row in found["modules"]] == [site.name for site in sites]
    for site, row in zip(sites, found["modules"], strict=True):
        weight = model.get_submodule(site.name).weight
        assert sorted(row["shape"]) == sorted(weight.shape)
        assert row["spectral_norm"] == pytest.approx(float(torch.linalg.matrix_norm(weight, 2)), rel=1e-9)
        assert row["norm"] == pytest.approx(float(weight.norm()), rel=1e-9)
        assert row["snr"] < 0.35  # sides of 16 and 32: the edge of noise is not sharp
        assert 1 <= row["stable_rank"] <= row["effective_rank"] <= min(weight.shape)
    assert set(found["scores"]) == {"snr", "snr_in_kind", "spectrum", "spectrum_in_kind"}
    assert set(found["scores"]["snr"]) == {site.name for site in sites}
    assert found["heatmap"]["layers"] == [0, 1, 2, 3]


def test_a_planted_direction_ranks_first_and_a_dead_weight_is_never_chosen():
    model, sites, _ = set_up("llama")
    strong, dead = sites[3], sites[10]
    with torch.no_grad():
        weight = model.get_submodule(strong.name).weight
        weight += 10 * torch.outer(torch.randn(len(weight)), torch.randn(weight.shape[1])).double()
        model.get_submodule(dead.name).weight.zero_()
    found = measure_weights(model, sites, BLOCKS)
    rows = {row["module"]: row for row in found["modules"]}
    assert (rows[strong.name]["rank"], rows[strong.name]["rank_in_kind"]) == (1, 1)
    assert rows[strong.name]["snr_in_kind"] == pytest.approx(
        2.5 / 3
    )  # two others have a ratio, itself counts half
    for key in ("snr", "spectrum", "snr_in_kind", "rank", "rank_in_kind"):
        assert rows[dead.name][key] is None
    assert found["missing"] == {dead.name: "zero"}
    assert all(dead.name not in own for own in found["scores"].values())
    kin = [row["rank_in_kind"] for row in rows.values() if row["kind"] == dead.kind and row["rank"]]
    assert sorted(kin) == [1, 2, 3]
    block = [row["snr"] for row in rows.values() if row["layer"] < 2 and row["snr"] is not None]
    assert found["blocks"]["low"]["snr"] == pytest.approx(np.mean(block))


def test_places_among_a_kind():
    scores = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 5.0}
    places = places_in_kind(scores, {"a": "x", "b": "x", "c": "x", "d": "y"})
    # below b: one, equal to it: two, so (1 + 1) / 3; d is alone
    assert places == pytest.approx({"a": 0.5 / 3, "b": 2 / 3, "c": 2 / 3, "d": 0.5})


def test_a_weight_that_is_not_finite_has_no_singular_values():
    assert len(singular_values(torch.tensor([[1.0, float("inf")]]))) == 0
