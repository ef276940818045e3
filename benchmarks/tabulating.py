"""From measured cells to the benchmark's figures and tables. Plain numbers in, plain numbers and Markdown out.

A figure of a cell is its median over all repetitions. A ratio is the median of the ratios within one repetition
(same window, same repeat). Windows differ from the file in their padding; ratios for the whole file therefore
take the operations per second of a cell as measured, and the operations of the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Cell = Mapping[str, Any]
"""side, cell, window, repeat, pairs; seconds, operations, least, gemm (None where memory ran out); grad_norm."""

TOGETHER, REFERENCE = "together", "reference"


def tabulate(
    cells: Sequence[Cell], sides: Mapping[str, Mapping[str, Any]], corpus: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Every side's figures.

    Args:
        cells: what was measured.
        sides: side -> its label, and whether it is ours; `beside` names our side on the same rows.
        corpus: side -> cell -> operations per pair of the whole file; ours with a cell's least operations.

    Returns:
        side -> cells (seconds per pair, operations per pair and second, share of the rate of matrix products),
        and for the four conditions: seconds, ratio to ours, its limit by arithmetic.
    """
    measured = [cell for cell in cells if cell.get("seconds")]
    figures: dict[str, Any] = {}
    for side, about in sides.items():
        own = [cell for cell in measured if cell["side"] == side]
        if not own:
            continue
        names = list(dict.fromkeys(cell["cell"] for cell in own))
        figures[side] = {"label": about["label"], "cells": {n: _cell(own, n, about["ours"]) for n in names}}
    for side, about in sides.items():
        if side in figures and corpus.get(side):
            figures[side]["four"] = _four(measured, figures, side, about, corpus)
    return figures


def _cell(cells: Sequence[Cell], name: str, ours: bool) -> dict[str, float]:
    own = [cell for cell in cells if cell["cell"] == name]
    counted = "least" if ours else "operations"
    return {
        "repetitions": len(own),
        "seconds_per_pair": median(cell["seconds"] / cell["pairs"] for cell in own),
        "operations_per_pair": median(cell[counted] / cell["pairs"] for cell in own),
        "operations_per_second": median(cell[counted] / cell["seconds"] for cell in own),
        "share_of_gemm": median(cell[counted] / cell["seconds"] / cell["gemm"] for cell in own),
        "gemm": median(cell["gemm"] for cell in own),
    }


def _four(
    cells: Sequence[Cell],
    figures: Mapping[str, Any],
    side: str,
    about: Mapping[str, Any],
    corpus: Mapping[str, Mapping[str, float]],
) -> dict[str, float] | None:
    """The four conditions: ours together, TRL's one after the other and the precomputed reference once."""
    needed = [TOGETHER] if about["ours"] else list(corpus[side])
    beside, rates = about["beside"], figures[side]["cells"]
    if not set(needed) <= set(rates):
        return None
    theirs = _sums(cells, side, needed)
    four = {
        "seconds_per_pair": median(theirs.values()),
        "corpus_seconds_per_pair": _corpus_seconds(corpus[side], rates, needed),
        "corpus_operations_per_pair": sum(corpus[side][name] for name in needed),
    }
    ours = _sums(cells, beside, [TOGETHER])
    both = theirs.keys() & ours.keys()
    if both:
        our_corpus = corpus[beside]
        our_seconds = _corpus_seconds(our_corpus, figures[beside]["cells"], [TOGETHER])
        four |= {
            "ratio": median(theirs[at] / ours[at] for at in both),
            "corpus_ratio": four["corpus_seconds_per_pair"] / our_seconds,
            "limit": four["corpus_operations_per_pair"] / our_corpus[TOGETHER],
        }
    return four


def _sums(cells: Sequence[Cell], side: str, names: Sequence[str]) -> dict[tuple[int, int], float]:
    """Seconds per pair of the named cells together, for each repetition in which all were measured."""
    found: dict[tuple[int, int], dict[str, float]] = {}
    for cell in cells:
        if cell["side"] == side and cell["cell"] in names:
            at = (cell["window"], cell["repeat"])
            found.setdefault(at, {})[cell["cell"]] = cell["seconds"] / cell["pairs"]
    return {at: sum(parts.values()) for at, parts in found.items() if len(parts) == len(names)}


def _corpus_seconds(operations: Mapping[str, float], rates: Mapping[str, Any], names: Sequence[str]) -> float:
    return sum(operations[name] / float(rates[name]["operations_per_second"]) for name in names)


def agreement(cells: Sequence[Cell], order: Mapping[str, str]) -> float | None:
    """The largest relative difference of a run's gradient norm between any two cells on the same rows: whether
    all sides did the same work. None with fewer than two."""
    norms: dict[tuple[str, int, str], list[float]] = {}
    for cell in cells:
        for run, norm in (cell.get("grad_norm") or {}).items():
            norms.setdefault((order[cell["side"]], cell["window"], run), []).append(norm)
    return max((max(n) / min(n) - 1 for n in norms.values() if len(n) > 1), default=None)


def markdown(report: Mapping[str, Any], conditions: Sequence[str]) -> str:
    """The report as a page: what was measured, the four conditions, each alone, tokens and memory."""
    figures = report["figures"]
    lines = ["# stratalign beside stock TRL", "", report["about"], ""]
    lines += ["## Four conditions", ""]
    lines += _table(
        ["side", "s/pair", "ratio", "s/pair, file", "ratio, file", "limit", "GFLOP/pair, file", "of GEMM"],
        [
            [
                side["label"],
                *_numbers(side["four"], "seconds_per_pair", "ratio", "corpus_seconds_per_pair"),
                *_numbers(side["four"], "corpus_ratio", "limit"),
                _number(side["four"]["corpus_operations_per_pair"] / 1e9),
                _share(side["cells"], conditions),
            ]
            for side in figures.values()
            if side.get("four")
        ],
    )
    lines += ["", "## Each alone, seconds per pair", ""]
    names = [*conditions, TOGETHER, REFERENCE]
    lines += _table(
        ["side", *names],
        [
            [
                side["label"],
                *(_number(side["cells"].get(name, {}).get("seconds_per_pair")) for name in names),
            ]
            for side in figures.values()
        ],
    )
    lines += ["", *report["notes"], ""]
    if report["memory"]:
        lines += ["## Peak memory above what is held before training", ""]
        lines += _table(
            ["side", "MB"], [[name, _number(size / 1e6)] for name, size in report["memory"].items()]
        )
        lines.append("")
    return "\n".join(lines)


def _share(cells: Mapping[str, Any], conditions: Sequence[str]) -> str:
    shares = [cells[name]["share_of_gemm"] for name in (TOGETHER, *conditions) if name in cells]
    return f"{(shares[0] if TOGETHER in cells else median(shares)):.0%}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in (head, *rows)) for i in range(len(head))]

    def line(parts: Sequence[str]) -> str:
        padded = (
            p.ljust(w) if i == 0 else p.rjust(w) for i, (p, w) in enumerate(zip(parts, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    )
    return [line(head), rule, *(line(row) for row in rows)]


def _numbers(values: Mapping[str, float], *keys: str) -> list[str]:
    return [_number(values.get(key)) for key in keys]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"
