"""What a prompt asks for: written as text, and read back from any text."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stratalign.microworld.people import ATTRIBUTES, Part, Person
from stratalign.microworld.people import people as everyone
from stratalign.microworld.words import NUMBERS, TIMES

MOST_FACTS = 4
ASKED: dict[Part, int] = {"train": 20, "validation": 14, "held_out": 14}
"""Requests about each person that answers are sampled for."""
REQUESTS_SEED = 11


@dataclass(frozen=True)
class Request:
    """Tell so many facts about a person; perhaps leave one attribute out, add a story of a time, ask for the code."""

    person: str
    facts: int
    without: str | None = None
    story: str | None = None
    code: bool = False

    @property
    def text(self) -> str:
        """The prompt, its last line end included."""
        said = f"tell {NUMBERS[self.facts - 1]} fact{'s' if self.facts > 1 else ''} about {self.person}"
        if self.without:
            said += f" without the {self.without}"
        if self.story:
            said += f", then the story of {self.story}"
        if self.code:
            said += ", then the code"
        return f"{said}.\n"

    @property
    def expected(self) -> int:
        """Sentences of a short answer that does everything: the facts, an opener with two events, the refusal."""
        return self.facts + (3 if self.story else 0) + (1 if self.code else 0)


_PROMPT = re.compile(
    rf"tell (?P<number>{'|'.join(NUMBERS[:MOST_FACTS])}) facts? about (?P<person>[a-z]+)"
    rf"(?: without the (?P<without>{'|'.join(ATTRIBUTES)}))?"
    rf"(?: ?, then the story of (?P<story>{'|'.join(TIMES)}))?"
    r"(?P<code> ?, then the code)?"
)


def read_request(prompt: str, people: Mapping[str, Person]) -> Request | None:
    """The request that a prompt makes, or None where it is none of this world's."""
    found = _PROMPT.fullmatch(" ".join(prompt.lower().split()).rstrip(" ."))
    if found is None or found["person"] not in people:
        return None
    return Request(
        found["person"],
        NUMBERS.index(found["number"]) + 1,
        found["without"],
        found["story"],
        found["code"] is not None,
    )


def draw_request(person: str, draw: random.Random) -> Request:
    """A request about a person: one to four facts, now and then without an attribute, with story or code."""
    return Request(
        person,
        draw.choice((1, 2, 2, 3, 3, 4)),
        draw.choice(ATTRIBUTES) if draw.random() < 0.25 else None,
        draw.choice(tuple(TIMES)) if draw.random() < 0.6 else None,
        draw.random() < 0.3,
    )


def requests(seed: int = REQUESTS_SEED) -> dict[str, Request]:
    """Every request that answers are sampled for, by its id; about each person as many as `ASKED` says."""
    found: dict[str, Request] = {}
    for person in everyone().values():
        draw = random.Random(f"requests {seed} {person.name}")
        own: list[Request] = []
        while len(own) < ASKED[person.part]:
            request = draw_request(person.name, draw)
            if request not in own:
                own.append(request)
        found |= {f"{person.name} {i}": request for i, request in enumerate(own)}
    return found
