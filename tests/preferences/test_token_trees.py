from __future__ import annotations

import pytest

from stratalign.preferences import Branch, Refused, Tree, fit, grow

PAIR = Tree("r", "c", (1, 2, 3), (Branch((4, 5, 6), 0), Branch((7,), 0)))


def test_the_prefix_is_what_all_share_and_none_labels() -> None:
    # 1 2 3 is the prompt; both responses begin with 4, which is labelled and so stays in the branches.
    tree = grow("r", "c", [[1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7]], [3, 3])
    assert tree == Tree("r", "c", (1, 2, 3), (Branch((4, 5), 0), Branch((4, 6, 7), 0)))


def test_what_the_prompts_do_not_share_goes_unlabelled_into_the_branches() -> None:
    # The prompts are 1 2 3 and 1 9: only 1 is common; 2 3 and 9 precede the labels 4 and 5.
    tree = grow("r", "c", [[1, 2, 3, 4], [1, 9, 5]], [3, 2])
    assert tree == Tree("r", "c", (1,), (Branch((2, 3, 4), 2), Branch((9, 5), 1)))


def test_a_demonstration_s_prefix_is_its_whole_prompt() -> None:
    assert grow("r", "c", [[1, 2, 3]], [2]) == Tree("r", "c", (1, 2), (Branch((3,), 0),))


def test_without_a_token_before_the_labels_there_is_no_tree() -> None:
    with pytest.raises(Refused, match="no token before the response"):
        grow("r", "c", [[4, 5], [4, 6]], [0, 0])


def test_a_tree_of_exactly_the_allowed_length_is_left_alone() -> None:
    assert fit(PAIR, 6, "drop") is PAIR  # 3 + 3
    assert fit(PAIR, None, "drop") is PAIR


def test_a_longer_tree_is_dropped_with_its_length_or_cut_at_the_end() -> None:
    with pytest.raises(Refused) as caught:
        fit(PAIR, 5, "drop")
    assert (caught.value.reason, caught.value.detail) == ("too long", "6 tokens, at most 5 allowed")
    assert fit(PAIR, 5, "truncate").branches == (Branch((4, 5), 0), Branch((7,), 0))


def test_cutting_never_leaves_a_branch_without_a_label() -> None:
    with pytest.raises(Refused, match="too long"):
        fit(PAIR, 3, "truncate")
    late = Tree("r", "c", (1,), (Branch((2, 3, 4, 5), 2),))  # its first label is the fourth token
    assert fit(late, 4, "truncate").branches[0] == Branch((2, 3, 4), 2)
    with pytest.raises(Refused, match="too long"):
        fit(late, 3, "truncate")


def test_sides_that_are_the_same_tokens_are_refused_also_where_cutting_makes_them_so() -> None:
    with pytest.raises(Refused, match="responses are equal as tokens"):
        grow("r", "c", [[1, 2, 3], [1, 2, 3]], [1, 1])
    late = Tree(
        "r", "c", (1,), (Branch((2, 3, 4), 0), Branch((2, 3, 5), 0))
    )  # they differ in the fourth token
    with pytest.raises(Refused, match="responses are equal as tokens"):
        fit(late, 3, "truncate")
