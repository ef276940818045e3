"""The micro-world: a small language in which grammar, coherence and facts are decided exactly. Text in, scores out."""

from stratalign.microworld.people import ATTRIBUTES, Part, Person, people
from stratalign.microworld.requests import REQUESTS_SEED, Request, draw_request, read_request, requests
from stratalign.microworld.shipped import BASE, NAME, PREFERENCE_SETS, STUDY, preference_file, shipped_set
from stratalign.microworld.verifying import DIMENSIONS, OVERALL, Scores, verify
from stratalign.microworld.words import vocabulary
from stratalign.microworld.writing import CLEAN, Noise, draw_noise, write

__all__ = [
    "ATTRIBUTES",
    "BASE",
    "CLEAN",
    "DIMENSIONS",
    "NAME",
    "OVERALL",
    "PREFERENCE_SETS",
    "REQUESTS_SEED",
    "STUDY",
    "Noise",
    "Part",
    "Person",
    "Request",
    "Scores",
    "draw_noise",
    "draw_request",
    "people",
    "preference_file",
    "read_request",
    "requests",
    "shipped_set",
    "verify",
    "vocabulary",
    "write",
]
