"""Which trees share rows and batches."""

from stratalign.engine.rows import cut_by_tokens, padded_size, share_rows
from stratalign.preferences import Branch, Tree


def tree(prefix, *branches):
    return Tree("r", "c", (1,) * prefix, tuple(Branch((2,) * count, 0) for count in branches))


def test_first_fit_by_decreasing_length_fills_rows_of_about_the_longest():
    # rows of 10: 10, 6 + 4, 5 + 3 + 2
    assert share_rows([3, 10, 6, 5, 4, 2]) == [[1], [2, 4], [3, 0, 5]]


def test_rows_grow_where_that_saves_padding_but_not_to_one_long_row():
    assert share_rows([6, 4, 4, 4]) == [[0, 1], [2, 3]]  # 2 x 10 cells; rows of 6 would take 4 x 6
    assert share_rows([300] * 4) == [[0], [1], [2], [3]]  # no padding to save
    assert share_rows([7]) == [[0]]


def test_the_layout_depends_on_the_lengths_alone():
    lengths = [(7 * i) % 23 + 3 for i in range(40)]
    assert share_rows(lengths) == share_rows(list(lengths))
    assert sorted(i for row in share_rows(lengths) for i in row) == list(range(40))


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
