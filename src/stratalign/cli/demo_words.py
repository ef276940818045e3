"""What `stratalign demo` prints: answers side by side, its studies, and its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stratalign.cli.study_tables import results
from stratalign.cli.terminal import paragraph, say

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
        paragraph(world(record))
    say(f"Report: {found.page}")


def world(record: Mapping[str, Any]) -> str:
    """What each instrument said in a world in which the truth is known, in one line."""
    instruments = record["instruments"].items()
    told = ", ".join(f"{name} {_pointed(one)}" for name, one in instruments)
    names = [one["named"] for _, one in instruments]
    if record["planted"] is None:
        spoke = sum(named is not None for named in names)
        verdict = (
            "As it should be, none names a layer"
            if not spoke
            else f"{spoke} of {len(names)} wrongly name one"
        )
        return f"Calibration, no layer carries the preference: {told}. {verdict}."
    sure = sum(named == record["planted"] for named in names)
    near = sum(
        one["reading"] != "no signal" and one["largest"] == record["planted"] for _, one in instruments
    )
    return (
        f"Calibration, layer {record['planted']} is known to carry it: {told}. {near} of {len(names)} point at it, "
        f"{sure} for certain."
    )


def _pointed(one: Mapping[str, Any]) -> str:
    """Names a layer, points at one that is not surely the largest, or sees nothing."""
    if one["named"] is not None:
        return f"names layer {one['named']}"
    return "sees nothing" if one["reading"] == "no signal" else f"points at layer {one['largest']}"


def answers(shown: Sequence[Shown], condition: str, dimension: str) -> None:
    """Answers of the base and of a trained condition to the same prompts, with their scores in one dimension."""
    for one in shown:
        paragraph(f"> {one.prompt}")
        for who, text, score in (
            ("base", one.base, one.base_score),
            (condition, one.trained, one.trained_score),
        ):
            paragraph(f"  {who:<8} {dimension} {score:.2f}  {text or '(empty)'}", "                      ")
