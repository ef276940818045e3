"""Draws which layers each run trained: one row per run, one cell per layer, a line at every block's boundary.

Knows results only; nothing of files or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stratalign.reporting.figures import svg
from stratalign.reporting.numbers import spans
from stratalign.reporting.results import Results

WIDTH, ROW, TOP, MOST_LABEL = 1040.0, 24.0, 46.0, 230.0


def layer_picture(results: Results) -> svg.Drawing | None:
    """The picture, or None while the model's layers are unknown."""
    layers = results.study.model.get("layers")
    if not layers or not results.runs:
        return None
    left = min(max(svg.width_of(run.run) for run in results.runs) + 12, MOST_LABEL)
    right = 150.0
    cell = min((WIDTH - left - right) / layers, 34.0)
    bottom = TOP + ROW * len(results.runs)
    parts = _blocks(results.study.partition, layers, left, cell, bottom)
    parts += _layer_numbers(layers, left, cell)
    for index, run in enumerate(results.runs):
        y = TOP + ROW * index
        trained = set(run.layers)
        parts.append(svg.text(left - 12, y + 16, svg.shortened(run.run, MOST_LABEL - 12), anchor="end"))
        for layer in range(layers):
            title = f"{run.run}: layer {layer} {'trained' if layer in trained else 'frozen'}"
            kind = "f-trained" if layer in trained else "f-cell"
            gap = min(2.0, cell / 6)
            parts.append(svg.rect(left + cell * layer + gap / 2, y + 3, cell - gap, ROW - 6, kind, title))
        parts.append(svg.text(left + cell * layers + 14, y + 16, _size(run.layers, run.rank), "f-small"))
    return svg.Drawing(
        left + cell * layers + right,
        bottom + 4,
        "Which layers each run trained: " + _told(results),
        "\n".join(parts),
    )


def _size(layers: Sequence[int], rank: int | None) -> str:
    if not layers:
        return "nothing trained"
    count = f"{len(layers)} layer{'s' if len(layers) != 1 else ''}"
    return f"{count}, rank {rank}" if rank else count


def _told(results: Results) -> str:
    return "; ".join(f"{run.run}: {spans(run.layers)}" for run in results.runs) + "."


def _blocks(
    partition: Mapping[str, Sequence[int]], layers: int, left: float, cell: float, bottom: float
) -> list[str]:
    """Names over stretches of layers of the same blocks, and a line wherever the blocks change."""
    names = [
        " + ".join(name for name, block in partition.items() if layer in block) for layer in range(layers)
    ]
    edges = [at for at in range(1, layers) if names[at] != names[at - 1]]
    parts = [svg.line(left + cell * at, 4, left + cell * at, bottom, "f-edge") for at in edges]
    for start, stop in zip([0, *edges], [*edges, layers], strict=True):
        middle = left + cell * (start + stop) / 2
        if svg.width_of(names[start]) <= cell * (stop - start):
            parts.append(svg.text(middle, 15, names[start], "f-strong", "middle"))
    return parts


def _layer_numbers(layers: int, left: float, cell: float) -> list[str]:
    every = next(step for step in (1, 2, 4, 5, 10, 20, 50, 100) if step * cell >= 20 or step == 100)
    return [
        svg.text(left + cell * (layer + 0.5), TOP - 8, str(layer), "f-small", "middle")
        for layer in range(0, layers, every)
    ]
