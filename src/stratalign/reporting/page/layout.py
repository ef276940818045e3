"""Lays out studies as one HTML page that works offline. Knows nothing of how its numbers came about.

Everything is escaped by the template engine, except for the figures, which escape their own text, and the style
sheets and the script, which are ours. The page's content policy lets nothing else run and nothing be fetched: style
and script carry a nonce, which is a digest of the content, so that equal studies give equal bytes and no text of a
study can contain it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from stratalign.reporting import numbers
from stratalign.reporting.comparisons.contrasts import ALPHA, RESAMPLES
from stratalign.reporting.comparisons.equivalences import MARGIN
from stratalign.reporting.diagnosed.calibrated import Calibration
from stratalign.reporting.figures import pictures, svg
from stratalign.reporting.page.across import Across
from stratalign.reporting.page.sections import StudyView

TEMPLATES = Path(__file__).parent / "templates"


def render(
    views: Sequence[StudyView],
    groups: Sequence[Across] = (),
    alone: Sequence[str] = (),
    calibration: Calibration | None = None,
) -> str:
    """The page over one or several studies, in the given order.

    Args:
        views: the studies.
        groups: what studies of one protocol say beside each other.
        alone: folders of the studies that are in no group, where there are groups.
        calibration: worlds in which it is known what matters.
    """
    environment = _environment()
    content = {
        "views": views,
        "groups": groups,
        "alone": alone,
        "calibration": calibration,
        "resamples": RESAMPLES,
        "alpha": ALPHA,
        "margin": MARGIN,
        "families": _families(views),
    }
    body = environment.get_template("body.html.j2").render(
        content, png=pictures.can_draw(), install=pictures.INSTALL
    )
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8") + svg.STYLE
    script = (TEMPLATES / "examples.js").read_text(encoding="utf-8")
    page = environment.get_template("page.html.j2").render(
        content,
        body=Markup(body),
        style=Markup(style),
        script=Markup(script),
        data=[one.data for one in views],
        nonce=_nonce(body, style, script),
    )
    # A lone surrogate in a model's answer has no UTF-8 form.
    return page.encode("utf-8", "replace").decode("utf-8")


def _families(views: Sequence[StudyView]) -> list[dict[str, object]]:
    """Every family of any study; how many tests it has where there is one study only."""
    found = {one.name: one for view in views for one in view.results.families}
    return [
        {"name": one.name, "about": one.about, "tests": one.tests if len(views) == 1 else None}
        for one in found.values()
    ]


def _environment() -> jinja2.Environment:
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
        detectable=numbers.detectable,
        signed=numbers.signed,
        percent=numbers.percent,
        seconds=numbers.seconds,
        size=numbers.size,
        spans=numbers.spans,
        listed=numbers.listed,
        figure=_figure,
        p_value=numbers.p_value,
        tojson_text=_json_text,
    )
    environment.globals.update(interval=numbers.interval)
    return environment


def _nonce(*parts: str) -> str:
    """32 hex digits that depend on every byte of the page's content."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _json_text(value: object) -> str:
    """JSON to read, as plain text: the template escapes it like every other."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def _figure(drawing: svg.Drawing) -> Markup:
    return Markup(drawing.inline())
