"""One set of scores beside several: on one side of all of them, or not."""

import numpy as np
import pytest

from stratalign.stats import beside_all


def test_above_all_takes_the_p_value_of_the_closest():
    # Ten clusters of one row. Against the first column all ten differences are +1: 2 of 2^10 flips reach the total.
    # Against the second nine are +1 and one -1 (total 8): reached by 0 or 1 flips of equal size, 2 x (1 + 10) of 2^10.
    scores = np.ones(10)
    others = np.stack([np.zeros(10), np.array([0.0] * 9 + [2.0])], axis=1)
    found = beside_all(scores, others, range(10))
    assert found.side == "above"
    assert found.p_value == pytest.approx(22 / 1024)
    assert beside_all(scores, others[:, :1], range(10)).p_value == pytest.approx(2 / 1024)
    assert beside_all(-scores, -others, range(10)) == (found.p_value, "below")


def test_between_two_is_neither_however_sure_each_of_them_is():
    found = beside_all(np.ones(20), np.stack([np.zeros(20), np.full(20, 2.0)], axis=1), range(20))
    assert found == (1.0, "neither")


def test_without_rows_against_one_of_them_nothing_is_said():
    assert beside_all([1.0], np.array([[np.nan]]), ["a"]) == (None, "neither")
    with pytest.raises(ValueError, match="others"):
        beside_all([1.0, 2.0], np.ones(2), ["a", "b"])
