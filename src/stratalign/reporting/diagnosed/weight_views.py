"""What the page shows of weights, of updates, and of gradients over the stages of a training: figures and sentences.

Reads records of diagnoses as they are on disk and computes nothing anew. Knows nothing of models or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratalign.reporting.diagnosed.diagnosis_picture import Picture
from stratalign.reporting.figures.heatmap import HeatColumn, HeatRow, heatmap
from stratalign.reporting.figures.stage_lines import Point, StagePanel, stage_lines
from stratalign.reporting.numbers import listed, percent, plain

Record = Mapping[str, Any]
Shown = tuple[tuple[Picture, ...], tuple[str, ...]]

TITLES = {
    "weights": "Which weights stand out of noise",
    "deltas": "How large the updates are",
    "stages": "Where the gradients lie before, during and after training",
}
NOTES = {
    "weights": "The sum of singular values above the edge of noise over the sum of those below, of every weight of the "
    "base; darker is higher among the modules of the same kind. No data was used: it says nothing about preferences.",
    "deltas": "Norm of the update in percent of the norm of the weights that it is added to; darker is larger. Size is "
    "not effect: an update may be large and do little.",
    "stages": "Shares of the squared norm of the mean gradient by the effective weights, with 95 % intervals over "
    "chunks of the same training pairs at every stage. The stages are of one training on every linear module.",
}


def weights(name: str, record: Record) -> Shown:
    """The heat map of the ratios, the places of blocks, and how far Spectrum's own ratio agrees."""
    heat = record["heatmap"]
    rows = [
        HeatRow(kind, "", f"among {kind}", tuple(row[at] for row in heat["values"]))
        for at, kind in enumerate(heat["kinds"])
    ]
    drawing = heatmap(
        _layers(record, heat["layers"]), rows, about="Signal-to-noise ratios of weights by layer"
    )
    places = ", ".join(f"{block} {plain(row['snr_in_kind'], 2)}" for block, row in record["blocks"].items())
    theirs = ", ".join(
        f"{block} {plain(row['spectrum_in_kind'], 2)}" for block, row in record["blocks"].items()
    )
    ranked = sorted(
        (row for row in record["modules"] if row["rank"] is not None), key=lambda row: row["rank"]
    )
    agreed = record["agreement"]
    words = [
        f"Mean place among modules of the same kind, from 0 to 1 (chance 0.5): {places}; by Spectrum's own ratio: "
        f"{theirs}.",
        f"Rank correlation of the two ratios within kinds: {plain(agreed['snr_and_spectrum'], 2)}; of Spectrum's and a "
        f"small spectral norm: {plain(agreed['spectrum_and_small_norm'], 2)}.",
    ]
    if ranked:
        most = listed([f"{row['module']} ({plain(row['snr'], 2)})" for row in ranked[:3]])
        words.insert(0, f"Furthest out of noise: {most}.")
    if record["missing"]:
        words.append(f"Without a ratio, and never chosen: {len(record['missing'])} weights.")
    return () if drawing is None else (Picture(name, "", drawing),), tuple(words)


def deltas(name: str, record: Record) -> Shown:
    """Of one run a heat map of modules, of several one of layers; and where each run's update lies."""
    runs: Mapping[str, Record] = record["runs"]
    if len(runs) == 1:
        (own,) = runs.values()
        heat = own["heatmap"]
        columns = _layers(record, heat["layers"])
        rows = [
            HeatRow(kind, "", "%", tuple(_percents(row[at] for row in heat["values"])))
            for at, kind in enumerate(heat["kinds"])
        ]
    else:
        layers = sorted({row["layer"] for own in runs.values() for row in own["layers"]})
        columns = _layers(record, layers)
        by_layer = {
            run: {row["layer"]: row["relative"] for row in own["layers"]} for run, own in runs.items()
        }
        rows = [
            HeatRow(run, "", "%", tuple(_percents(own.get(layer) for layer in layers)))
            for run, own in by_layer.items()
        ]
    drawing = heatmap(columns, rows, about="Updates in percent of their weights, by layer")
    words = [_told(run, own) for run, own in runs.items()]
    return () if drawing is None else (Picture(name, "", drawing),), tuple(words)


def _told(run: str, own: Record) -> str:
    whole = own["all"]
    shares = [f"{block} {plain(row['share'], 2)}" for block, row in own["blocks"].items() if row["modules"]]
    return (
        f"{run}: {percent(whole['relative'])} of its weights' norm, effective rank {plain(whole['effective_rank'], 1)} "
        f"on average; of the squared norm {', '.join(shares)}."
    )


def stages(name: str, record: Record) -> Shown:
    """Lines over the stages, a panel for each loss; and how far each block's share moved, with a reading."""
    labels = [
        "before" if stage["share"] == 0 else f"{100 * stage['share']:g} %" for stage in record["stages"]
    ]
    panels = [
        StagePanel(
            f"{loss}: share of squared norm",
            {
                block: [_point(own["blocks"]["by_name"][block]["share"]) for own in described]
                for block in record["partition"]
            },
        )
        for loss, described in record["losses"].items()
    ]
    told = f"{record['source']}: {record['pairs']} pairs, {record['clusters']} clusters"
    drawing = stage_lines(labels, panels, f"Share of the gradient in each block over a training. {told}.")
    words = [_moved(loss, described[-1]["changes"]) for loss, described in record["losses"].items()]
    return () if drawing is None else (Picture(name, told, drawing),), tuple(words)


def _moved(loss: str, changes: Mapping[str, Record]) -> str:
    readings = {"above": "grew", "below": "shrank"}
    moves = ", ".join(
        f"that of {block} {readings.get(row['reading'], 'may not have moved')} "
        f"({plain(row['ratio'], 2)} times [{plain(row['low'], 2)}, {plain(row['high'], 2)}])"
        for block, row in changes.items()
    )
    return f"{loss}, share after training over share before: {moves}."


def _point(share: Record) -> Point | None:
    return None if share["value"] is None else Point(share["value"], share["low"], share["high"])


def _layers(record: Record, layers: Sequence[int]) -> list[HeatColumn]:
    block_of = {layer: block for block, own in record["partition"].items() for layer in own}
    return [HeatColumn(block_of.get(layer, ""), str(layer)) for layer in layers]


def _percents(shares: Any) -> list[float | None]:
    return [None if share is None else 100 * share for share in shares]
