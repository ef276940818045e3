"""Probes on made-up states: what is planted is found at its depth, and what is not there is not."""

import numpy as np
import pytest

from stratalign.diagnostics.linear_probes import Examples, cluster_folds, held_out_right, probe

QUICK = {"folds": 4, "controls": 2, "strength": 0.1, "resamples": 200, "seed": 0}
CLUSTERS = tuple(f"c{i % 24}" for i in range(240))


def planted(depth, states=4, width=10):
    """Noise at every state, and at one of them a direction that tells the label."""
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 2, size=240)
    features = draw.normal(size=(240, states, width))
    features[:, depth, 4] += 3 * (2 * labels - 1)
    return features, labels, np.zeros((240, 1)) + draw.normal(size=(240, 1))


def test_a_planted_direction_is_found_at_its_depth_and_nowhere_else():
    features, labels, lengths = planted(2)
    found = probe(Examples(features, labels, CLUSTERS, lengths), **QUICK)
    assert found.accuracy[2] > 0.97
    assert (np.delete(found.accuracy, 2) < 0.65).all()
    assert (np.abs(found.control - 0.5) < 0.12).all()
    assert (found.selectivities.argmax(axis=1) == 2).all()
    assert abs(found.baseline - 0.5) < 0.1


def test_permuted_labels_are_at_chance():
    features, labels, lengths = planted(2)
    dealt = np.random.default_rng(9).permutation(labels)
    found = probe(Examples(features, dealt, CLUSTERS, lengths), **QUICK)
    assert (np.abs(found.accuracy - 0.5) < 0.12).all()


def test_pairs_are_told_apart_by_their_difference_and_by_length_where_length_tells():
    draw = np.random.default_rng(4)
    features = draw.normal(size=(240, 3, 6))
    features[:, 1, 0] += 2.0  # the chosen response has more of feature 0 at state 1
    longer = np.abs(draw.normal(size=(240, 1)))
    found = probe(Examples(features, None, CLUSTERS, longer), **QUICK)
    assert found.accuracy[1] > 0.93  # P(N(2, 1) > 0) = 0.977
    assert found.accuracy[0] < 0.62
    assert found.baseline == 1.0
    assert (np.abs(found.control - 0.5) < 0.12).all()


def test_a_length_that_does_not_vary_answers_no_pair():
    features = np.random.default_rng(4).normal(size=(240, 1, 6))
    assert probe(Examples(features, None, CLUSTERS, np.zeros((240, 1))), **QUICK).baseline == 0.0


def test_every_class_counts_alike():
    """9 of 10 rows are of one class: answering that class always would be right for 0.9 of them, and is worth 0.5."""
    draw = np.random.default_rng(5)
    labels = (np.arange(240) % 10 == 0).astype(np.int64)
    found = probe(Examples(draw.normal(size=(240, 1, 5)), labels, CLUSTERS, np.ones((240, 1))), **QUICK)
    assert abs(found.accuracy[0] - 0.5) < 0.15
    assert found.baseline == pytest.approx(0.5)


def test_labels_of_whole_clusters_are_learned_from_other_clusters_alone():
    """States that name their cluster and nothing else: a probe that had seen the cluster would know its label."""
    names = sorted(set(CLUSTERS))
    codes = np.array([names.index(name) for name in CLUSTERS])
    features = np.eye(24)[codes][:, None, :]
    labels = (codes % 2).astype(np.int64)
    found = probe(Examples(features, labels, CLUSTERS, np.ones((240, 1))), **QUICK)
    assert found.accuracy[0] < 0.7
    folds = cluster_folds(CLUSTERS, 4, seed=0)
    assert all(len({f for f, c in zip(folds, CLUSTERS, strict=True) if c == name}) == 1 for name in names)


def test_more_features_than_rows_change_no_answer():
    """40 rows of 60 features are turned into the rows' own space; sklearn on the scaled features gives the same."""
    from sklearn.linear_model import LogisticRegression

    draw = np.random.default_rng(6)
    features = draw.normal(size=(60, 80)) * draw.uniform(0.1, 5, size=80)
    labels = draw.integers(0, 2, size=60)
    parts = np.arange(60) % 3
    (right,) = held_out_right(features, [labels], parts, 0.05, paired=False)
    for part in range(3):
        seen, out = features[parts != part], features[parts == part]
        middle, scale = seen.mean(axis=0), seen.std(axis=0)
        model = LogisticRegression(C=0.05, class_weight="balanced", max_iter=1000, tol=1e-8)
        model.fit((seen - middle) / scale, labels[parts != part])
        expected = model.predict((out - middle) / scale) == labels[parts == part]
        assert (right[parts == part] == expected).all()
