"""Sizes of updates from LoRA's factors, held against the updates themselves."""

import math

import numpy as np
import pytest
import torch

from models.whole_models import KINDS, set_up
from stratalign.blocks import Site
from stratalign.diagnostics import LowRank, measure_deltas, relative_sizes
from stratalign.diagnostics.deltas import update_singular_values
from stratalign.errors import UserError
from stratalign.models import weight_norm

BLOCKS = {"low": range(2), "high": range(2, 4)}


@pytest.mark.parametrize(
    ("out", "inputs", "rank"), [(30, 20, 4), (20, 30, 4), (3, 30, 8), (30, 3, 8), (1, 5, 2)]
)
def test_factors_have_the_singular_values_of_the_update_that_is_never_built(out, inputs, rank):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(*shape, generator=generator) for shape in ((rank, inputs), (out, rank)))
    found = update_singular_values(LowRank(a, b, 2.5))
    expected = np.linalg.svd(2.5 * b.double().numpy() @ a.double().numpy(), compute_uv=False)
    assert len(found) == min(out, inputs, rank)
    assert np.allclose(found, expected[: len(found)], rtol=1e-9)
    assert np.allclose(expected[len(found) :], 0, atol=1e-9)
    assert np.allclose(update_singular_values(2.5 * b.double() @ a.double()), expected, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_of_real_models_norms_are_those_of_what_peft_adds(kind):
    model, sites, engine = set_up(kind, lambda name: True)
    parameters = engine.bank.parameters("r")
    updates = {
        site.name: LowRank(*(parameters[f"{site.name}.lora_{part}.weight"] for part in "AB"), 2.0)
        for site in sites
    }
    norms = {site.name: weight_norm(model, site.name) for site in sites}
    found = measure_deltas(updates.__getitem__, sites, norms, BLOCKS, "r")
    for site, row in zip(sites, found["modules"], strict=True):
        layer = model.get_submodule(site.name)
        built = layer.get_delta_weight(next(iter(layer.lora_A)))
        weight = layer.get_base_layer().weight
        assert row["norm"] == pytest.approx(float(built.norm()), rel=1e-9)
        assert row["spectral_norm"] == pytest.approx(float(torch.linalg.matrix_norm(built, 2)), rel=1e-9)
        assert row["relative"] == pytest.approx(float(built.norm() / weight.norm()), rel=1e-9)
        assert 1 <= row["stable_rank"] <= row["effective_rank"] <= 3
    assert relative_sizes(found) == {row["module"]: row["relative"] for row in found["modules"]}


def test_shares_and_relative_sizes_of_blocks():
    """Norms 3 and 4 in low, 12 in high, of weights with norms 6, 8 and 5: whole 13, low 5 of 10, high 12 of 5."""
    sites = [Site(f"m{layer}", layer, "p", 2, 2) for layer in (0, 1, 3)]
    updates = {site.name: torch.diag(torch.tensor([size, 0.0])) for site, size in zip(sites, (3, 4, 12))}  # noqa: B905
    found = measure_deltas(updates.__getitem__, sites, {"m0": 6.0, "m1": 8.0, "m3": 5.0}, BLOCKS, "r")
    assert found["all"]["norm"] == pytest.approx(13)
    assert found["all"]["relative"] == pytest.approx(13 / math.sqrt(125))
    assert found["blocks"]["low"]["share"] == pytest.approx(25 / 169)
    assert found["blocks"]["low"]["relative"] == pytest.approx(0.5)
    assert found["blocks"]["high"]["relative"] == pytest.approx(2.4)
    assert [row["layer"] for row in found["layers"]] == [0, 1, 3]
    assert found["all"]["effective_rank"] == pytest.approx(1)


def test_an_untrained_module_has_no_rank_and_a_diverged_one_is_refused():
    site = Site("m", 0, "p", 2, 2)
    zero = LowRank(torch.ones(1, 2), torch.zeros(2, 1), 1.0)
    found = measure_deltas({"m": zero}.__getitem__, [site], {"m": 1.0}, BLOCKS, "r")
    assert found["modules"][0]["relative"] == 0
    assert found["modules"][0]["effective_rank"] is found["all"]["share"] is None
    wild = LowRank(torch.ones(1, 2), torch.full((2, 1), math.nan), 1.0)
    with pytest.raises(UserError, match="The update of m in wild is not finite"):
        measure_deltas({"m": wild}.__getitem__, [site], {"m": 1.0}, BLOCKS, "wild")
