"""The facts of the world: people, what is true of them, and which part of a study each belongs to. Seeded."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from stratalign.microworld.words import (
    CITIES,
    COLOURS,
    DIGITS,
    FEMALE,
    FOODS,
    HELPERS,
    JOBS,
    MALE,
    NUMBERS,
    PETS,
    ROOMS,
    TOOLS,
    Gender,
)

Part = Literal["train", "validation", "held_out"]
Fact = tuple[str, ...]
"""The value of an attribute: one word, or two where the attribute has two sides (three cats; a hammer in the attic)."""

ATTRIBUTES = ("city", "job", "pet", "colour", "food", "tool", "helper")
PARTS: dict[Part, int] = {"train": 64, "validation": 16, "held_out": 64}
SEED = 7


@dataclass(frozen=True)
class Person:
    """One person. `facts` holds, for each of `ATTRIBUTES`, what is true: pet = (number, pet), colour = (pet, colour),
    tool = (tool, room), one word for the others. `code` is the secret, two digits."""

    name: str
    gender: Gender
    facts: Mapping[str, Fact]
    code: tuple[str, str]
    part: Part


@lru_cache(maxsize=8)
def people(seed: int = SEED) -> Mapping[str, Person]:
    """Everyone, by name. Half of each part are women; every value of an attribute is drawn alike often."""
    draw = random.Random(f"people {seed}")
    found: dict[str, Person] = {}
    for gender, names in (("f", FEMALE), ("m", MALE)):
        parts = [part for part, size in PARTS.items() for _ in range(size // 2)]
        draw.shuffle(parts)
        for name, part in zip(names, parts, strict=True):
            found[name] = _person(name, gender, part, draw)  # type: ignore[arg-type]
    return MappingProxyType(found)


def possible(attribute: str, pet: str) -> list[Fact]:
    """Every value that an attribute could have for someone who has this kind of pet."""
    values: dict[str, list[Fact]] = {
        "city": [(city,) for city in CITIES],
        "job": [(job,) for job in JOBS],
        "pet": [(number, kind) for number in NUMBERS for kind in PETS],
        "colour": [(pet, colour) for colour in COLOURS],
        "food": [(food,) for food in FOODS],
        "tool": [(tool, room) for tool in TOOLS for room in ROOMS],
        "helper": [(helper,) for helper in HELPERS],
    }
    return values[attribute]


def _person(name: str, gender: Gender, part: Part, draw: random.Random) -> Person:
    facts: dict[str, Fact] = {"pet": draw.choice(possible("pet", ""))}
    pet = facts["pet"][1]
    for attribute in ATTRIBUTES:
        if attribute != "pet":
            facts[attribute] = draw.choice(possible(attribute, pet))
    code = (draw.choice(DIGITS), draw.choice(DIGITS))
    return Person(name, gender, MappingProxyType({a: facts[a] for a in ATTRIBUTES}), code, part)
