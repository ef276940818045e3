"""What is said of a loss whose gradients are made by hand, and of a real model's; numbers derived in comments."""

import numpy as np
import pytest

from models.whole_models import set_up
from stratalign.blocks import Site
from stratalign.diagnostics.gradients import GradientSettings, gradient_signals, measure_gradients
from stratalign.diagnostics.loss_table import LossTable
from stratalign.losses import Objective
from training.joint_setups import make_trees

BLOCKS = {"low": range(2), "high": range(2, 4)}
SITES = [Site(f"m{layer}", layer, "proj", 10, 10) for layer in range(4)]


def table(lengths, noise, seed=0, chunks=16):
    """Each module's gradient is `length` along one direction; every chunk is one pair, with noise in 100 directions."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(4, chunks, 100)) * noise
    vectors[:, :, 0] += np.array(lengths)[:, None]
    grams = vectors @ vectors.transpose(0, 2, 1)
    return LossTable(SITES, BLOCKS, grams, np.ones(chunks), dict.fromkeys((s.name for s in SITES), 2.0))


def measure(run, engine, sites, trees, objective, settings):
    """The description of one source."""
    found = measure_gradients(engine, run, sites, BLOCKS, {"s": trees}, objective, settings, seed=0)
    return found["sources"]["s"]


def test_a_block_that_holds_nearly_all_is_much_greater():
    """Norms: low sqrt(9 + 16) = 5, high sqrt(2) = 1.41; ratio 3.54; per root parameter both over sqrt(200)."""
    found = table([3, 4, 1, 1], noise=0.02).describe(2.0, None)
    low = found["blocks"]["by_name"]["low"]
    assert low["norm"] == pytest.approx(5, rel=0.01)
    assert low["per_root_parameter"] == pytest.approx(5 / np.sqrt(200), rel=0.01)
    assert low["relative"] == pytest.approx(5 / np.sqrt(8), rel=0.01)  # two weights of norm 2
    assert low["share"]["value"] == pytest.approx(25 / 27, rel=0.01)
    said = found["blocks"]["mean_gradient"]
    assert (said["largest"], said["verdict"]) == ("low", "much greater")
    assert said["over"]["high"]["ratio"] == pytest.approx(5 / np.sqrt(2), rel=0.01)
    # the same ratio is not 10, and says so
    assert (
        table([3, 4, 1, 1], 0.02).describe(10.0, None)["blocks"]["mean_gradient"]["verdict"]
        == "not much greater"
    )


def test_noise_alone_is_no_verdict_and_has_no_norm():
    found = table([0, 0, 0, 0], noise=1.0, chunks=8).describe(2.0, None)
    assert found["blocks"]["mean_gradient"]["verdict"] == "cannot tell"
    row = found["all"]
    assert row["low"] == 0.0
    assert row["norm"] < 0.5 * row["naive_norm"]
    assert row["pair_norm"] == pytest.approx(20, rel=0.1)  # sqrt(400) directions of variance 1


def test_a_share_that_the_plain_likelihood_has_as_well_is_not_above_it():
    """Both losses have 80 % in the first layer; a third has 97 %, which is 1.2 times as much."""
    baseline = table([4, 1, 1, 1.4], noise=0.05, seed=1)
    same = table([8, 2, 2, 2.8], noise=0.05, seed=2).describe(2.0, baseline)["layers"][0]
    more = table([8, 1, 0.7, 0.7], noise=0.05, seed=2).describe(2.0, baseline)["layers"][0]
    assert same["share_over_baseline"]["reading"] == "cannot tell"
    assert same["share_over_baseline"]["ratio"] == pytest.approx(1, abs=0.02)
    assert more["share_over_baseline"]["reading"] == "above"
    expected = (64 / 65.98) / (16 / 19.96)
    assert more["share_over_baseline"]["ratio"] == pytest.approx(expected, rel=0.02)


def test_a_real_models_losses_are_measured_on_the_same_pairs_and_demonstrations_by_likelihood_alone():
    from stratalign.preferences import without_rejected

    _, sites, engine = set_up("llama")
    trees = make_trees(12)
    settings = GradientSettings(pairs=12, chunks=4)
    found = measure("r", engine, sites, trees, Objective(), settings)
    assert list(found["losses"]) == ["sigmoid", "sft"]
    assert (found["pairs"], found["chunks"]) == (12, 4)
    alone = measure("r", engine, sites, [without_rejected(t) for t in trees], Objective(), settings)
    assert list(alone["losses"]) == ["sft"]
    both, one = (record["losses"]["sft"]["all"]["norm"] for record in (found, alone))
    assert both == pytest.approx(one, rel=1e-5)  # the rejected branch says nothing about likelihood of chosen
    assert set(gradient_signals(found)["relative"]) == {site.name for site in sites}


def test_at_the_base_dpos_gradient_is_half_beta_of_the_margins():
    """-log sigmoid(beta m) has slope -beta / 2 at m = 0, so doubling beta doubles every norm."""
    _, sites, engine = set_up("llama")
    settings = GradientSettings(pairs=8, chunks=4)
    norms = [
        [
            row["norm"]
            for row in measure("r", engine, sites, make_trees(8), Objective(beta=beta), settings)["losses"][
                "sigmoid"
            ]["layers"]
        ]
        for beta in (0.1, 0.2)
    ]
    assert np.allclose(np.array(norms[1]), 2 * np.array(norms[0]), rtol=1e-6)


def test_cosines_between_losses_and_sources():
    """A source against itself under another name has cosine 1; the doubled loss points the same way."""
    _, sites, engine = set_up("llama")
    settings = GradientSettings(pairs=12, chunks=4)
    trees, others = make_trees(12), make_trees(12, seed=5)
    found = measure_gradients(
        engine, "r", sites, BLOCKS, {"a": trees, "again": trees, "b": others}, Objective(), settings, seed=0
    )
    rows = {
        tuple((one["source"], one["loss"]) for one in (row["of"], row["and"])): row
        for row in found["cosines"]
    }
    # within each source sigmoid and sft; between each two sources, the same loss
    assert len(rows) == 3 + 3 * 2
    same = rows[("a", "sft"), ("again", "sft")]
    for place in (same["all"], *same["blocks"].values()):
        assert place["value"] == pytest.approx(1, abs=1e-6)
        assert place["standard_error"] < 1e-6
    # two draws of random tokens have in common which tokens there are
    assert 0.2 < rows[("a", "sft"), ("b", "sft")]["all"]["value"] < 1
    assert set(same["blocks"]) == set(BLOCKS)
    assert all(-1 <= row["all"]["low"] <= row["all"]["high"] <= 1 for row in rows.values())
