"""Partitions against the paper's table and by hand."""

import pytest

from stratalign.blocks import partition
from stratalign.errors import UserError

# Hierarchical Alignment v2, Table 4 and the text beside it: first and last layer of each block.
PAPER = {
    32: {"local": (0, 10), "mid": (11, 21), "global": (22, 31)},  # Llama-2-7B, Llama-3.1-8B
    36: {"local": (0, 11), "mid": (12, 23), "global": (24, 35)},  # Qwen3-8B
    28: {"local": (0, 9), "mid": (10, 18), "global": (19, 27)},  # Qwen2.5-7B
}


@pytest.mark.parametrize("layers", PAPER)
def test_three_even_blocks_are_the_papers(layers):
    assert {name: (block[0], block[-1]) for name, block in partition(layers).items()} == PAPER[layers]
    assert all(isinstance(block, range) for block in partition(layers).values())


@pytest.mark.parametrize("layers", range(3, 50))
def test_every_layer_is_in_exactly_one_even_block_by_the_papers_formula(layers):
    n, r = divmod(layers, 3)
    sizes = [n + (r > 0), n + (r > 1), n]  # DESIGN: local n + [r > 0], mid n + [r > 1], global the rest
    blocks = partition(layers)
    assert [len(block) for block in blocks.values()] == sizes
    assert [layer for block in blocks.values() for layer in block] == list(range(layers))


def test_any_number_of_even_blocks_can_be_asked_for():
    # 10 layers in 4 blocks: 10 = 3 + 3 + 2 + 2
    blocks = partition(10, blocks=4)
    assert list(blocks.values()) == [range(3), range(3, 6), range(6, 8), range(8, 10)]
    assert list(partition(10, blocks=["low", "high"])) == ["low", "high"]


def test_explicit_blocks_are_ranges_with_both_ends_or_lists():
    blocks = partition(12, "explicit", {"early": "0-3", "odd": [5, 7, "9-10"]})
    assert blocks == {"early": range(4), "odd": (5, 7, 9, 10)}


def halves(layers, blocks):
    """A partition of a user's own, named by dotted path in the test below."""
    return {"low": range(layers // 2), "high": range(layers // 2, layers)}


def test_a_users_own_partition_is_named_by_module_and_function(monkeypatch):
    monkeypatch.syspath_prepend(str(__file__).rsplit("/", 1)[0])
    assert partition(6, "test_partitions:halves") == {"low": range(3), "high": range(3, 6)}


@pytest.mark.parametrize(
    ("method", "blocks", "said"),
    [
        ("evn", ["a"], r"Unknown partition 'evn'\. Did you mean 'even'\? Known: even, explicit, record\."),
        ("explicit", {"a": "0-3", "b": [3]}, "Layer 3 is in two blocks, 'a' and 'b'"),
        ("explicit", {"a": "10-12"}, "names layer 12, but the model has 12 layers, 0 to 11"),
        ("explicit", {"a": [1, 1]}, "names layer 1 twice"),
        ("explicit", {"a": "3-1"}, "runs backwards"),
        ("explicit", {"a": "x"}, "'x' is no layer"),
        ("explicit", {"full": [1]}, "may not be called 'full'"),
        ("explicit", ["a"], "takes a mapping"),
        ("even", ["a", "a"], "Two blocks of the partition have one name"),
        ("even", 13, "is empty: 12 layers do not suffice for 13 blocks"),
        ("even", [], "takes a list of block names"),
        ("no_such_module_here:halves", ["a"], "Cannot import the partition"),
    ],
)
def test_a_partition_that_cannot_be_is_refused_with_what_exists(method, blocks, said):
    with pytest.raises(UserError, match=said):
        partition(12, method, blocks)
