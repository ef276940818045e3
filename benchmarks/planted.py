"""Do the instruments find a layer that is known to carry a preference, and stay silent where none does?

    python -m benchmarks.planted --worlds 12 --nulls 40 --out studies/planted

Writes a record for each world as soon as it is done, and planted.json and planted.md at the end, or with `--table` from
the records that are there. Run again, it goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from stratalign.calibration import (
    InstrumentSettings,
    WorldSettings,
    as_markdown,
    calibrate,
    spread_seeds,
    summarise,
)
from stratalign.errors import UserError
from stratalign.records import read_json, write_json, write_text


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    torch.set_num_threads(1)  # bits do not depend on the machine's cores
    worlds = WorldSettings(rank=options.rank or None)
    try:
        if options.table:
            records = [read_json(path) for path in sorted((options.out / "worlds").glob("*.json"))]
        else:
            asked = spread_seeds(options.worlds, options.nulls)
            records = calibrate(options.out / "worlds", asked, worlds, InstrumentSettings(), progress=_tell)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    if not records:
        print(f"No world is recorded in {options.out} yet.")
        return 0
    summary = summarise(records)
    write_json(options.out / "planted.json", summary)
    write_text(options.out / "planted.md", as_markdown(summary))
    print(as_markdown(summary))
    print(f"Written to {options.out / 'planted.json'} and planted.md.")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planted", description="planted worlds and null worlds"
    )
    parser.add_argument("--worlds", type=int, default=12, help="planted worlds")
    parser.add_argument(
        "--nulls", type=int, default=40, help="null worlds, every second one of a damaged model"
    )
    parser.add_argument(
        "--rank", type=int, default=8, help="of the noise; 0: full rank, which LoRA cannot undo"
    )
    parser.add_argument("--out", type=Path, default=Path("studies/planted"), help="folder of the results")
    parser.add_argument("--table", action="store_true", help="only tabulate the worlds that are recorded")
    return parser.parse_args(arguments)


def _tell(what: str, done: float, total: int) -> None:
    print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
