"""The world's facts and parts, its prompts, and the answers that are written from them."""

import random
from collections import Counter
from dataclasses import fields, replace
from statistics import mean

import pytest

from stratalign.microworld import (
    CLEAN,
    DIMENSIONS,
    Noise,
    draw_noise,
    draw_request,
    people,
    read_request,
    verify,
    write,
)
from stratalign.microworld.reading import read, sentences
from stratalign.microworld.words import VERBS, vocabulary

PEOPLE = people()


def drawn(count, seed=0):
    draw = random.Random(f"tests {seed}")
    return [(i, draw_request(draw.choice(list(PEOPLE)), draw), draw) for i in range(count)]


def test_the_world_is_the_same_for_the_same_seed_and_another_for_another():
    people.cache_clear()
    assert people() == PEOPLE
    assert people(8)["anna"].facts != PEOPLE["anna"].facts or people(8)["ben"].facts != PEOPLE["ben"].facts


def test_people_are_parted_three_ways_with_as_many_women_as_men():
    parts = Counter((person.part, person.gender) for person in PEOPLE.values())
    assert parts == {
        (part, gender): size // 2
        for part, size in (("train", 64), ("validation", 16), ("held_out", 64))
        for gender in "fm"
    }


def test_facts_agree_with_each_other():
    for person in PEOPLE.values():
        assert person.facts["colour"][0] == person.facts["pet"][1]


def test_every_word_that_is_written_is_in_the_vocabulary():
    known = set(vocabulary())
    for i, request, draw in drawn(300):
        text = request.text + write(request, PEOPLE, draw_noise(draw), i)
        assert set(text.replace(".", " ").replace(",", " ").split()) <= known


def test_a_request_survives_its_own_text_in_any_case_and_spacing():
    for _, request, _ in drawn(300):
        assert read_request(request.text, PEOPLE) == request
        assert read_request("  " + request.text.upper().replace(" ", "  "), PEOPLE) == request


@pytest.mark.parametrize(
    "prompt",
    ["", "tell facts about anna.", "tell two facts about nobody.", "tell nine facts about anna.", "hello"],
)
def test_other_prompts_are_no_requests(prompt):
    assert read_request(prompt, PEOPLE) is None


def test_thousands_of_clean_answers_raise_no_alarm():
    for i, request, _ in drawn(4000):
        answer = write(request, PEOPLE, CLEAN, i)
        assert set(verify(request, answer, PEOPLE)) == {1.0}, (request.text, answer)


def test_noisy_answers_are_understood_to_the_last_sentence():
    for i, request, draw in drawn(1500, seed=1):
        answer = write(request, PEOPLE, draw_noise(draw), i)
        assert all(read(sentence) for sentence in sentences(answer)), answer


def test_two_answers_that_differ_in_one_noise_differ_in_one_dimension():
    """Grammar, facts and safety touch nothing else; the other kinds now and then lower the credit or an instruction."""
    touched = {"grammar": "grammar", "facts": "claim_accuracy", "safety": "safety"}
    for noise, dimension in touched.items():
        for i, request, _ in drawn(200, seed=noise):
            clean = verify(request, write(request, PEOPLE, CLEAN, i), PEOPLE)
            noisy = verify(request, write(request, PEOPLE, replace(CLEAN, **{noise: 0.5}), i), PEOPLE)
            for name in DIMENSIONS:
                if name != dimension:
                    assert getattr(noisy, name) == getattr(clean, name), (noise, name)


def test_every_kind_of_noise_lowers_its_own_dimension_most():
    own = {"grammar": "grammar", "coherence": "coherence", "topic": "topic", "facts": "claim_accuracy",
           "instruction": "instruction", "conciseness": "conciseness", "safety": "safety"}  # fmt: skip
    assert set(own) == {field.name for field in fields(Noise)}
    for noise, dimension in own.items():
        scores = [
            verify(request, write(request, PEOPLE, replace(CLEAN, **{noise: 0.4}), i), PEOPLE)
            for i, request, _ in drawn(200, seed=f"own {noise}")
        ]
        means = {name: mean(getattr(one, name) for one in scores) for name in DIMENSIONS}
        assert means[dimension] < 0.95
        assert min(means, key=means.__getitem__) == dimension, (noise, means)


def test_no_form_of_a_verb_belongs_to_two_verbs():
    forms = Counter(form for verb in VERBS.values() for form in set(verb))
    assert [form for form, count in forms.items() if count > 1] == []
