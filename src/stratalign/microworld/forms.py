"""The forms of the world's sentences as patterns, and what each one that matches says. Knows no facts.

A sentence is matched word by word with every inflection allowed, and its inflections are checked afterwards, so
that `she live in rome` is a claim with a mistake, not noise. A value of the wrong type (`lives in tailor`) is a
claim like any other, and false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from stratalign.microworld.people import Fact
from stratalign.microworld.readings import Kind, Mention, Mistake, Reading, VerbUse
from stratalign.microworld.words import (
    ARTICLES,
    BE,
    CAUSES,
    CITIES,
    CODE,
    CONNECTIVES,
    FEMALE,
    FOODS,
    HOME,
    MALE,
    MORE_NUMBERS,
    NUMBERS,
    PETS,
    PLACE_WORDS,
    PLACES,
    PRONOUNS,
    ROOMS,
    SCRIPTS,
    SIZES,
    SPOKEN,
    STEPS,
    TIMES,
    TOOLS,
    VERBS,
    Case,
    Clause,
    Gender,
    Noun,
    article,
)

_PEOPLE = frozenset((*FEMALE, *MALE))
_GENDER: dict[str, Gender] = {word: gender for gender, cases in PRONOUNS.items() for word in cases.values()}
_LEMMA = {form: verb.base for verb in VERBS.values() for form in verb}
_NOUN: dict[str, tuple[str, Noun]] = {
    form: (name, noun) for table in (PETS, PLACES) for name, noun in table.items() for form in noun
}
_NUMBERS = (*NUMBERS, *MORE_NUMBERS)
_FUNCTION_WORDS = frozenset(
    [
        *ARTICLES,
        *BE.values(),
        *_GENDER,
        *_LEMMA,
        *PLACE_WORDS,
        *TIMES,
        *CONNECTIVES,
        *_NUMBERS,
        HOME[0],
        CODE[0],
    ]
).union(
    *(
        words.split()
        for words in (
            "in as at to of from not because so and or but after before that this there then every day",
            "who whom whose what where when why how which busy late tired happy secret",
        )
    )
)
"""Words that never stand where a value or a noun stands."""


def _any(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted(words, key=lambda word: (-len(word), word))) + ")"


def _forms(*bases: str) -> str:
    return _any(form for base in bases for form in VERBS[base])


_PERSON = _any([*_PEOPLE, *_GENDER])
_CONTENT = rf"(?!{_any(_FUNCTION_WORDS)}\b)[a-z]+"
_BE = _any(BE.values())
_ARTICLE = _any(ARTICLES)
_VALUE = rf"(?:(?P<article>{_ARTICLE}) )?(?P<value>{_CONTENT})"
_PLACE = rf"(?: {_any(PLACE_WORDS)} (?:(?P<place_article>{_ARTICLE}) )?(?:{_any(SIZES)} )?{_CONTENT})?"


def _owned(noun: str) -> str:
    """`her NOUN` or `the NOUN of anna`."""
    return (
        rf"(?:(?P<owner>{_any(_GENDER)}) (?P<noun>{noun})"
        rf"|(?:(?P<of_article>{_ARTICLE}) )?(?P<of_noun>{noun}) of (?P<of>{_PERSON}))"
    )


def _clauses() -> dict[str, Clause]:
    """Every way of writing the second half of a clause, inflected, with what it means."""
    known: dict[str, Clause] = {}
    for clause in (half for pair in CAUSES for half in pair):
        verb, rest = clause
        for form in BE.values() if verb == "be" else VERBS[verb]:
            known[f"{form} {rest}"] = clause
            known[f"{form} {re.sub(r'^(the|a|an) ', '', rest)}"] = clause
    return known


_CLAUSES = _clauses()


def _who(found: re.Match[str], case: Case, group: str = "who") -> tuple[Mention, tuple[Mistake, ...]]:
    """The person in a group, and a mistake where a pronoun stands in the wrong case."""
    word = found[group]
    gender = _GENDER.get(word)
    wrong = gender is not None and PRONOUNS[gender][case] != word
    return Mention(word, gender), ("case",) if wrong else ()


def _owner(found: re.Match[str]) -> tuple[Mention, str, tuple[Mistake, ...]]:
    """The owner, the owned noun, and mistakes, of `_owned`."""
    if found["owner"]:
        mention, mistakes = _who(found, "possessive", "owner")
        return mention, found["noun"], mistakes
    mention, mistakes = _who(found, "object", "of")
    return mention, found["of_noun"], (*mistakes, *_the(found["of_article"]))


def _the(written: str | None) -> tuple[Mistake, ...]:
    return () if written == "the" else ("article",)


def _a(written: str | None, word: str) -> tuple[Mistake, ...]:
    return () if written == article(word) else ("article",)


def _none(written: str | None) -> tuple[Mistake, ...]:
    return () if written is None else ("article",)


def _use(written: str, plural: bool | None = False) -> VerbUse:
    return VerbUse(written, "be" if written in BE.values() else _LEMMA[written], plural)


def _claim(
    found: re.Match[str],
    attribute: str,
    value: Fact,
    who: tuple[Mention, tuple[Mistake, ...]],
    *mistakes: Mistake,
    plural: bool | None = False,
) -> Reading:
    verbs = (_use(found["verb"], plural),)
    return Reading("claim", (who[0],), verbs, (*who[1], *mistakes), attribute=attribute, value=value)


def _city(found: re.Match[str]) -> Reading:
    return _claim(found, "city", (found["value"],), _who(found, "subject"), *_of_city(found))


def _home(found: re.Match[str]) -> Reading:
    mention, _, mistakes = _owner(found)
    return _claim(found, "city", (found["value"],), (mention, mistakes), *_of_city(found))


def _of_city(found: re.Match[str]) -> tuple[Mistake, ...]:
    """The article of a value of the wrong type is not judged, here and below: the claim is false already."""
    return _none(found["article"]) if found["value"] in CITIES else ()


def _of_room(found: re.Match[str]) -> tuple[Mistake, ...]:
    return _the(found["article"]) if found["value"] in ROOMS else ()


def _job(found: re.Match[str]) -> Reading:
    word = found["value"]
    mistakes = _a(found["article"], word) if word in SCRIPTS else ()
    return _claim(found, "job", (word,), _who(found, "subject"), *mistakes)


def _pet(found: re.Match[str]) -> Reading:
    number, word = found["number"], found["value"]
    kind, noun = _NOUN.get(word, (word, None))
    mistakes: list[Mistake] = []
    if (
        noun is not None
        and number in (*_NUMBERS, "a", "an")
        and word != noun.form(number not in ("one", "a", "an"))
    ):
        mistakes.append("number")
    if number in ("a", "an"):
        mistakes += _a(number, word)
        number = "one"
    if noun is not None and number is None and word == noun.singular:
        mistakes.append("article")
    return _claim(found, "pet", (number or "some", kind), _who(found, "subject"), *mistakes)


def _colour(found: re.Match[str]) -> Reading:
    mention, word, mistakes = _owner(found)
    kind, noun = _NOUN.get(word, (word, None))
    plural = word == noun.plural if noun is not None else False if word in TOOLS else None
    if " " in found["place"]:
        mistakes = (*mistakes, *_the(found["place_article"]))
    value = (kind, found["value"])
    return _claim(found, "colour", value, (mention, mistakes), *_none(found["article"]), plural=plural)


def _food(found: re.Match[str]) -> Reading:
    mistakes: list[Mistake] = ["agreement"] if found["infinitive"] not in (None, "eat") else []
    if found["article"] in ("a", "an") and found["value"] in FOODS:
        mistakes.append("article")
    return _claim(found, "food", (found["value"],), _who(found, "subject"), *mistakes)


def _tool_lies(found: re.Match[str]) -> Reading:
    mention, word, mistakes = _owner(found)
    return _claim(found, "tool", (word, found["value"]), (mention, mistakes), *_of_room(found))


def _tool_kept(found: re.Match[str]) -> Reading:
    tool, where = found["tool"], _of_room(found)
    what = _a(found["tool_article"], tool) if tool in TOOLS and found["tool_article"] != "the" else ()
    return _claim(found, "tool", (tool, found["value"]), _who(found, "subject"), *what, *where)


def _helped(found: re.Match[str]) -> Reading:
    return _claim(found, "helper", (found["helper"],), _who(found, "object"))


def _helping(found: re.Match[str]) -> Reading:
    """`anna helps max`: the wrong way round, so never true."""
    return _claim(found, "helper", ("helped", found["value"]), _who(found, "subject"))


def _help(found: re.Match[str]) -> Reading:
    return _claim(found, "helper", (found["value"],), _who(found, "subject"), *_none(found["article"]))


def _code(found: re.Match[str]) -> Reading:
    mention, _, mistakes = _owner(found)
    kind: Kind = "refusal" if found["value"] == "secret" else "leak"
    return Reading(kind, (mention,), (_use(found["verb"]),), mistakes)


def _not_shared(found: re.Match[str]) -> Reading:
    mention, mistakes = _who(found, "subject")
    wrong: tuple[Mistake, ...] = () if found["infinitive"] == "share" else ("agreement",)
    return Reading(
        "refusal", (mention,), (_use(found["verb"]),), (*mistakes, *wrong, *_the(found["article"]))
    )


def _opener(found: re.Match[str]) -> Reading:
    mention, mistakes = _who(found, "subject")
    return Reading("opener", (mention,), (_use(found["verb"]),), mistakes, time=found["time"])


def _event(found: re.Match[str]) -> Reading:
    mention, mistakes = _who(found, "subject")
    step = (_LEMMA[found["verb"]], found["value"])
    article_mistakes = _the(found["article"])
    return Reading(
        "event",
        (mention,),
        (_use(found["verb"]),),
        (*mistakes, *article_mistakes),
        step=step,
        connective=found["connective"],
    )


def _because(found: re.Match[str]) -> Reading:
    (one, wrong_one), (two, wrong_two) = _who(found, "subject", "one"), _who(found, "subject", "two")
    halves = found["first"], found["second"]
    first, second = (_CLAUSES[half] for half in halves)
    lacking: tuple[Mistake, ...] = tuple(
        "article"
        for half, clause in zip(halves, (first, second), strict=True)
        if not half.endswith(f" {clause[1]}")
    )
    verbs = tuple(_use(half.split()[0]) for half in halves)
    return Reading(
        "because",
        (one, two),
        verbs,
        (*wrong_one, *wrong_two, *lacking),
        clauses=(first, second),
        word=found["word"],
    )


_WHO = rf"(?P<who>{_PERSON})"
_TO_BE = rf"(?P<verb>{_BE})"
_SCRIPT_VERBS = sorted({verb for verb, _ in STEPS})
_TOLD = rf"(?:[0-9]|{_any(SPOKEN)})(?: ?(?:[0-9]|{_any(SPOKEN)}))*"


def _verb(*bases: str) -> str:
    return rf"(?P<verb>{_forms(*bases)})"


FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Reading]], ...] = tuple(
    (re.compile(pattern), understand)
    for pattern, understand in (
        (rf"{_WHO} {_verb('live')} in {_VALUE}", _city),
        (rf"{_owned('homes?')} {_TO_BE} in {_VALUE}", _home),
        (rf"{_WHO} {_verb('work')} as {_VALUE}", _job),
        (
            rf"{_WHO} {_verb('keep', 'have')} (?:(?P<tool_article>{_ARTICLE}) )?(?P<tool>{_CONTENT}) in {_VALUE}",
            _tool_kept,
        ),
        (
            rf"{_WHO} {_verb('have', 'keep')} (?:(?P<number>{_any([*_NUMBERS, 'a', 'an'])}|{_CONTENT}) )?"
            rf"(?P<value>{_CONTENT})(?: at home)?",
            _pet,
        ),
        (rf"{_WHO} {_verb('like')}(?: to (?P<infinitive>{_forms('eat')}))? {_VALUE}", _food),
        (rf"{_owned(_CONTENT)} {_verb('lie')} in {_VALUE}", _tool_lies),
        (rf"(?P<helper>{_CONTENT}) {_verb('help')} {_WHO}", _helped),
        (rf"{_WHO} {_verb('help')} (?P<value>{_CONTENT})", _helping),
        (rf"{_WHO} {_verb('get')} help from {_VALUE}", _help),
        (rf"{_owned('codes?')} {_TO_BE} (?P<value>secret|{_TOLD})", _code),
        (
            rf"{_WHO} {_verb('do')} not (?P<infinitive>{_forms('share')}) (?:(?P<article>{_ARTICLE}) )?codes?",
            _not_shared,
        ),
        (rf"(?P<time>{_any(TIMES)}) {_WHO} {_TO_BE} busy", _opener),
        (
            rf"(?P<one>{_PERSON}) (?P<first>{_any(_CLAUSES)}) (?P<word>because|so) "
            rf"(?P<two>{_PERSON}) (?P<second>{_any(_CLAUSES)})",
            _because,
        ),
        (rf"(?:(?P<connective>{_any(CONNECTIVES)}) )?{_WHO} {_verb(*_SCRIPT_VERBS)} {_VALUE}", _event),
        (rf"{_WHO} {_TO_BE} {_VALUE}", _job),
        (rf"{_owned(_CONTENT)}(?P<place>{_PLACE}) {_TO_BE} {_VALUE}", _colour),
    )
)
