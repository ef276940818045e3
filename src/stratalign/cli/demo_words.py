"""What `stratalign demo` prints: answers side by side, its studies, and its calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stratalign.cli.study_tables import results
from stratalign.cli.terminal import paragraph, say
from stratalign.reporting.diagnosed.calibrated import world_in_words

if TYPE_CHECKING:
    from stratalign.showcase import Showcase, Shown


def showcase(found: Showcase) -> None:
    """The demo's studies one after the other, and where the report over all of them is."""
    for name, one in found.exhibits.items():
        paragraph(f"{name}: {one.recommendation['line']}")
    for name, one in found.exhibits.items():
        say("")
        say(f"== {name} preferences, meant to move {one.dimension} ==")
        say(f"{len(one.answers)} held-out prompts, drawn at random; base and {one.condition}:")
        answers(one.answers, one.condition, one.dimension)
        results(one.results)
    say("")
    for record in found.calibration:
        paragraph(world_in_words(record))
    say(f"Report: {found.page}")


def answers(shown: Sequence[Shown], condition: str, dimension: str) -> None:
    """Answers of the base and of a trained condition to the same prompts, with their scores in one dimension."""
    for one in shown:
        paragraph(f"> {one.prompt}")
        for who, text, score in (
            ("base", one.base, one.base_score),
            (condition, one.trained, one.trained_score),
        ):
            paragraph(f"  {who:<8} {dimension} {score:.2f}  {text or '(empty)'}", "                      ")
