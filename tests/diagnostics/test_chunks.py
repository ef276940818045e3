"""Which pairs are read, and in which chunks."""

from dataclasses import replace

import pytest

from stratalign.diagnostics.chunks import cut_chunks
from stratalign.errors import UserError
from training.joint_setups import make_trees


def trees(clusters, each):
    return [replace(tree, cluster=f"c{i % clusters}") for i, tree in enumerate(make_trees(clusters * each))]


def test_clusters_stay_whole_and_chunks_are_about_equal():
    rows = trees(10, 5)
    chunks = cut_chunks(rows, 50, 5, seed=0)
    assert [len(chunk) for chunk in chunks] == [10] * 5
    homes = [{tree.cluster for tree in chunk} for chunk in chunks]
    assert sum(map(len, homes)) == len(set.union(*homes)) == 10


def test_fewer_pairs_still_come_from_as_many_clusters_as_there_are():
    chunks = cut_chunks(trees(10, 5), 20, 5, seed=0)
    assert sum(map(len, chunks)) == 20
    assert {len(chunk) for chunk in chunks} == {4}
    assert len({tree.cluster for chunk in chunks for tree in chunk}) == 10


def test_the_draw_follows_the_seed_and_not_the_order_of_the_rows():
    rows = trees(12, 1)
    first = cut_chunks(rows, 8, 4, seed=0)
    assert {t.row_id for c in first for t in c} == {
        t.row_id for c in cut_chunks(rows[::-1], 8, 4, seed=0) for t in c
    }
    assert first != cut_chunks(rows, 8, 4, seed=1)


def test_too_few_clusters_for_an_interval_are_refused():
    with pytest.raises(UserError, match="3 clusters"):
        cut_chunks(trees(3, 9), 20, 8, seed=0)
