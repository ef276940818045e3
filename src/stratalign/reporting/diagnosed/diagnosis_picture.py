"""A figure of a diagnosis, as the views of every kind hand it on. Knows no kind."""

from __future__ import annotations

from dataclasses import dataclass

from stratalign.reporting.figures.svg import Drawing


@dataclass(frozen=True)
class Picture:
    """A figure, the name of its file and what stands above it, if anything."""

    name: str
    caption: str
    drawing: Drawing
