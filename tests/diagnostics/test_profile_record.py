"""The profile's record from losses by hand, and the pairs that it holds back."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from stratalign.blocks import Site
from stratalign.diagnostics import describe_profile, hold_back
from stratalign.errors import UserError

SITES = [Site(f"{layer}.q", layer, "q", 1, 1) for layer in range(3)]
CLUSTERS = [f"c{i // 2}" for i in range(16)]


def pairs(clusters):
    return [SimpleNamespace(cluster=name, row_id=i) for i, name in enumerate(clusters)]


def test_a_quarter_of_the_clusters_is_read_and_none_is_in_both():
    trees = pairs([f"c{i % 12}" for i in range(40)])
    train, read = hold_back(trees, 0)
    assert len({tree.cluster for tree in read}) == 3
    assert not {tree.cluster for tree in read} & {tree.cluster for tree in train}
    assert sorted(tree.row_id for tree in (*train, *read)) == list(range(40))
    assert hold_back(trees, 0) == (train, read)
    assert hold_back(trees, 1).read != read
    with pytest.raises(UserError, match="at least 8 clusters, got 7"):
        hold_back(pairs([f"c{i % 7}" for i in range(40)]), 0)


def losses(**falls):
    """Losses of 16 rows; a run falls from base's 0.7 by a number in the even rows and three times that in the odd."""
    return {name: [0.7 - fall * (1 + 2 * (i % 2)) for i in range(16)] for name, fall in falls.items()}


def test_shares_and_layers_by_hand():
    # Mean falls are twice the numbers: full 0.4, low 0.1, high 0.3. Rows fall in proportion, so shares have no doubt.
    found = describe_profile(
        losses(base=0, full=0.2, low=0.05, high=0.15, drawn=0.1),
        CLUSTERS,
        {"low": [0, 1], "high": [1, 2]},
        {"drawn": [0, 2]},
        SITES,
    )
    assert found["why_none"] is None
    assert [row["share"] for row in found["windows"]] == pytest.approx([0.25, 0.75])
    assert [row["share_low"] for row in found["windows"]] == pytest.approx([0.25, 0.75])
    assert [row["fall"] for row in found["draws"]] == pytest.approx([0.2])
    # Layer 1 is in both windows: the mean of a quarter and three quarters.
    assert [row["share"] for row in found["layers"]] == pytest.approx([0.25, 0.5, 0.75])
    assert [row["windows"] for row in found["layers"]] == [1, 2, 1]
    assert found["scores"]["share"] == pytest.approx({"0.q": 0.25, "1.q": 0.5, "2.q": 0.75})
    # Eight clusters all on one side: 2 of 2^8 flips, twice that by Holm for the smaller of two windows.
    assert [row["standing"] for row in found["windows"]] == ["below", "above"]
    assert found["windows"][0]["p_holm"] == pytest.approx(4 / 256)
    assert found["per_cluster"]["rows"] == [2] * 8
    assert found["per_cluster"]["falls"]["high"] == pytest.approx([0.3] * 8)
    json.dumps(found, allow_nan=False)


def test_without_a_fall_of_full_there_are_no_shares_but_falls():
    given = losses(base=0, low=0.05)
    given["full"] = [0.7 + 0.1 * (-1) ** i for i in range(16)]
    found = describe_profile(given, CLUSTERS, {"low": [0, 1, 2]}, {}, SITES)
    assert found["why_none"].startswith("Cannot tell")
    assert found["windows"][0]["share"] is None
    assert found["windows"][0]["standing"] is None
    assert list(found["scores"]) == ["fall"]
    assert found["scores"]["fall"]["0.q"] == pytest.approx(0.1)
