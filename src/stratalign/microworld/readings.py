"""What a sentence that was read says, and what is wrong with its grammar. Knows no patterns and no facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from stratalign.microworld.people import Fact
from stratalign.microworld.words import BE, VERBS, Clause, Gender, Step, Tense

Kind = Literal["claim", "opener", "event", "because", "refusal", "leak", "filler"]
Mistake = Literal["agreement", "tense", "number", "article", "case"]


class Mention(NamedTuple):
    """A word that stands for a person: a name, or a pronoun of a gender."""

    word: str
    gender: Gender | None


class VerbUse(NamedTuple):
    """A verb as written, its base form (or `be`), and whether its subject is plural; None where nobody can tell."""

    written: str
    base: str
    plural: bool | None

    def mistakes(self, tense: Tense) -> tuple[Mistake, ...]:
        """What is wrong with it in a tense: the other tense, and a form that does not go with its subject."""
        numbers = (False, True) if self.plural is None else (self.plural,)
        if self._is(tense, numbers):
            return ()
        written: Tense = "past" if self._is("past", (False, True)) else "present"
        agrees = self._is(written, numbers)
        return (*(("tense",) if written != tense else ()), *(() if agrees else ("agreement",)))

    def _is(self, tense: Tense, numbers: Sequence[bool]) -> bool:
        return self.written in [self._form(tense, plural) for plural in numbers]

    def _form(self, tense: Tense, plural: bool) -> str:
        return BE[tense, plural] if self.base == "be" else VERBS[self.base].form(tense, plural)


@dataclass(frozen=True)
class Reading:
    """What one sentence says.

    `mentions` are its persons in order (a helper is none). `attribute` and `value` belong to a claim; `step` and
    `connective` to an event; `time` to an opener; `clauses` and `word` to a because-sentence. `mistakes` are those
    that need no context; tense and agreement follow from `verbs` once the tense is known.
    """

    kind: Kind
    mentions: tuple[Mention, ...] = ()
    verbs: tuple[VerbUse, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    attribute: str | None = None
    value: Fact | None = None
    step: Step | None = None
    connective: str | None = None
    time: str | None = None
    clauses: tuple[Clause, Clause] | None = None
    word: str | None = None

    def all_mistakes(self, tense: Tense) -> tuple[Mistake, ...]:
        """Every mistake, with the verbs judged in this tense."""
        return (*self.mistakes, *(mistake for use in self.verbs for mistake in use.mistakes(tense)))
