"""Reads any text sentence by sentence: what each one says, of whom, and where its grammar fails.

What matches no form of the world is not understood. The forms themselves are in forms.py.
"""

from __future__ import annotations

import re
import unicodedata

from stratalign.microworld.forms import FORMS
from stratalign.microworld.readings import Reading
from stratalign.microworld.words import FILLERS


def sentences(text: str) -> list[str]:
    """The text cut at full stops, question and exclamation marks and line ends; lower case, other signs gone."""
    plain = re.sub(r"[^\w\s.?!]", " ", unicodedata.normalize("NFKC", text).lower())
    return [" ".join(part.split()) for part in re.split(r"[.?!\n]", plain) if part.split()]


def ends(text: str) -> bool:
    """Whether the last sentence is finished: it has its full stop, perhaps before a closing quote or bracket."""
    return text.rstrip("\"')]} \t\n\u201d\u2019").endswith((".", "?", "!"))


def read(sentence: str) -> Reading | None:
    """What a sentence without its full stop says; None where it matches nothing that the world can say."""
    if sentence in FILLERS:
        return Reading("filler")
    for pattern, understand in FORMS:
        found = pattern.fullmatch(sentence)
        if found is not None:
            return understand(found)
    return None
