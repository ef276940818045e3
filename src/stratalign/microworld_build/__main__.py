"""`python -m stratalign.microworld_build`: rebuild what ships with the micro-world, in place or elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from stratalign.microworld.shipped import FOLDER
from stratalign.microworld_build import build_base, build_preferences

EVERY = 100


def main() -> None:
    """Build the base model (about a quarter of an hour on one core), then the preference sets (some minutes)."""
    parser = argparse.ArgumentParser(prog="python -m stratalign.microworld_build", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where to write; by default over what ships")
    parser.add_argument("--only", choices=("base", "preferences"), help="one of the two steps")
    arguments = parser.parse_args()
    if arguments.only != "preferences":
        build_base(arguments.out / "base", progress=_tell)
    if arguments.only != "base":
        build_preferences(arguments.out / "base", arguments.out / "preferences", progress=_tell)
    print(f"Written to {arguments.out}")


def _tell(what: str, done: float, total: int) -> None:
    if total < EVERY or done % EVERY == 0 or done == total:
        print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main()
