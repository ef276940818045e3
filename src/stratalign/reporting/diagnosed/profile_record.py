"""What the page shows of `diagnose profile`: the same figure as the study's own profile, of the loss of training pairs.

Reads the record as it is on disk. Knows nothing of how it was made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratalign.reporting.comparisons.shares import Band, Share, Shares, one_more_draw
from stratalign.reporting.figures.profile_plot import profile_plot
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.findings.profile import Place, Profile
from stratalign.reporting.numbers import plain, spans

Record = Mapping[str, Any]


def profile_picture(record: Record) -> tuple[Drawing | None, tuple[str, ...]]:
    """The figure, None where there are no shares, and what it says in sentences."""
    clusters = len(record["per_cluster"]["clusters"])
    windows, draws = ([_share(row, record, clusters) for row in record[key]] for key in ("windows", "draws"))
    shares = [row.share for row in draws if row.share is not None]
    band = None
    if shares:
        band = Band(tuple(draws), min(shares), max(shares), sum(shares) / len(shares), None, None)
    found = Shares(
        "", "", "the loss of training pairs held back", "nats", "full", None, None, None, record["why_none"],
        tuple(windows), band,
    )  # fmt: skip
    places = tuple(
        Place(row["run"], kind, tuple(row["layers"]), None, 0, None, None, None, None)
        for key, kind in (("windows", "window"), ("draws", "draw"))
        for row in record[key]
    )
    size = len(record["windows"][0]["layers"])
    drawing = profile_plot(
        Profile(len(record["layers"]), size, places, (found,), (), ()), record["partition"]
    )
    return drawing, tuple(_words(record, windows, draws, size))


def _share(row: Record, record: Record, clusters: int) -> Share:
    return Share(
        row["run"], record["rows"], clusters, 0, row["fall"], row["fall_low"], row["fall_high"], row["share"],
        row["share_low"], row["share_high"], row.get("p_value"), row.get("p_holm"), row.get("standing"),
    )  # fmt: skip


def _words(record: Record, windows: list[Share], draws: list[Share], size: int) -> list[str]:
    trained = record["trained"]
    words = [
        f"Trained on {trained['pairs']} training pairs, read on {record['rows']} others that share no cluster with "
        f"them: the loss is {plain(record['loss']['base'])} under base and {plain(record['loss']['full'])} under full."
    ]
    if record["why_none"]:
        return [*words, str(record["why_none"])]
    layers = {row["run"]: spans(row["layers"]) for row in record["windows"]}
    above = [f"{layers[one.condition]} ({plain(one.share, 2)})" for one in windows if one.standing == "above"]
    if draws:
        words.append(
            f"Training layers {', '.join(above)} alone suffices for more of the fall than each of {len(draws)} random "
            f"draws of {size} layers does, with certainty."
            if above
            else f"No window lies above all of {len(draws)} random draws of {size} layers with certainty."
        )
        words.append(f"Certainty is about other pairs, not other draws: {one_more_draw(len(draws))}.")
    return words
