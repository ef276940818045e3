"""What instruments said in worlds in which it is known which layer carries the preference: in words, and for the page.

Reads the records of `stratalign demo`'s calibration as they are on disk. Knows nothing of how the worlds were made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stratalign.records import WORLD, read_record

FOLDER = "calibration"
"""Beside the page over several studies."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Calibration:
    """A column of `truths` for each world, and a row for each instrument with what it said in each of them."""

    truths: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    words: tuple[str, ...]


def calibration_beside(page: Path) -> Calibration | None:
    """The worlds whose records lie in `calibration/` beside the page; None where there are none.

    Raises:
        UserError: a file there is damaged.
    """
    worlds = []
    for file in sorted((page.parent / FOLDER).glob("*.json"), reverse=True):
        one = read_record(file, WORLD)
        if not {"instruments", "planted"} & one.keys():
            continue  # the user's own
        try:
            calibration([one])
        except (LookupError, TypeError, AttributeError) as error:
            raise WORLD.damaged(
                str(file), f"it is no record of a world ({type(error).__name__}: {error})"
            ) from None
        worlds.append(one)
    return calibration(worlds) if worlds else None


def calibration(worlds: Sequence[Record]) -> Calibration:
    """The worlds side by side."""
    names = dict.fromkeys(name for one in worlds for name in one["instruments"])
    return Calibration(
        tuple(
            "no layer carries it" if one["planted"] is None else f"layer {one['planted']} carries it"
            for one in worlds
        ),
        tuple(
            (
                name,
                tuple(
                    _said(one["instruments"][name]) if name in one["instruments"] else "–" for one in worlds
                ),
            )
            for name in names
        ),
        tuple(_verdict(one) for one in worlds),
    )


def world_in_words(record: Record) -> str:
    """One world: what is known of it, what each instrument said, and how many were right."""
    truth = (
        "no layer carries the preference"
        if record["planted"] is None
        else f"layer {record['planted']} is known to carry it"
    )
    told = ", ".join(f"{name} {_said(one)}" for name, one in record["instruments"].items())
    return f"Calibration, {truth}: {told}. {_verdict(record)}"


def _verdict(record: Record) -> str:
    """How many of the instruments were right."""
    said, planted = list(record["instruments"].values()), record["planted"]
    if planted is None:
        spoke = sum(one["named"] is not None for one in said)
        return (
            f"{spoke} of {len(said)} wrongly name one." if spoke else "As it should be, none names a layer."
        )
    sure = sum(one["named"] == planted for one in said)
    near = sum(one["reading"] != "no signal" and one["largest"] == planted for one in said)
    return f"{near} of {len(said)} point at it, {sure} for certain."


def _said(one: Record) -> str:
    """Names a layer, points at one that is not surely the largest, or sees nothing."""
    if one["named"] is not None:
        return f"names layer {one['named']}"
    return "sees nothing" if one["reading"] == "no signal" else f"points at layer {one['largest']}"
