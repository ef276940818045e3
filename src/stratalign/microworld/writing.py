"""Writes answers: clean ones, and ones with noise in chosen dimensions. What the base model learns from.

Each dimension draws from its own stream, so two answers to the same request and seed that differ in one kind of
noise differ in nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stratalign.microworld.people import ATTRIBUTES, Person, possible
from stratalign.microworld.requests import Request
from stratalign.microworld.sentences import (
    Because,
    Claim,
    Event,
    Filler,
    Leak,
    Opener,
    Pen,
    Reference,
    Refusal,
    Sentence,
    draw_place,
    say,
)
from stratalign.microworld.words import CAUSES, CONNECTIVES, FILLERS, SCRIPTS, TIMES, Gender, Step

TWO_FORMS = tuple(attribute for attribute in ATTRIBUTES if attribute != "colour")


@dataclass(frozen=True)
class Noise:
    """How often something goes wrong: per place of grammar, per claim (facts, topic), per item of a story or
    reference (coherence), per sentence (conciseness), per answer (instruction, safety). Probabilities."""

    grammar: float = 0.0
    coherence: float = 0.0
    topic: float = 0.0
    facts: float = 0.0
    instruction: float = 0.0
    conciseness: float = 0.0
    safety: float = 0.0


CLEAN = Noise()


def draw_noise(draw: random.Random) -> Noise:
    """The noise of one document of the corpus: every dimension is sloppy or careful, independently of the others."""
    return Noise(
        grammar=0.36 if draw.random() < 0.5 else 0.03,
        coherence=0.50 if draw.random() < 0.5 else 0.04,
        topic=0.30 if draw.random() < 0.3 else 0.02,
        facts=0.45 if draw.random() < 0.5 else 0.05,
        instruction=0.60 if draw.random() < 0.4 else 0.05,
        conciseness=0.35 if draw.random() < 0.4 else 0.02,
        safety=1.0 if draw.random() < 0.5 else 0.0,
    )


def write(request: Request, people: Mapping[str, Person], noise: Noise, seed: object) -> str:
    """One answer to a request, the same for the same seed."""
    sentences = compose(request, people, noise, seed)
    pen = Pen(noise.grammar, seed)
    return " ".join(say(sentence, pen) for sentence in sentences)


def compose(request: Request, people: Mapping[str, Person], noise: Noise, seed: object) -> list[Sentence]:
    """What an answer says, sentence by sentence, before grammar."""
    streams = {name: random.Random(f"{name} {seed}") for name in ("content", *Noise.__dataclass_fields__)}
    person = people[request.person]
    asked = _misunderstood(request, noise.instruction, streams["instruction"])
    slipped_in = request.without if asked.without != request.without else None
    claims = _claims(person, asked, slipped_in, people, noise, streams)
    sentences: list[Sentence] = [*claims]
    if asked.story:
        sentences += _story(person, asked.story, noise.coherence, streams["content"], streams["coherence"])
    if asked.code:
        leaks = streams["safety"].random() < noise.safety
        form, about = streams["content"].randrange(2), _reference(person, streams["content"])
        sentences.append(Leak(about) if leaks else Refusal(about, form))
    sentences = _referred(sentences, noise.coherence, streams["coherence"])
    return _padded(sentences, noise.conciseness, streams["conciseness"])


def _misunderstood(request: Request, noise: float, draw: random.Random) -> Request:
    """The request as carried out: now and then another number of facts, story, time or code than was asked for."""
    if draw.random() >= noise:
        return request
    changed = [
        replace(request, facts=request.facts + 1),
        replace(request, facts=request.facts - 1 or 2),
        replace(request, code=not request.code),
        replace(request, story=None if request.story else draw.choice(tuple(TIMES))),
    ]
    if request.story:
        changed.append(replace(request, story=next(time for time in TIMES if time != request.story)))
    if request.without:
        changed += [replace(request, without=None)] * 3
    return draw.choice(changed)


def _claims(
    person: Person,
    asked: Request,
    slipped_in: str | None,
    people: Mapping[str, Person],
    noise: Noise,
    streams: Mapping[str, random.Random],
) -> list[Claim]:
    """As many facts as asked for; one that was to be left out comes first if it slips in."""
    content = streams["content"]
    order = [a for a in content.sample(ATTRIBUTES, len(ATTRIBUTES)) if a != asked.without]
    order.sort(key=lambda attribute: attribute != slipped_in)
    claims = []
    for attribute in order[: asked.facts]:
        about, form, place = _reference(person, content), content.randrange(2), draw_place(content)
        wrong, other = streams["facts"].random() < noise.facts, streams["topic"].random() < noise.topic
        if other:
            stranger = streams["topic"].choice([p for p in people.values() if p.name != person.name])
            about = Reference(stranger)
        value = about.person.facts[attribute]
        if wrong:
            others = [v for v in possible(attribute, about.person.facts["pet"][1]) if v != value]
            value = streams["facts"].choice(others)
        claims.append(Claim(about, attribute, value, form, place))
    return claims


def _story(
    person: Person, time: str, noise: float, content: random.Random, coherence: random.Random
) -> list[Sentence]:
    script = SCRIPTS[person.facts["job"][0]]
    steps = [script[i] for i in sorted(content.sample(range(4), content.choice((2, 3))))]
    connectives = ["first", *(content.choice(("then", "after that")) for _ in steps[1:])]
    if len(steps) > 2 and content.random() < 0.25:
        steps[1], steps[2] = steps[2], steps[1]
        connectives[2] = "before that"
    elif content.random() < 0.5:
        connectives[-1] = "finally"
    steps, connectives, opened = _muddled(steps, connectives, noise, coherence)
    sentences: list[Sentence] = [Opener(_reference(person, content), time)] if opened else []
    for step, connective in zip(steps, connectives, strict=True):
        sentences.append(Event(_reference(person, content), step, connective, time))
    if content.random() < 0.5:
        cause, effect = content.choice(CAUSES)
        because, about = content.random() < 0.5, _reference(person, content)
        first, second = (effect, cause) if because else (cause, effect)
        if coherence.random() < noise:
            first, second = second, first
        sentences.append(Because(about, first, "because" if because else "so", second, time))
    return sentences


def _muddled(
    steps: Sequence[Step], connectives: Sequence[str], noise: float, draw: random.Random
) -> tuple[list[Step], list[str], bool]:
    """Events in a wrong order, from another job's day, after a wrong connective, or without an opener."""
    steps, connectives = list(steps), list(connectives)
    for i in range(len(steps)):
        if draw.random() < noise:
            kind = draw.randrange(3)
            if kind == 0:
                steps[i] = draw.choice([step for script in SCRIPTS.values() for step in script])
            elif kind == 1 and i:
                steps[i - 1], steps[i] = steps[i], steps[i - 1]
            else:
                connectives[i] = draw.choice([c for c in CONNECTIVES if c != connectives[i]])
    return steps, connectives, draw.random() >= noise / 2


def _referred(sentences: Sequence[Sentence], noise: float, draw: random.Random) -> list[Sentence]:
    """Names where a pronoun would not be understood; in noisy answers sometimes the wrong pronoun, or one too early."""
    found: list[Sentence] = []
    last: Person | None = None
    for sentence in sentences:
        if isinstance(sentence, Filler):
            found.append(sentence)
            continue
        about = sentence.about
        if about.pronoun is not None and last is not about.person:
            about = Reference(about.person)
        last = about.person
        if draw.random() < noise / 3:
            other: Gender = "m" if about.person.gender == "f" else "f"
            about = Reference(about.person, other)
        found.append(replace(sentence, about=about))
    return found


def _padded(sentences: Sequence[Sentence], noise: float, draw: random.Random) -> list[Sentence]:
    """Empty phrases, and facts told again in other words, between the sentences."""
    found: list[Sentence] = []
    for sentence in sentences:
        found.append(sentence)
        if draw.random() >= noise:
            continue
        told = [s for s in found if isinstance(s, Claim) and s.attribute in TWO_FORMS]
        if told and draw.random() < 0.5:
            again = draw.choice(told)
            found.append(replace(again, about=Reference(again.about.person), form=1 - again.form))
        else:
            found.append(Filler(draw.choice(FILLERS)))
    return found


def _reference(person: Person, draw: random.Random) -> Reference:
    """By pronoun seven times in ten."""
    return Reference(person, person.gender if draw.random() < 0.7 else None)
