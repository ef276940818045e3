"""What the page shows of the diagnoses that read activations: similarity, probes and patching.

Reads their records as they are on disk and computes nothing anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stratalign.reporting.diagnosed.diagnosis_picture import Picture
from stratalign.reporting.figures.depth_lines import DepthPanel, Point, depth_lines
from stratalign.reporting.figures.heatmap import HeatColumn, HeatRow, heatmap
from stratalign.reporting.numbers import listed, percent, plain, spans

Record = Mapping[str, Any]
Shown = tuple[tuple[Picture, ...], tuple[str, ...]]

TITLES = {
    "similarity": "How alike the layers' states are",
    "probes": "What can be read off the states, by depth",
    "patching": "At which depth the preference is made",
}
NOTES = {
    "similarity": "Debiased linear CKA between what two layers leave in the residual stream, darker is more alike; "
    "lines part the blocks that the matrix suggests. It compares the shapes of clouds of states, is moved by few odd "
    "rows, and says nothing of what a layer is good for.",
    "probes": "Balanced accuracy of linear probes on clusters that they have not seen, with 95 % intervals over "
    "clusters. Depth `in` is the embeddings: what the words alone say, whatever their order. What can be decoded at a "
    "depth need not be used there.",
    "patching": "Shares of the whole rise of the margin log p(chosen) - log p(rejected), on training pairs, with 95 % "
    "intervals over clusters. That layers carry this adapter's margin does not say that training elsewhere could not "
    "make it.",
}
LIMITS = (-0.25, 1.25)
"""An interval of a share that reaches further is cut off at the frame: it would flatten all others."""


def similarity(name: str, record: Record) -> Shown:
    """The matrix with its blocks, what each layer changes, and the drift where there is one."""
    matrix, found = record["layer_similarity"], record["boundaries"]
    blocks = found["blocks"]
    block_of = {
        layer: str(at) for at, (first, last) in enumerate(blocks, 1) for layer in range(first, last + 1)
    }
    layers = range(len(matrix))
    columns = [HeatColumn(block_of[layer], str(layer)) for layer in layers]
    rows = [HeatRow(str(layer), block_of[layer], "CKA", tuple(matrix[layer])) for layer in layers]
    drawing = heatmap(columns, rows, about="Debiased CKA between layers")
    pictures = [] if drawing is None else [Picture(name, "", drawing)]
    lines = {"CKA of entry and exit": [_point(row["entry_to_exit"]) for row in record["layers"]]}
    turns = {"angle, of pi": [_point(row["angle"]) for row in record["layers"]]}
    panels = [
        DepthPanel("What each layer changes", lines, {}),
        DepthPanel("Angular distance of entry and exit", turns, {}),
    ]
    if "drift" in record:
        drift = {
            what: [_point(row[key]) for row in record["drift"][1:]]
            for what, key in (("CKA", "similarity"), ("cosine", "cosine"))
        }
        panels.append(DepthPanel("Beside the base, after each layer", drift, {"no drift": 1.0}))
    drawn = depth_lines([str(layer) for layer in layers], _edges(record), panels, "Layers' changes by depth.")
    if drawn is not None:
        pictures.append(Picture(f"{name}-layers", "", drawn))
    words = [
        f"{record['pairs']} training pairs of {record['clusters']} clusters suggest the blocks "
        f"{listed([spans(range(first, last + 1)) for first, last in blocks])}; "
        f"{percent(found['agree'])} of halves of the clusters suggest the same."
    ]
    words += [_boundary(row) for row in found["rows"]]
    return tuple(pictures), tuple(words)


def probes(name: str, record: Record) -> Shown:
    """A panel for each task; its peak, and whether that is where the paper expects it."""
    tasks: Mapping[str, Record] = record["tasks"]
    panels = []
    for task, own in tasks.items():
        curve = own["curve"]
        lines = {
            "probe": [Point(row["accuracy"], row["accuracy_low"], row["accuracy_high"]) for row in curve],
            "control": [Point(row["control"]) for row in curve],
        }
        marks = {"length alone": own["length_baseline"]["accuracy"]}
        panels.append(DepthPanel(f"{task}: {own['about']}", lines, marks))
    places = ["in", *(str(row["layer"]) for row in next(iter(tasks.values()))["curve"][1:])] if tasks else []
    edges = {block: start + 1 if start else 0 for block, start in _edges(record).items()}
    drawing = depth_lines(places, edges, panels, "Accuracy of probes by depth.")
    pictures = () if drawing is None else (Picture(name, "", drawing),)
    return pictures, tuple(_peak(task, own) for task, own in tasks.items())


def patching(name: str, record: Record) -> Shown:
    """The cumulative curves, what each layer adds, and windows."""
    layers = record["layers"]
    windows = record["windows"]
    size = windows[0]["layers"][1] - windows[0]["layers"][0] + 1
    curves = {
        "tuned below": [
            *(_point(row["denoising"]) for row in layers),
            _point(record["top"]["denoising"]),
        ],
        "base below": [
            *(_point(row["noising"]) for row in layers),
            _point(record["top"]["noising"]),
        ],
    }
    steps = {
        "made by the layer": [_point(row["made"]) for row in layers],
        "lost without it": [_point(row["lost"]) for row in layers],
    }
    places = [str(row["layer"]) for row in layers]
    edges = _edges(record)
    told = "Shares of the tuned model's rise of the margin by depth."
    one = depth_lines(
        [*places, "out"],
        edges,
        [DepthPanel("One model below a layer, the other from it on", curves, {}, LIMITS)],
        told,
    )
    other = depth_lines(
        places, edges, [DepthPanel("What one layer makes of it", steps, {"nothing": 0.0})], told
    )
    first = [
        f"{row['layers'][0]}-{row['layers'][1]}" if size > 1 else str(row["layers"][0]) for row in windows
    ]
    alone = {
        "these layers alone": [_point(row["alone"]) for row in windows],
        "lost without them": [_point(row["without"]) for row in windows],
    }
    panel = DepthPanel(f"Windows of {size} layers", alone, {"nothing": 0.0})
    third = depth_lines(first, {}, [panel], told)
    drawings = ((name, one), (f"{name}-layers", other), (f"{name}-windows", third))
    pictures = tuple(Picture(at, "", drawing) for at, drawing in drawings if drawing is not None)
    margin = record["margin"]
    words = [
        f"The margin of {record['pairs']} training pairs rises by {plain(margin['rise'], 2)} nats "
        f"[{plain(margin['low'], 2)}, {plain(margin['high'], 2)}]"
        + ("." if margin["tells"] else ", which cannot be told from nothing: shares of it say nothing."),
    ]
    words += [
        f"The updates of {block} alone make {_share(row['alone'])} of it; {_share(row['without'])} is lost without."
        for block, row in record["blocks"].items()
    ]
    return pictures, tuple(words)


def _boundary(row: Record) -> str:
    shift = row["shift"]
    moved = "where equal blocks part" if shift == 0 else f"{abs(shift)} {'later' if shift > 0 else 'earlier'}"
    return (
        f"A block begins at layer {row['first_layer']} (95 % of halves: {row['low']} to {row['high']}; "
        f"{percent(row['agree'])} the same), {moved}; equal blocks: {row['even']}."
    )


def _peak(task: str, own: Record) -> str:
    peak = own["peak"]
    row = own["curve"][peak["state"]]
    where = f"after layer {peak['layer']}" if peak["state"] else "at the embeddings"
    said = (
        f"{task}: best read {where} (95 %: {peak['low']} to {peak['high']}), accuracy {plain(row['accuracy'], 2)} "
        f"where the control has {plain(row['control'], 2)} and length alone "
        f"{plain(own['length_baseline']['accuracy'], 2)}."
    )
    if not peak["decodable"]:
        said += " That is not told from the control."
    elif peak["state"] == 0:
        said += " No layer adds to what the words alone say."
    expected = own["expected"]
    if expected is None:
        return said
    answer = {"misaligned": "Yes", "not misaligned": "No"}.get(expected["verdict"], "Cannot tell")
    return (
        f"{said} Expected in {expected['block']}, {expected['distance']} layers away "
        f"[{expected['low']}, {expected['high']}]. Misaligned by more than {expected['limit']} layers? {answer}."
    )


def _share(row: Record) -> str:
    return f"{plain(row['value'], 2)} [{plain(row['low'], 2)}, {plain(row['high'], 2)}]"


def _edges(record: Record) -> dict[str, int]:
    """Where each block of the partition begins, if its layers lie together."""
    return {
        block: layers[0]
        for block, layers in record["partition"].items()
        if list(layers) == list(range(layers[0], layers[-1] + 1))
    }


def _point(row: Record) -> Point:
    value = row["value"]
    return Point(0.0 if value is None else value, row["low"], row["high"])
