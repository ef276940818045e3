"""What `stratalign diagnose` prints of weights, of updates, and of gradients over the stages of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratalign.cli.tabling import interval, number, table
from stratalign.cli.terminal import console, paragraph, say

SHOWN = 5
"""Modules at either end of a ranking; the record has all."""


def weights(record: Mapping[str, Any]) -> None:
    """The modules that stand out most and least, and means by block."""
    rows = sorted((row for row in record["modules"] if row["rank"] is not None), key=lambda row: row["rank"])
    say(f"Signal-to-noise ratios of {len(rows)} weights of {record['model']}; no data was used")
    shown = table("rank", "module", "snr", "in kind", "spectrum", "spectral norm", "effective rank")
    for row in [*rows[:SHOWN], None, *rows[-SHOWN:]] if len(rows) > 2 * SHOWN else rows:
        if row is None:
            shown.add_row("...")
            continue
        shown.add_row(
            str(row["rank"]),
            row["module"],
            number(row["snr"], "{:.3f}"),
            str(row["rank_in_kind"]),
            number(row["spectrum"], "{:.3f}"),
            number(row["spectral_norm"], "{:.3g}"),
            number(row["effective_rank"], "{:.1f}"),
        )
    console.print(shown)
    means = table("block", "snr", "place in kind", "spectrum's place", "spectral norm", "effective rank")
    for name, row in record["blocks"].items():
        means.add_row(
            name,
            number(row["snr"], "{:.3f}"),
            number(row["snr_in_kind"], "{:.2f}"),
            number(row["spectrum_in_kind"], "{:.2f}"),
            number(row["spectral_norm"], "{:.3g}"),
            number(row["effective_rank"], "{:.1f}"),
        )
    say("Means by block (places from 0 to 1, chance 0.5):")
    console.print(means)
    agreed = record["agreement"]
    paragraph(
        "Rank correlation within kinds of snr and Spectrum's own ratio "
        f"{number(agreed['snr_and_spectrum'], '{:.2f}')}, of Spectrum's and a small spectral norm "
        f"{number(agreed['spectrum_and_small_norm'], '{:.2f}')}."
    )
    if record["missing"]:
        (name, why), *others = record["missing"].items()
        more = f", and {len(others)} more" if others else ""
        paragraph(f"Without a ratio, and never chosen: {name} ({why}){more}.")


def deltas(record: Mapping[str, Any]) -> None:
    """Each run's size beside its weights, and where it lies."""
    runs: Mapping[str, Any] = record["runs"]
    blocks = list(record["partition"])
    say("Updates beside the weights that they are added to; size is not effect")
    shown = table("run", "modules", "norm", "relative", "spectral norm", "effective rank", *blocks)
    for name, own in runs.items():
        whole = own["all"]
        shown.add_row(
            name,
            str(whole["modules"]),
            number(whole["norm"], "{:.3g}"),
            number(whole["relative"], "{:.2%}"),
            number(whole["spectral_norm"], "{:.3g}"),
            number(whole["effective_rank"], "{:.1f}"),
            *(number(own["blocks"][block]["share"], "{:.2f}") for block in blocks),
        )
    console.print(shown)
    say(f"{', '.join(blocks)}: share of the squared norm")
    if len(runs) > 1:
        return
    (own,) = runs.values()
    rows = sorted(own["modules"], key=lambda row: -(row["relative"] or 0.0))
    modules = table("module", "relative", "spectral norm", "effective rank", "stable rank")
    for row in rows[: 2 * SHOWN]:
        modules.add_row(
            row["module"],
            number(row["relative"], "{:.2%}"),
            number(row["spectral_norm"], "{:.3g}"),
            number(row["effective_rank"], "{:.1f}"),
            number(row["stable_rank"], "{:.1f}"),
        )
    console.print(modules)
    others: Mapping[str, float] = own["not_in_linear_modules"]
    if others:
        largest = max(others, key=lambda name: others[name])
        paragraph(f"{len(others)} other tensors differ, most {largest}, by {others[largest]:.2%} of itself.")


def stages(record: Mapping[str, Any]) -> None:
    """Shares of the gradient by block at every stage, for each loss, and how they moved."""
    say(f"{record['pairs']} pairs, {record['clusters']} clusters, {record['chunks']} chunks")
    done = {stage["name"]: stage["share"] for stage in record["stages"]}
    for loss, described in record["losses"].items():
        shown = table(
            "stage", "trained", "norm", *(head for name in record["partition"] for head in (name, "95 %"))
        )
        for own in described:
            cells = []
            for row in own["blocks"]["by_name"].values():
                cells += [number(row["share"]["value"], "{:.2f}"), interval(row["share"], "{:.2f}")]
            shown.add_row(
                own["stage"], f"{done[own['stage']]:.0%}", number(own["all"]["norm"], "{:.3g}"), *cells
            )
        say(f"{loss}: share of the squared norm in each block")
        console.print(shown)
        moved = ", ".join(
            f"{name} {number(row['ratio'], '{:.2f}')} {interval(row, '{:.2f}')} ({row['reading']})"
            for name, row in described[-1]["changes"].items()
        )
        paragraph(f"{loss}, share after over share before: {moved}.")
