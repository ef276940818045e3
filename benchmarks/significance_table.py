"""ILA's tables on the micro-world: how far rankings of modules agree between objectives, seeds and training stages.

    python -m benchmarks.significance_table --out DIR       # 9 trainings, 45 rankings
    python -m benchmarks.significance_table --out DIR --tables    # the tables of what is there

For every objective and seed one training on all linear modules, as `stratalign diagnose significance` does it, then
scores for the adapters that it keeps at five stages. Every cell is a record of `diagnose` in DIR/<objective>@<seed>,
so a run that was killed goes on where it was, and a cell that is there is not made again. Each record loads the model
for itself, which is a few per cent of its cost, and is what the command line would have made. Slopes stand beside the
scores at the first and the last stage, masks at the last. Writes DIR/tables.json and prints the tables.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import stratalign as sa
from benchmarks.ranking_agreement import Cells, Ranking, agreement_tables, tables_text
from stratalign.errors import UserError
from stratalign.microworld import STUDY
from stratalign.records import read_json, write_json

SOURCES = ("microworld:fluency", "microworld:coherence", "microworld:factuality")
SEEDS = (0, 1, 2)
STAGES = (100, 1, 25, 50, 75)
"""Per cent of the training; the last stage's record comes first, since it trains."""

SETTINGS = ("training.warmup=0", "diagnostics.significance.steps=32")
"""Without a warm-up, whose first step has rate 0: 1 % of 75 steps is one step. 32 steps of 16 pairs see 512 of 600."""

BESIDE = {100: "[slopes, masks]", 1: "[slopes]"}
"""What is measured beside the scores at a stage; nothing at the others."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        if not options.tables:
            for at, seed, stage in cells(options.sources, options.seeds):
                started = time.process_time()
                make_cell(options.out, options.recipe, options.set, at, seed, stage)
                print(f"{name_of(at)}@{seed} {stage} %: {time.process_time() - started:.0f} s", flush=True)
        found = read_cells(options.out, options.sources, options.seeds)
        if not found:
            raise UserError(f"There is no record in {options.out} yet. Run it without --tables.")
        tables = agreement_tables(found, draws=options.draws)
        write_json(options.out / "tables.json", tables)
        print(tables_text(tables))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def cells(sources: Sequence[str], seeds: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Source, seed and stage of every cell, in the order in which they are made."""
    for seed in seeds:
        for source in sources:
            for stage in STAGES:
                yield source, seed, stage


def make_cell(out: Path, recipe: Path, changes: Sequence[str], source: str, seed: int, stage: int) -> None:
    """The record of one cell, unless it is there."""
    folder = out / f"{name_of(source)}@{seed}"
    sa.diagnose(
        "significance",
        recipe,
        [
            *SETTINGS,
            *changes,
            f"preferences.source={source}",
            f"diagnostics.significance.seed={seed}",
            f"diagnostics.significance.beside={BESIDE.get(stage, '[]')}",
        ],
        folder,
        adapter=None if stage == 100 else str(folder / f"diagnostics/significance/adapters/{stage}-percent"),
    )


def read_cells(out: Path, sources: Sequence[str], seeds: Sequence[int]) -> Cells:
    """The rankings of the cells whose record is there."""
    found = {}
    for source, seed, stage in cells(sources, seeds):
        at = "" if stage == 100 else f"@{stage}-percent"
        file = out / f"{name_of(source)}@{seed}" / "diagnostics" / f"significance{at}.json"
        if file.is_file():
            found[name_of(source), seed, stage] = ranking_of(read_json(file))
    return found


def ranking_of(record: Mapping[str, Any]) -> Ranking:
    """A record of significance as a ranking."""
    training = record["training"]
    return Ranking(
        modules=tuple(row["module"] for row in record["modules"]),
        kinds=tuple(row["kind"] for row in record["modules"]),
        signals={
            signal: tuple(own[row["module"]] for row in record["modules"])
            for signal, own in record["scores"].items()
        },
        gradients=record["score_gradients"],
        rate=record["rate"],
        start=record["settings"]["start"],
        share=record["settings"]["important"],
        losses=None if record["losses"] is None else record["losses"]["mean"],
        stable_from=None if training is None else training["stable_from"],
        halves=record["stability"],
    )


def name_of(source: str) -> str:
    """What a source is called in folders and tables: `fluency` of `microworld:fluency`, or a file's stem."""
    return Path(source.rpartition(":")[2]).stem


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.significance_table")
    parser.add_argument("--out", type=Path, required=True, help="folder of all records")
    parser.add_argument("--recipe", type=Path, default=STUDY, help="default: the micro-world's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="changes to the recipe"
    )
    parser.add_argument(
        "--sources", nargs="+", default=SOURCES, help="preference sets, one for each objective"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws of minibatches")
    parser.add_argument(
        "--tables", action="store_true", help="make nothing, print the tables of what is there"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
