"""What a scorer of answers is: texts in, one value for each dimension out. Knows nothing of runs, files or recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stratalign.preferences import Dialogue, as_text
from stratalign.preferences.dialogues import Kind
from stratalign.records import Dimension, digest

Values = dict[str, list[float | None]]
"""Dimension -> one value for each exchange, in order; None where it has none."""


class Exchange(NamedTuple):
    """A prompt, as text or as messages, and one response to it."""

    prompt: Dialogue
    kind: Kind
    response: str

    @property
    def asked(self) -> str:
        """The prompt as one text."""
        return as_text(self.prompt)


@dataclass(frozen=True)
class Scorer:
    """A scorer that is ready to be asked.

    `identity` is everything that its scores depend on beside the texts. `dimensions` is None where they show only in
    what it returns. `score` loads what it needs when it is first called, and gives finite numbers or None.
    """

    name: str
    identity: Mapping[str, Any]
    dimensions: tuple[Dimension, ...] | None
    score: Callable[[Sequence[Exchange]], Values]

    @property
    def hash(self) -> str:
        return digest(dict(self.identity))
