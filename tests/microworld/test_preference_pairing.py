"""From scored answers to pairs: the worth worked by hand, the best pair, and minimal pairs."""

import pytest

from stratalign.microworld import Scores, people, read_request, verify
from stratalign.microworld_build.pairing import best_pair, minimal_pair, worth

PEOPLE = people()
REQUEST = read_request("tell two facts about anna.", PEOPLE)


def facts():
    return PEOPLE["anna"].facts


def scores(**changed):
    given = dict.fromkeys(Scores._fields, 1.0) | changed
    return Scores(**given)


def test_worth_is_the_gap_less_half_of_the_gaps_elsewhere():
    # grammar 1.0 - 0.2 = 0.8; elsewhere |1 - 0.5| + |0.7 - 1| = 0.8, half of it 0.4
    assert worth(scores(topic=0.7), scores(grammar=0.2, safety=0.5), "grammar") == pytest.approx(0.4)


def test_worth_for_overall_is_the_gap_alone():
    assert worth(scores(overall=0.9), scores(overall=0.2, grammar=0.0), "overall") == pytest.approx(0.7)


def test_the_best_pair_has_the_largest_gap_in_the_target_alone():
    city, job = facts()["city"][0], facts()["job"][0]
    good = f"anna lives in {city}. she works as a{'n' if job[0] in 'aeio' else ''} {job}."
    one_slip = good.replace("works", "work")
    two_slips = one_slip.replace("lives", "live")
    wrong_facts = "anna lives in nowhere. she work as a nobody."
    found = best_pair(REQUEST, [one_slip, good, wrong_facts, two_slips, two_slips], "grammar", PEOPLE)
    assert (found.chosen, found.rejected, found.worth) == (good, two_slips, pytest.approx(1.0))


def test_answers_that_are_alike_make_no_pair():
    same = "anna lives in rome. she likes soup."
    assert best_pair(REQUEST, [same, same, "", "  "], "grammar", PEOPLE) is None


def test_a_minimal_pair_differs_in_grammar_alone():
    for seed in range(50):
        pair = minimal_pair(REQUEST, PEOPLE, seed)
        chosen, rejected = (verify(REQUEST, text, PEOPLE) for text in (pair.chosen, pair.rejected))
        assert chosen.grammar == 1.0 > rejected.grammar
        assert [a for a, b in zip(chosen[1:7], rejected[1:7], strict=True) if a != b] == []
        assert pair == minimal_pair(REQUEST, PEOPLE, seed)
