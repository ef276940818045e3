"""A key that must not be seen: found in a text whole, cut, masked, escaped or encoded, and taken out."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote

SHORT = 6
"""A key of fewer characters is a placeholder, and would be found in any text."""

PIECE = 8
"""As many characters of a key in a row are a part of it."""


class Secret:
    """One key; empty where none is needed."""

    def __init__(self, key: str) -> None:
        self._length = min(PIECE, len(key))
        self._pieces: set[str] = set()
        if len(key) < SHORT:
            return
        for form in _forms(key):
            text = form.lower()
            self._pieces |= {text[at : at + self._length] for at in range(len(text) - self._length + 1)}

    def hidden(self, text: str) -> str:
        """`text` with [key] in place of every part of the key."""
        if not self._pieces:
            return text
        searched = "".join(one if len(one) == 1 else " " for one in map(str.lower, text))
        kept: list[str] = []
        end = 0  # of the last part of the key
        start = 0  # of what is kept after it
        for at in range(len(text) - self._length + 1):
            if searched[at : at + self._length] not in self._pieces:
                continue
            if at > end or not kept:
                kept += [text[start:at], "[key]"]
            end = start = at + self._length
        return "".join([*kept, text[start:]])


def _forms(key: str) -> set[str]:
    """How a key may be written in an answer."""
    forms = {key, quote(key), quote(key, safe=""), html.escape(key), json.dumps(key)[1:-1]}
    raw = key.encode("utf-8", "replace")
    forms.add(raw.hex())
    for before in range(3):  # base64 depends on where among three bytes the key begins
        packed = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
        inner = packed[(0, 2, 3)[before] : len(packed) - 1]  # the last character also holds what follows
        forms |= {inner, inner.replace("+", "-").replace("/", "_"), quote(inner, safe="")}
    return forms
