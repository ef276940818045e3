"""Similarity of made-up states: blocks that were planted, drift that was planted."""

import numpy as np
import pytest

from stratalign.blocks import Site
from stratalign.diagnostics import SimilaritySettings, States, measure_similarity
from stratalign.errors import UserError

CLUSTERS = [f"c{i % 20}" for i in range(80)]
SITES = [Site(f"layers.{layer}.q", layer, "q", 4, 4) for layer in range(6)]
BLOCKS = {"local": range(2), "mid": range(2, 4), "global": range(4, 6)}
QUICK = SimilaritySettings(halves=20)


def states(planted=(1, 3, 2), seed=0, noise=0.2):
    """Layers of one block leave nearly the same behind."""
    draw = np.random.default_rng(seed)
    parts = [draw.normal(size=(80, 12))]
    for size in planted:
        whole = draw.normal(size=(80, 12))
        parts += [whole + noise * draw.normal(size=(80, 12)) for _ in range(size)]
    responses = np.stack(parts, axis=1).astype(np.float32)[:, None]
    return States(responses[:, 0], responses, np.ones((80, 1), np.int64), 0)


def measured(base, tuned=None, **options):
    return measure_similarity(base, tuned, CLUSTERS, SITES, BLOCKS, options.get("settings", QUICK), seed=0)


def test_planted_blocks_are_found_again_in_halves_of_the_clusters():
    record = measured(states())
    found = record["boundaries"]
    assert found["blocks"] == [[0, 0], [1, 3], [4, 5]]
    assert found["agree"] == 1.0
    first, second = found["rows"]
    assert (first["first_layer"], first["even"], first["shift"], first["seen"]) == (1, 2, -1, {"1": 1.0})
    assert (second["first_layer"], second["even"], second["shift"]) == (4, 4, 0)
    matrix = np.array(record["layer_similarity"])
    assert matrix.shape == (6, 6)
    assert matrix[1, 2] > 0.8 > 0.1 > matrix[0, 1]


def test_scores_are_what_a_layer_changes_for_all_of_its_modules():
    record = measured(states())
    change = record["scores"]["change"]
    assert set(record["scores"]) == {"change", "angle"}
    for site in SITES:
        row = record["layers"][site.layer]
        assert change[site.name] == pytest.approx(1 - row["entry_to_exit"]["value"])
    assert change["layers.1.q"] > 0.9 > 0.2 > change["layers.2.q"]
    assert record["layers"][1]["angle"]["value"] == pytest.approx(0.5, abs=0.05)


def test_drift_is_where_the_tuned_model_differs():
    base, tuned = states(), states()
    tuned.responses[:, 0, 4:] = states(seed=1).responses[:, 0, 4:]
    record = measured(base, tuned)
    values = [row["similarity"]["value"] for row in record["drift"]]
    assert values[:4] == pytest.approx([1] * 4)
    assert max(values[4:]) < 0.15
    assert [row["cosine"]["value"] for row in record["drift"]][:4] == pytest.approx([1] * 4)
    assert record["drift"][0]["relative_change"]["value"] == 0
    assert record["scores"]["drift"]["layers.3.q"] > 0.8  # state 4 is what leaves layer 3


def test_intervals_hold_the_cka_of_a_large_sample():
    """States that share half of their variance: covariance 0.5 I, variances I, so |0.5 I|^2 / (|I| |I|) = 0.25."""
    held = 0
    for seed in range(10):
        draw = np.random.default_rng(seed)
        common = draw.normal(size=(80, 12))
        parts = [np.sqrt(0.5) * (common + draw.normal(size=(80, 12))) for _ in range(7)]
        one = np.stack(parts, axis=1).astype(np.float32)[:, None]
        record = measured(States(one[:, 0], one, np.ones((80, 1), np.int64), 0))
        row = record["layers"][3]["entry_to_exit"]
        held += row["low"] <= 0.25 <= row["high"]
    assert held >= 8


def test_too_few_pairs_and_states_without_variation_are_refused():
    few = states()
    few.responses[7:] = np.nan
    with pytest.raises(UserError, match="at least 8 training pairs of as many clusters"):
        measured(few)
    flat = states()
    flat.responses[:, :, 3] = 1.0
    with pytest.raises(UserError, match="do not vary"):
        measured(flat)
    prompt = states()
    prompt.prompt[:, 0] = 1.0  # one token ends every prompt: the embeddings do not vary, and need not
    found = measured(prompt, settings=SimilaritySettings(halves=20, states="prompt"))
    assert found["layers"][0]["entry_to_exit"]["value"] is None
