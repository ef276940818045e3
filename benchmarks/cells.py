"""The cells of the comparison: which side trains what on which window, how each is measured, and its operations.

Knows nothing of options, files of results besides cells.jsonl, or tables.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.arithmetic import (
    Load,
    Passes,
    Trained,
    joint_step,
    least_step,
    padded_load,
    reference_pass,
    separate_step,
    total,
    tree_load,
)
from benchmarks.material import Groups, Material
from benchmarks.measuring import PeakMemory, gemm_rate
from benchmarks.sides import (
    CONDITIONS,
    Bench,
    Reference,
    Step,
    TrlSetup,
    laid_out,
    make_runs,
    step_jointly,
    step_with_trl,
)
from benchmarks.tabulating import REFERENCE, TOGETHER
from stratalign.errors import UserError
from stratalign.records import append_jsonl, read_jsonl
from stratalign.training import Run


@dataclass(frozen=True)
class Side:
    """Who trains: TRL under a setup, or ours; on windows of which order."""

    label: str
    order: str = "shuffled"
    trl: TrlSetup | None = None
    stock_layers: bool = False

    @property
    def beside(self) -> str:
        """Our side on the same rows."""
        return "ours" if self.order == "shuffled" else "ours-grouped"


SIDES = {
    "ours": Side("stratalign, joint"),
    "ours-stock": Side("stratalign, stock layers", stock_layers=True),
    "paper": Side("TRL as the paper ran it", trl=TrlSetup(checkpointing=True, precompute=False)),
    "expert": Side("TRL by an expert", trl=TrlSetup(checkpointing=False, precompute=True)),
    "expert-grouped": Side(
        "TRL by an expert, grouped by length", "grouped", TrlSetup(checkpointing=False, precompute=True)
    ),
    "ours-grouped": Side("stratalign, joint, on the grouped rows", "grouped"),
    "stock-cpu": Side(
        "TRL as it is on a CPU (no claim)",
        trl=TrlSetup(checkpointing=True, precompute=False, compact_head=False),
    ),
}
IN_MEMORY = {"ours": TOGETHER, "paper": "full", "expert": "full"}
"""Sides whose peak memory is measured, and on which cell."""


class Cell(NamedTuple):
    """One measurement: a side trains one condition, or all together, on a window."""

    side: str
    cell: str
    window: int
    repeat: int


def schedule(sides: Sequence[str], windows: int, repeats: int) -> list[Cell]:
    """Cells in the order of measuring: condition by condition, the sides in turn; every other repetition
    backwards, so that no side is always measured first."""
    cells: list[Cell] = []
    for number, (repeat, window) in enumerate((r, w) for r in range(repeats) for w in range(windows)):
        turn = [
            Cell(side, cell, window, repeat)
            for cell in (TOGETHER, *CONDITIONS)
            for side in sides
            if cell in cells_of(side)
        ]
        cells += turn if number % 2 == 0 else turn[::-1]
    return cells


def cells_of(side: str) -> tuple[str, ...]:
    if side == "ours":
        return (TOGETHER, *CONDITIONS)
    if side in ("ours-grouped", "ours-stock"):
        return (TOGETHER,)
    return CONDITIONS[:1] if side == "stock-cpu" else CONDITIONS  # checkpointed, they all cost the same


def measure(bench: Bench, runs: Mapping[str, Run], cells: Sequence[Cell], file: Path) -> None:
    """Measure each cell that is not in `file` yet, and append it."""
    done = {tuple(row[key] for key in Cell._fields) for row in read_jsonl(file)}
    references: dict[tuple[str, int, int], Reference] = {}
    for cell in cells:
        if cell in done:
            continue
        reference = references.setdefault((cell.side, cell.window, cell.repeat), Reference())
        _release(bench)
        before = gemm_rate(bench.shape, bench.dtype, bench.clock)
        step = _step(bench, runs, cell, reference)
        rate = (before + gemm_rate(bench.shape, bench.dtype, bench.clock)) / 2
        rows = [_row(bench, cell, rate, step)]
        again = Cell(cell.side, REFERENCE, cell.window, cell.repeat)
        if reference.seconds is not None and again not in done:
            rows.append(_row(bench, again, rate, Step(reference.seconds, {}, {})))
            done.add(again)
        append_jsonl(file, rows)
        shown = "out of memory" if step is None else f"{step.seconds:.2f} s"
        print(
            f"{cell.side} {cell.cell}, window {cell.window}, repeat {cell.repeat}: {shown}", file=sys.stderr
        )


def _step(
    bench: Bench, runs: Mapping[str, Run], cell: Cell, reference: Reference, gauge: PeakMemory | None = None
) -> Step | None:
    """One cell; None when the device's memory does not suffice."""
    side = SIDES[cell.side]
    window = bench.material.windows[side.order][cell.window]
    before = gauge.start if gauge else lambda: None
    try:
        if side.trl is None:
            chosen = list(runs.values()) if cell.cell == TOGETHER else [runs[cell.cell]]
            return step_jointly(replace(bench, stock_layers=side.stock_layers), chosen, window, before)
        return step_with_trl(bench, runs[cell.cell], window, side.trl, reference, before)
    except torch.cuda.OutOfMemoryError:
        return None


def _release(bench: Bench) -> None:
    """Let go of the last cell's model, which trainers hold in reference cycles."""
    gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()


def _row(bench: Bench, cell: Cell, rate: float, step: Step | None) -> dict[str, Any]:
    window = bench.material.windows[SIDES[cell.side].order][cell.window]
    return {
        **cell._asdict(),
        "pairs": sum(len(group) for group in window),
        "seconds": step.seconds if step else None,
        "gemm": rate,
        "loss": step.loss if step else None,
        "grad_norm": step.grad_norm if step else None,
    }


def with_operations(
    bench: Bench, trained: Mapping[str, Trained], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Measured rows with the operations of their cell, as its side lays its window out and the least possible."""
    found: list[dict[str, Any]] = []
    for row in rows:
        window = bench.material.windows[SIDES[row["side"]].order][row["window"]]
        own = operations(bench, trained, row["side"], row["cell"], window)
        found.append({**row, "operations": own, "least": least(bench, trained, row["cell"], window)})
    return found


def operations(bench: Bench, trained: Mapping[str, Trained], side: str, cell: str, groups: Groups) -> float:
    """Operations of a cell on these micro-batches, as its side lays them out."""
    setup, shape, rank = SIDES[side].trl, bench.shape, bench.settings.rank
    if setup is None:
        return joint_step(shape, rank, load_of(bench.material, "laid out", groups), _chosen(trained, cell))
    load = load_of(bench.material, "padded" if setup.compact_head else "all positions", groups)
    if cell == REFERENCE:
        return reference_pass(shape, load)
    passes = Passes(setup.checkpointing, reference=not setup.precompute)
    return separate_step(shape, rank, load, trained[cell], passes)


def least(bench: Bench, trained: Mapping[str, Trained], cell: str, groups: Groups) -> float:
    """The least operations of an exact engine for the same cell."""
    load = load_of(bench.material, "tree", groups)
    if cell == REFERENCE:
        return reference_pass(bench.shape, load)
    return least_step(bench.shape, bench.settings.rank, load, _chosen(trained, cell))


def _chosen(trained: Mapping[str, Trained], cell: str) -> list[Trained]:
    return list(trained.values()) if cell == TOGETHER else [trained[cell]]


def load_of(material: Material, layout: str, groups: Groups) -> Load:
    return total(_group_load(material, layout, group) for group in groups)


def _group_load(material: Material, layout: str, group: tuple[int, ...]) -> Load:
    trees = material.trees_of(group)
    if layout == "laid out":
        tokens, scores = laid_out(trees)
        return tree_load(trees)._replace(tokens=tokens, scores=scores)
    if layout == "tree":
        return tree_load(trees)
    return padded_load(trees, all_positions=layout == "all positions")


def peak_memory(bench: Bench, side: str) -> int:
    """Bytes above the baseline of one step, in this process."""
    runs = {run.id: run for run in make_runs(bench.shape, bench.settings)}
    gauge = PeakMemory(bench.device)
    if _step(bench, runs, Cell(side, IN_MEMORY[side], 0, 0), Reference(), gauge) is None:
        raise UserError(f"The memory of {bench.device} does not suffice for the side {side!r}.")
    return gauge.above()
