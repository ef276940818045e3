"""Which trees share a batch."""

from stratalign.engine import cut_by_tokens, padded_size
from stratalign.preferences import Branch, Tree


def tree(prefix, *branches):
    return Tree("r", "c", (1,) * prefix, tuple(Branch((2,) * count, 0) for count in branches))


def test_batches_are_cut_by_tokens_from_long_to_short():
    trees = [tree(2, 3), tree(2, 9), tree(2, 3), tree(2, 4)]
    assert [padded_size(t) for t in trees] == [5, 11, 5, 6]
    # padded: 11 alone; then 6 + 6 of 12, and a third row of 6 would be too many
    assert cut_by_tokens(trees, 12, packed=False) == [[1], [3, 0], [2]]
    # packed, without last tokens: 10, then 5 + 4, then 4
    assert cut_by_tokens(trees, 12, packed=True) == [[1], [3, 0], [2]]
    assert cut_by_tokens(trees, 100, packed=True) == [[1, 3, 0, 2]]
    assert cut_by_tokens(trees, 1, packed=True) == [[1], [3], [0], [2]]
    assert cut_by_tokens([], 10, packed=True) == []
