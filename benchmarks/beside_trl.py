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
from pathlib import Path
from typing import Any

import torch

from benchmarks.arithmetic import Trained
from benchmarks.cells import (
    IN_MEMORY,
    SIDES,
    cells_of,
    least,
    load_of,
    measure,
    operations,
    peak_memory,
    schedule,
    with_operations,
)
from benchmarks.material import ORDERS, Material, find_pairs
from benchmarks.options import SKIPPED, add_model_options, make_bench
from benchmarks.sides import CONDITIONS, Bench, make_runs
from benchmarks.tabulating import REFERENCE, TOGETHER, agreement, markdown, tabulate
from stratalign.errors import UserError, unknown_name
from stratalign.records import append_jsonl, file_digest, read_json, read_jsonl, write_json, write_text


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    source = find_pairs(options.pairs)
    if source is None:
        print(SKIPPED)
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
    measure(bench, runs, schedule(sides, options.windows, options.repeats), options.out / "cells.jsonl")
    if not options.no_memory:
        _measure_memory(options)
    report = make_report(bench, trained, options)
    write_json(options.out / "report.json", report)
    page = markdown(report, CONDITIONS)
    write_text(options.out / "report.md", page)
    print(page)


def make_report(bench: Bench, trained: Mapping[str, Trained], options: argparse.Namespace) -> dict[str, Any]:
    """Everything that report.json holds."""
    cells = with_operations(bench, trained, list(read_jsonl(options.out / "cells.jsonl")))
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
    tokens = {order: count_tokens(bench.material, order) for order in ORDERS}
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


def count_tokens(material: Material, order: str) -> dict[str, dict[str, float]]:
    """Tokens per pair of the measured windows and of the whole file, and what padding and sharing make of them."""
    groups = {
        "windows": [group for window in material.windows[order] for group in window],
        "file": material.corpus[order],
    }
    found: dict[str, dict[str, float]] = {}
    for where, part in groups.items():
        pairs = sum(len(group) for group in part)
        counts = {
            layout: load_of(material, layout, part).tokens / pairs
            for layout in ("padded", "tree", "laid out")
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
