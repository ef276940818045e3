"""Turns a figure into a PNG, where the optional `resvg_py` is installed. Knows nothing of what is drawn.

The light colours are drawn, at twice the size, with the system's fonts: the same bytes on one machine, while another
one may have other fonts.
"""

from __future__ import annotations

import importlib.util

from stratalign.reporting.figures.svg import Drawing

ZOOM = 2
INSTALL = "pip install 'stratalign[png]'"


def can_draw() -> bool:
    """Whether PNG files can be written here."""
    return importlib.util.find_spec("resvg_py") is not None


def png(drawing: Drawing) -> bytes | None:
    """The figure as PNG bytes, or None where `resvg_py` is not installed."""
    if not can_draw():
        return None
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=drawing.standalone(), zoom=ZOOM))
