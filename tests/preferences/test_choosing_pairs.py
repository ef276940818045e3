"""Choosing pairs from scored answers, worked by hand."""

import pytest

from stratalign.preferences import best_pairs, worth


def test_worth_is_the_gap_less_the_weighted_gaps_elsewhere():
    # 0.9 - 0.2 = 0.7; elsewhere |1 - 0.6| + |0.3 - 0.5| = 0.6, a quarter of it 0.15
    chosen, rejected = {"t": 0.9, "a": 1.0, "b": 0.3}, {"t": 0.2, "a": 0.6, "b": 0.5}
    assert worth(chosen, rejected, "t", ["a", "b"], 0.25) == pytest.approx(0.55)
    assert worth(chosen, rejected, "t", [], 0.25) == pytest.approx(0.7)


ANSWERS = [{"t": 1.0, "a": 0.0}, {"t": 0.8, "a": 1.0}, {"t": 0.1, "a": 1.0}, {"t": 0.0, "a": 0.0}, None]


def test_the_best_pairs_share_no_answer():
    # 0 over 3: 1 - 0 = 1; 1 over 2: 0.7 - 0 = 0.7; 0 over 2: 0.9 - 0.5 = 0.4; 1 over 3: 0.8 - 0.5 = 0.3
    found = best_pairs(ANSWERS, "t", ["a"], 0.5, most=5)
    assert [(one.chosen, one.rejected) for one in found] == [(0, 3), (1, 2)]
    assert [one.worth for one in found] == pytest.approx([1.0, 0.7])
    assert len(best_pairs(ANSWERS, "t", ["a"], 0.5)) == 1


def test_a_small_gap_a_tie_and_an_answer_without_a_value_make_no_pair():
    assert [one[:2] for one in best_pairs(ANSWERS, "t", ["a"], 0.5, min_gap=0.75, most=5)] == [(0, 3)]
    assert best_pairs([{"t": 0.5}, {"t": 0.5}, None], "t", [], 0.5) == []


def test_of_equal_pairs_the_first_is_taken():
    assert best_pairs([{"t": 0.0}, {"t": 1.0}, {"t": 1.0}], "t", [], 0.5)[0][:2] == (1, 0)
