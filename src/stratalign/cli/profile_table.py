"""What `stratalign diagnose profile` prints: every window's share of full's fall of the loss, and the draws'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratalign.cli.tabling import interval, number, table
from stratalign.cli.terminal import console, paragraph, say
from stratalign.reporting.comparisons.shares import one_more_draw


def profile(record: Mapping[str, Any]) -> None:
    """Windows and random draws with their shares, and what can be told of them."""
    trained, full = record["trained"], record["full"]
    say(
        f"Profile of {record['model']}: trained on {trained['pairs']} training pairs ({trained['steps']} steps), read "
        f"on {record['rows']} others of {len(record['per_cluster']['clusters'])} clusters; loss "
        f"{record['loss']['base']:.3f} under base, {record['loss']['full']:.3f} under full"
    )
    shown = table("trains", "layers", "loss", "share of full's fall", "95 %", "beside the draws")
    for row in (*record["windows"], *record["draws"]):
        shown.add_row(
            row["run"],
            ", ".join(map(str, row["layers"])),
            f"{row['loss']:.4f}",
            number(row["share"], "{:.2f}"),
            interval({"low": row["share_low"], "high": row["share_high"]}, "{:.2f}"),
            row.get("standing") or "-",
        )
    console.print(shown)
    paragraph(
        record["why_none"]
        or f"Full's fall: {full['fall']:.3f} nats [{full['fall_low']:.3f}, {full['fall_high']:.3f}], intervals over "
        "clusters. Training pairs alone were read."
    )
    if record["draws"] and not record["why_none"]:
        paragraph(f"Certainty is about other pairs, not other draws: {one_more_draw(len(record['draws']))}.")
