"""stratalign's joint engine beside stock TRL: the same pairs, the same model, in turn, in one process.

    make bench ARGS="--pairs hh-rlhf.jsonl.gz"              on a CPU: 12 layers of width 384, random weights
    make bench ARGS="--pairs ... --shape llama-3.1-8b"      on a GPU, in bfloat16 (--dry-run tries it on a CPU)

Timed is one optimizer step on a window of pairs (4 micro-batches of 6); loading, tokenising and collating by TRL
are not, and collating by us is. On a CPU time is processor seconds of one thread. Sides:

    ours            the four conditions together, and each alone
    paper           TRL as the paper ran it: activation checkpointing, the reference in every step
    expert          TRL without checkpointing, the reference precomputed, and counted once for all conditions
    expert-grouped  the same with `group_by_length`; ours-grouped is ours on the same rows
    stock-cpu       `paper` with the head on every position, as TRL runs it on a CPU; no claim rests on it

In all but the last, TRL's head sees completion positions only, as on a GPU. Every cell is appended to cells.jsonl
as it is measured; started again on the same folder, the benchmark goes on. What "of GEMM" and "limit" mean stands
in the page that it writes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from benchmarks.material import ORDERS, VARIABLE, Groups, Material, find_pairs, read_material
from benchmarks.measuring import Clock, PeakMemory, gemm_rate
from benchmarks.shapes import NAMED, SMALL_KINDS, named_shape, small_shape
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
from benchmarks.tabulating import REFERENCE, TOGETHER, agreement, markdown, tabulate
from stratalign.errors import UserError, unknown_name
from stratalign.records import append_jsonl, file_digest, read_json, read_jsonl, write_json, write_text
from stratalign.training import Run, TrainingSettings

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Side:
    """Who trains: TRL under a setup, or ours; on windows of which order."""

    label: str
    order: str = "shuffled"
    trl: TrlSetup | None = None

    @property
    def beside(self) -> str:
        """Our side on the same rows."""
        return "ours" if self.order == "shuffled" else "ours-grouped"


SIDES = {
    "ours": Side("stratalign, joint"),
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


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    source = find_pairs(options.pairs)
    if source is None:
        print(
            f"Skipped: the benchmark needs a file of preference pairs. Give --pairs FILE, or set {VARIABLE}."
        )
        return 0
    try:
        run(options, source)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="stratalign beside stock TRL")
    add_model_options(parser)
    parser.add_argument("--out", type=Path, default=Path("studies/bench"), help="folder of the results")
    parser.add_argument("--windows", type=int, default=3, help="different windows")
    parser.add_argument("--repeats", type=int, default=1, help="how often each window is measured")
    parser.add_argument("--sides", default=",".join(SIDES), help=f"some of {', '.join(SIDES)}")
    parser.add_argument("--no-memory", action="store_true", help="leave out the measurement of peak memory")
    parser.add_argument("--memory-of", choices=list(IN_MEMORY), help=argparse.SUPPRESS)
    given = list(sys.argv[1:] if arguments is None else arguments)
    return parser.parse_args(given, argparse.Namespace(given=given))


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that decide about pairs, model and device."""
    parser.add_argument("--pairs", help=f"file of preference pairs; default: the variable {VARIABLE}")
    parser.add_argument("--seed", type=int, default=0, help="draws the windows")
    parser.add_argument("--accumulation", type=int, default=4, help="micro-batches of 6 pairs in a window")
    parser.add_argument("--kind", default="llama", choices=SMALL_KINDS)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--heads", type=int, help="default: heads of 64")
    parser.add_argument("--vocabulary", type=int, default=8192, help="of the tokenizer trained on the pairs")
    parser.add_argument(
        "--shape", choices=list(NAMED), help="a large model's shape, instead of the four above"
    )
    parser.add_argument("--dry-run", action="store_true", help="--shape with 3 layers and a small vocabulary")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=list(DTYPES), help="default: bfloat16 with --shape, else float32")
    parser.add_argument("--checkpointing", action="store_true", help="ours recomputes activations, too")


def make_bench(options: argparse.Namespace, source: Path, windows: int, out: Path) -> Bench:
    """Pairs, model's shape, device and clock from the options; torch is set to one thread on a CPU.

    Raises:
        UserError: the pairs cannot be read.
    """
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    settings = TrainingSettings(
        gradient_accumulation=options.accumulation, checkpointing=options.checkpointing
    )
    material = read_material(source, settings, windows, options.seed, options.vocabulary, out)
    words = len(material.tokenizer)
    if options.shape:
        shape = named_shape(options.shape, shrunk=options.dry_run, vocabulary=words)
    else:
        shape = small_shape(options.kind, options.layers, options.width, options.heads, words)
    dtype = DTYPES[options.dtype or ("bfloat16" if options.shape else "float32")]
    warmup = 1 if device.type == "cuda" else 0
    return Bench(shape, settings, material, device, dtype, Clock(device), warmup, out / "scratch")


def run(options: argparse.Namespace, source: Path) -> None:
    """Measure what is not in the folder yet, and write its tables."""
    sides = _sides(options)
    bench = make_bench(options, source, options.windows, options.out)
    bench.scratch.mkdir(parents=True, exist_ok=True)
    if options.memory_of:
        measured = {"side": options.memory_of, "bytes": peak_memory(bench, options.memory_of)}
        append_jsonl(options.out / "memory.jsonl", [measured])
        return
    _same_settings(options, bench, source)
    runs = {run.id: run for run in make_runs(bench.shape, bench.settings)}
    trained = {
        name: Trained(run.first_layer(bench.shape.layers), len(run.condition.layers))
        for name, run in runs.items()
    }
    measure(
        bench, runs, trained, schedule(sides, options.windows, options.repeats), options.out / "cells.jsonl"
    )
    if not options.no_memory:
        _measure_memory(options)
    report = make_report(bench, trained, options)
    write_json(options.out / "report.json", report)
    page = markdown(report, CONDITIONS)
    write_text(options.out / "report.md", page)
    print(page)


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
    if side == "ours-grouped":
        return (TOGETHER,)
    return CONDITIONS[:1] if side == "stock-cpu" else CONDITIONS  # checkpointed, they all cost the same


def measure(
    bench: Bench, runs: Mapping[str, Run], trained: Mapping[str, Trained], cells: Sequence[Cell], file: Path
) -> None:
    """Measure each cell that is not in `file` yet, and append it."""
    done = {tuple(row[key] for key in Cell._fields) for row in read_jsonl(file)}
    references: dict[tuple[str, int, int], Reference] = {}
    for cell in cells:
        if cell in done:
            continue
        reference = references.setdefault((cell.side, cell.window, cell.repeat), Reference())
        before = gemm_rate(bench.shape, bench.dtype, bench.clock)
        step = _step(bench, runs, cell, reference)
        rate = (before + gemm_rate(bench.shape, bench.dtype, bench.clock)) / 2
        rows = [_row(bench, trained, cell, rate, step)]
        again = Cell(cell.side, REFERENCE, cell.window, cell.repeat)
        if reference.seconds is not None and again not in done:
            rows.append(_row(bench, trained, again, rate, Step(reference.seconds, {}, {})))
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
            return step_jointly(bench, chosen, window, before)
        return step_with_trl(bench, runs[cell.cell], window, side.trl, reference, before)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None


def _row(
    bench: Bench, trained: Mapping[str, Trained], cell: Cell, rate: float, step: Step | None
) -> dict[str, Any]:
    window = bench.material.windows[SIDES[cell.side].order][cell.window]
    return {
        **cell._asdict(),
        "pairs": sum(len(group) for group in window),
        "seconds": step.seconds if step else None,
        "gemm": rate,
        "operations": operations(bench, trained, cell.side, cell.cell, window),
        "least": least(bench, trained, cell.cell, window),
        "loss": step.loss if step else None,
        "grad_norm": step.grad_norm if step else None,
    }


def operations(bench: Bench, trained: Mapping[str, Trained], side: str, cell: str, groups: Groups) -> float:
    """Operations of a cell on these micro-batches, as its side lays them out."""
    setup, shape, rank = SIDES[side].trl, bench.shape, bench.settings.rank
    if setup is None:
        return joint_step(shape, rank, _load(bench.material, "laid out", groups), _trained(trained, cell))
    load = _load(bench.material, "padded" if setup.compact_head else "all positions", groups)
    if cell == REFERENCE:
        return reference_pass(shape, load)
    passes = Passes(setup.checkpointing, reference=not setup.precompute)
    return separate_step(shape, rank, load, trained[cell], passes)


def least(bench: Bench, trained: Mapping[str, Trained], cell: str, groups: Groups) -> float:
    """The least operations of an exact engine for the same cell."""
    load = _load(bench.material, "tree", groups)
    if cell == REFERENCE:
        return reference_pass(bench.shape, load)
    return least_step(bench.shape, bench.settings.rank, load, _trained(trained, cell))


def _trained(trained: Mapping[str, Trained], cell: str) -> list[Trained]:
    return list(trained.values()) if cell == TOGETHER else [trained[cell]]


def _load(material: Material, layout: str, groups: Groups) -> Load:
    return total(_group_load(material, layout, group) for group in groups)


def _group_load(material: Material, layout: str, group: tuple[int, ...]) -> Load:
    trees = material.trees_of(group)
    if layout == "laid out":
        tokens, scores = laid_out(trees)
        return tree_load(trees)._replace(tokens=tokens, scores=scores)
    if layout == "tree":
        return tree_load(trees)
    return padded_load(trees, all_positions=layout == "all positions")


def make_report(bench: Bench, trained: Mapping[str, Trained], options: argparse.Namespace) -> dict[str, Any]:
    """Everything that report.json holds."""
    cells = list(read_jsonl(options.out / "cells.jsonl"))
    corpus = {
        side: {
            cell: (
                least(bench, trained, cell, bench.material.corpus[about.order])
                if about.trl is None
                else operations(bench, trained, side, cell, bench.material.corpus[about.order])
            )
            / len(bench.material.trees)
            for cell in (*cells_of(side), *([REFERENCE] if about.trl and about.trl.precompute else []))
        }
        for side, about in SIDES.items()
        if side != "stock-cpu"
    }
    about = {side: {"label": s.label, "ours": s.trl is None, "beside": s.beside} for side, s in SIDES.items()}
    figures = tabulate(cells, about, corpus)
    tokens = {order: _tokens(bench.material, order) for order in ORDERS}
    same = agreement(cells, {side: s.order for side, s in SIDES.items()})
    memory = {row["side"]: row["bytes"] for row in read_jsonl(options.out / "memory.jsonl")}
    return {
        "settings": read_json(options.out / "settings.json"),
        "about": _about(bench),
        "figures": figures,
        "tokens_per_pair": tokens,
        "largest_difference_of_gradient_norms": same,
        "memory": {f"{SIDES[side].label}, {IN_MEMORY[side]}": size for side, size in memory.items()},
        "notes": _notes(bench, trained, figures, tokens, same),
    }


def _tokens(material: Material, order: str) -> dict[str, dict[str, float]]:
    """Tokens per pair of the measured windows and of the whole file, and what padding and sharing make of them."""
    groups = {
        "windows": [group for window in material.windows[order] for group in window],
        "file": material.corpus[order],
    }
    found: dict[str, dict[str, float]] = {}
    for where, part in groups.items():
        pairs = sum(len(group) for group in part)
        counts = {
            layout: _load(material, layout, part).tokens / pairs for layout in ("padded", "tree", "laid out")
        }
        found[where] = counts | {"padded over tree": counts["padded"] / counts["tree"]}
    return found


def _about(bench: Bench) -> str:
    shape = bench.shape
    time = "Processor seconds of one thread" if bench.device.type == "cpu" else "Seconds"
    return (
        f"A random {shape.kind} model of {shape.layers} layers, width {shape.width}, vocabulary "
        f"{shape.vocabulary}, {str(bench.dtype).removeprefix('torch.')} on {bench.device}. {time} of an optimizer "
        f"step on {sum(len(group) for group in bench.material.windows['shuffled'][0])} pairs, per pair; medians. "
        'Ratio: TRL over ours on the same rows. "File": corrected to the tokens of the whole file. Limit: the '
        "ratio of operations, TRL's over the least that an exact joint step needs. Of GEMM: operations per second "
        "over those of plain matrix products in the layer's shapes; for TRL its own operations, for us the least "
        "ones, so that it is our share of the floor."
    )


def _notes(
    bench: Bench,
    trained: Mapping[str, Trained],
    figures: Mapping[str, Any],
    tokens: Mapping[str, Any],
    same: float | None,
) -> list[str]:
    notes = [
        f"Tokens per pair, {order} order, measured windows (file): padded {t['windows']['padded']:.0f} "
        f"({t['file']['padded']:.0f}), shared {t['windows']['tree']:.0f} ({t['file']['tree']:.0f}), as laid out "
        f"by us {t['windows']['laid out']:.0f} ({t['file']['laid out']:.0f}); padded over shared "
        f"{t['windows']['padded over tree']:.2f} ({t['file']['padded over tree']:.2f})."
        for order, t in tokens.items()
    ]
    ours = figures.get("ours", {}).get("cells", {}).get(TOGETHER)
    if ours:
        corpus = bench.material.corpus["shuffled"]
        pairs = len(bench.material.trees)
        lowest = least(bench, trained, TOGETHER, corpus) / pairs
        as_laid_out = operations(bench, trained, "ours", TOGETHER, corpus) / pairs
        notes.append(
            f"Floor of the four conditions: {lowest / 1e9:.3g} GFLOP per pair of the file at "
            f"{ours['gemm'] / 1e9:.0f} GFLOP/s are {lowest / ours['gemm']:.3g} s; as we lay rows out it is "
            f"{as_laid_out / 1e9:.3g} GFLOP."
        )
    if same is not None:
        notes.append(
            f"Gradient norms of the same rows differ between sides by at most {same:.1e} of themselves."
        )
    return [line for note in notes for line in (note, "")]


def peak_memory(bench: Bench, side: str) -> int:
    """Bytes above the baseline of one step, in this process."""
    runs = {run.id: run for run in make_runs(bench.shape, bench.settings)}
    gauge = PeakMemory(bench.device)
    if _step(bench, runs, Cell(side, IN_MEMORY[side], 0, 0), Reference(), gauge) is None:
        raise UserError(f"The memory of {bench.device} does not suffice for the side {side!r}.")
    return gauge.above()


def _measure_memory(options: argparse.Namespace) -> None:
    """Each side in a fresh process; what failed is left out."""
    done = {row["side"] for row in read_jsonl(options.out / "memory.jsonl")}
    for side in IN_MEMORY:
        if side in _sides(options) and side not in done:
            command = [sys.executable, "-m", "benchmarks.beside_trl", *options.given, "--memory-of", side]
            subprocess.run(command, check=False)


def _sides(options: argparse.Namespace) -> list[str]:
    names = [name.strip() for name in options.sides.split(",")]
    for name in names:
        if name not in SIDES:
            raise unknown_name("side", name, SIDES)
    return [name for name in SIDES if name in names and (name != "stock-cpu" or options.device == "cpu")]


def _same_settings(options: argparse.Namespace, bench: Bench, source: Path) -> None:
    """Store what figures depend on; refuse to add to a folder whose figures depend on something else."""
    settings = {
        "pairs": file_digest(source),
        "seed": options.seed,
        "windows": options.windows,
        "accumulation": options.accumulation,
        "shape": bench.shape.__dict__,
        "device": torch.cuda.get_device_name() if bench.device.type == "cuda" else options.device,
        "dtype": str(bench.dtype),
        "checkpointing": options.checkpointing,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("stratalign", "torch", "transformers", "peft", "trl")
        },
    }
    file = options.out / "settings.json"
    if file.is_file() and read_json(file) != settings:
        raise UserError(
            f"{options.out} holds a benchmark with other settings (see {file.name}). Name another --out."
        )
    write_json(file, settings)


if __name__ == "__main__":
    sys.exit(main())
