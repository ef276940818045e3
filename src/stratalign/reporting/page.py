"""Lays out studies as one HTML page that works offline. Knows nothing of how its numbers came about.

Everything is escaped by the template engine, except for the figures, which escape their own text, and the two
style sheets, which are ours. The page has no script, and its content policy would let none run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from stratalign.reporting import numbers, svg
from stratalign.reporting.contrasts import ALPHA, RESAMPLES
from stratalign.reporting.sections import StudyView

TEMPLATES = Path(__file__).parent / "templates"


def render(views: Sequence[StudyView]) -> str:
    """The page over one or several studies, in the given order."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        plain=numbers.plain,
        signed=numbers.signed,
        percent=numbers.percent,
        seconds=numbers.seconds,
        spans=numbers.spans,
        listed=numbers.listed,
        figure=_figure,
        p_value=numbers.p_value,
        tojson_text=_json_text,
    )
    environment.globals.update(interval=numbers.interval)
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8") + svg.STYLE
    page = environment.get_template("page.html.j2").render(
        views=views, style=Markup(style), resamples=RESAMPLES, alpha=ALPHA
    )
    # A lone surrogate in a model's answer has no UTF-8 form.
    return page.encode("utf-8", "replace").decode("utf-8")


def _json_text(value: object) -> str:
    """JSON to read, as plain text: the template escapes it like every other."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _figure(drawing: svg.Drawing) -> Markup:
    return Markup(drawing.inline())
