"""What `stratalign diagnose` prints of the diagnoses that read activations: similarity, probes and patching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from stratalign.cli.tabling import interval, number, table
from stratalign.cli.terminal import console, paragraph, say

Record = Mapping[str, Any]


def similarity(record: Record) -> None:
    """What each layer changes, the drift, and where blocks would part."""
    drift = record.get("drift")
    say(
        f"Similarity of the states of {record['subject']}: {record['pairs']} training pairs of {record['clusters']} "
        "clusters, 95 % intervals"
    )
    shown = table(
        "layer",
        "entry to exit",
        "95 %",
        "angle",
        "95 % ",
        *(["to base", "95 %  ", "cosine"] if drift else []),
    )
    for row in record["layers"]:
        cells = [str(row["layer"]), *_both(row["entry_to_exit"]), *_both(row["angle"])]
        if drift:
            moved = drift[row["layer"] + 1]
            cells += [*_both(moved["similarity"]), number(moved["cosine"]["value"], "{:.3f}")]
        shown.add_row(*cells)
    console.print(shown)
    found = record["boundaries"]
    blocks = ", ".join(f"{first}-{last}" if last > first else str(first) for first, last in found["blocks"])
    paragraph(
        f"Blocks by similarity: {blocks}; {found['agree']:.0%} of halves of the clusters divide so. "
        + " ".join(
            f"One begins at {row['first_layer']} [{row['low']}, {row['high']}], {row['shift']:+d} from equal blocks' "
            f"{row['even']}."
            for row in found["rows"]
        )
    )


def probes(record: Record) -> None:
    """Every task's peak beside its controls, and whether it lies where the paper expects it."""
    say(
        f"Linear probes on the states of {record['subject']}: {record['pairs']} training pairs, unseen clusters"
    )
    shown = _left(
        "task",
        "best after",
        "95 %",
        "accuracy",
        "95 % ",
        "control",
        "words",
        "length",
        "expected",
        "off by >3",
    )
    for name, own in record["tasks"].items():
        peak, expected = own["peak"], own["expected"]
        row = own["curve"][peak["state"]]
        verdict = {"misaligned": "yes", "not misaligned": "no"}
        shown.add_row(
            name,
            str(peak["layer"]) if peak["state"] else "words",
            f"[{peak['low']}, {peak['high']}]",
            f"{row['accuracy']:.2f}" + ("" if peak["decodable"] else " (chance)"),
            f"[{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}]",
            f"{row['control']:.2f}",
            f"{own['curve'][0]['accuracy']:.2f}",
            f"{own['length_baseline']['accuracy']:.2f}",
            "" if expected is None else f"{expected['block']} ({expected['distance']})",
            "" if expected is None else verdict.get(expected["verdict"], "cannot tell"),
        )
    console.print(shown)
    for name, why in record["skipped"].items():
        say(f"Left out {name}: {why}")
    paragraph(
        "`words` is the probe on the embeddings. What can be decoded at a depth need not be used there; where a curve "
        "is flat, its peak's interval is wide."
    )


def patching(record: Record) -> None:
    """Cumulative shares by layer, and what blocks and windows make."""
    margin = record["margin"]
    say(
        f"Patching {record['subject']} and base, {record['pairs']} training pairs: the margin rises from "
        f"{margin['base']:.2f} to {margin['tuned']:.2f} nats"
    )
    if not margin["tells"]:
        paragraph("That rise cannot be told from nothing, so shares of it say nothing.")
    shown = table(
        "layer", "tuned below", "95 %", "tuned from", "95 % ", "made here", "95 %  ", "lost", "95 %   "
    )
    for row in record["layers"]:
        cells = [
            cell for key in ("denoising", "noising", "made", "lost") for cell in _both(row[key], "{:.2f}")
        ]
        shown.add_row(str(row["layer"]), *cells)
    console.print(shown)
    parts = table("block", "alone", "95 %", "lost without", "95 % ")
    for name, row in record["blocks"].items():
        parts.add_row(name, *_both(row["alone"], "{:.2f}"), *_both(row["without"], "{:.2f}"))
    for row in record["windows"]:
        first, last = row["layers"]
        parts.add_row(
            f"layers {first}-{last}", *_both(row["alone"], "{:.2f}"), *_both(row["without"], "{:.2f}")
        )
    console.print(parts)


def _both(row: Record, form: str = "{:.3f}") -> Sequence[str]:
    return number(row["value"], form), interval(row, form)


def _left(*names: str) -> Table:
    """A table whose first column holds words."""
    found = table(*names)
    found.columns[0].justify = "left"
    return found
