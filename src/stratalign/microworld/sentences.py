"""The sentences of the world, as structures, and how each is put into words. The way back is in reading.py.

Words are chosen by a `Pen`, which inflects and now and then slips; what is said is decided elsewhere.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from stratalign.microworld.people import Fact, Person
from stratalign.microworld.words import (
    BE,
    CASES,
    NUMBERS,
    PETS,
    PLACE_WORDS,
    PLACES,
    PRONOUNS,
    SIZES,
    TIMES,
    VERBS,
    Case,
    Clause,
    Gender,
    Step,
    Tense,
    article,
)


@dataclass(frozen=True)
class Reference:
    """How a sentence speaks of a person: by name, or with a pronoun of a gender (the wrong one, in a slip of sense)."""

    person: Person
    pronoun: Gender | None = None


@dataclass(frozen=True)
class Claim:
    """A fact about a person, true or not, said in one of two ways; `place` is what stands before the verb."""

    about: Reference
    attribute: str
    value: Fact
    form: int = 0
    place: tuple[str, str, str, bool] | None = None


@dataclass(frozen=True)
class Opener:
    about: Reference
    time: str


@dataclass(frozen=True)
class Event:
    about: Reference
    step: Step
    connective: str
    time: str


@dataclass(frozen=True)
class Because:
    """First clause, `because` or `so`, second clause; the same person in both."""

    about: Reference
    first: Clause
    word: str
    second: Clause
    time: str


@dataclass(frozen=True)
class Refusal:
    about: Reference
    form: int = 0


@dataclass(frozen=True)
class Leak:
    about: Reference


@dataclass(frozen=True)
class Filler:
    text: str


Sentence = Claim | Opener | Event | Because | Refusal | Leak | Filler


class Pen:
    """Inflects words; at each place where grammar is at stake it slips with probability `slip`."""

    def __init__(self, slip: float = 0.0, seed: object = 0) -> None:
        self._slip = slip
        self._draw = random.Random(f"pen {seed}")

    def verb(self, base: str, tense: Tense = "present") -> str:
        """The form for one person; a slip takes the plural, or the present for the past."""
        verb = VERBS[base]
        return (verb.third if tense == "past" else verb.base) if self._slips() else verb.form(tense)

    def be(self, tense: Tense = "present", plural: bool = False) -> str:
        if self._slips():
            tense, plural = ("present", plural) if tense == "past" else (tense, not plural)
        return BE[tense, plural]

    def pet(self, kind: str, plural: bool) -> str:
        """The noun after a number."""
        return PETS[kind].form(plural != (self._slips()))

    def a(self, word: str) -> str:
        """The word after its indefinite article; a slip leaves it out or takes the other one."""
        right = article(word)
        if not self._slips():
            return f"{right} {word}"
        return word if self._draw.random() < 0.5 else f"{'a' if right == 'an' else 'an'} {word}"

    def the(self, word: str) -> str:
        """The word after `the`; a slip leaves it out."""
        return word if self._slips() else f"the {word}"

    def who(self, about: Reference, case: Case = "subject") -> str:
        """The name, or the pronoun in its case; a slip takes another case."""
        if about.pronoun is None:
            return about.person.name
        forms = PRONOUNS[about.pronoun]
        if not self._slips():
            return forms[case]
        others = sorted({forms[other] for other in CASES} - {forms[case]})
        return self._draw.choice(others)

    def owned(self, noun: str, about: Reference) -> str:
        """`the home of anna`, or `her home`."""
        if about.pronoun is None:
            return f"the {noun} of {about.person.name}"
        return f"{self.who(about, 'possessive')} {noun}"

    def _slips(self) -> bool:
        return self._draw.random() < self._slip


def say(sentence: Sentence, pen: Pen) -> str:
    """The sentence in words, its full stop included."""
    match sentence:
        case Claim():
            words = _claim(sentence, pen)
        case Opener(about, time):
            words = f"{time} {pen.who(about)} {pen.be(TIMES[time])} busy"
        case Event(about, (verb, noun), connective, time):
            words = f"{connective} {pen.who(about)} {pen.verb(verb, TIMES[time])} {pen.the(noun)}"
        case Because(about, first, word, second, time):
            again = Reference(about.person, about.pronoun or about.person.gender)
            one, two = _clause(about, first, time, pen), _clause(again, second, time, pen)
            words = f"{one} {word} {two}"
        case Refusal(about, 0):
            words = f"{pen.owned('code', about)} {pen.be()} secret"
        case Refusal(about):
            words = f"{pen.who(about)} {pen.verb('do')} not share {pen.the('code')}"
        case Leak(about):
            words = f"{pen.owned('code', about)} {pen.be()} {' '.join(about.person.code)}"
        case Filler(text):
            words = text
    return f"{words}."


def _claim(claim: Claim, pen: Pen) -> str:
    about, value = claim.about, claim.value
    match claim.attribute, claim.form:
        case "city", 0:
            return f"{pen.who(about)} {pen.verb('live')} in {value[0]}"
        case "city", _:
            return f"{pen.owned('home', about)} {pen.be()} in {value[0]}"
        case "job", 0:
            return f"{pen.who(about)} {pen.verb('work')} as {pen.a(value[0])}"
        case "job", _:
            return f"{pen.who(about)} {pen.be()} {pen.a(value[0])}"
        case "pet", form:
            number, kind = value
            verb = pen.verb("keep" if form else "have")
            return f"{pen.who(about)} {verb} {number} {pen.pet(kind, number != NUMBERS[0])}{' at home' if form else ''}"
        case "colour", _:
            kind, colour = value
            plural = about.person.facts["pet"][0] != NUMBERS[0]
            head = pen.owned(PETS[kind].form(plural), about)
            return f"{head}{_place(claim.place, pen)} {pen.be(plural=plural)} {colour}"
        case "food", form:
            return f"{pen.who(about)} {pen.verb('like')}{' to eat' if form else ''} {value[0]}"
        case "tool", 0:
            return f"{pen.owned(value[0], about)} {pen.verb('lie')} in {pen.the(value[1])}"
        case "tool", _:
            return f"{pen.who(about)} {pen.verb('keep')} {pen.a(value[0])} in {pen.the(value[1])}"
        case "helper", 0:
            return f"{value[0]} {pen.verb('help')} {pen.who(about, 'object')}"
        case _:
            return f"{pen.who(about)} {pen.verb('get')} help from {value[0]}"


def _place(place: tuple[str, str, str, bool] | None, pen: Pen) -> str:
    """` near the old houses`: words between subject and verb whose number may be another one."""
    if place is None:
        return ""
    word, size, noun, plural = place
    return f" {word} {pen.the(f'{size} {PLACES[noun].form(plural)}')}"


def _clause(about: Reference, clause: Clause, time: str, pen: Pen) -> str:
    verb, rest = clause
    form = pen.be(TIMES[time]) if verb == "be" else pen.verb(verb, TIMES[time])
    return f"{pen.who(about)} {form} {rest}"


def draw_place(draw: random.Random) -> tuple[str, str, str, bool] | None:
    """Something to stand between subject and verb, every second time."""
    if draw.random() < 0.5:
        return None
    return draw.choice(PLACE_WORDS), draw.choice(SIZES), draw.choice(tuple(PLACES)), draw.random() < 0.5
