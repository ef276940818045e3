"""Does a layer profile cost what the depths that it trains say? Ours only.

    make bench-profile ARGS="--pairs hh-rlhf.jsonl.gz --layers 12 --width 384"

Timed, on one window of pairs, in turn and several times over: a step of full alone; its base pass; and one joint step
of the whole profile (every window of layers, and random draws of as many). On a CPU seconds are those of the process,
on one thread, so that other work on the machine does not count. What the profile should take at most:

    base pass + sum over its conditions of (layers from the lowest trained one to the top) / layers x full's own work

where full's own work, forward and backward through all layers and the optimizer, is what its step takes beyond the
base pass. Prints the medians and measured / modelled; writes profile-cost.csv. A ratio up to 1.15 is the aim.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.material import Groups, find_pairs
from benchmarks.options import SKIPPED, add_model_options, make_bench
from benchmarks.sides import Bench, joint_engine, make_runs, weighted
from stratalign.blocks import ProfileSettings, added_conditions, partition
from stratalign.engine import JointEngine
from stratalign.errors import UserError
from stratalign.records import write_text
from stratalign.training import Run, train

ALLOWED = 1.15


class Round(NamedTuple):
    """Seconds of one repetition: a step of full alone, its base pass, and a step of the whole profile with its own."""

    full: float
    full_base: float
    profile: float
    profile_base: float


class Cost(NamedTuple):
    """Medians over repetitions in seconds; `depths` is the sum of trained depths over the model's layers."""

    base: float
    full: float
    depths: float
    modelled: float
    measured: float

    @property
    def ratio(self) -> float:
        return self.measured / self.modelled


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    source = find_pairs(options.pairs)
    if source is None:
        print(SKIPPED)
        return 0
    try:
        bench = make_bench(options, source, 1, options.out)
        settings = ProfileSettings(window=options.window, stride=options.stride, random=options.random)
        bench.scratch.mkdir(parents=True, exist_ok=True)
        runs = profile_runs(bench, settings)
        rounds = measure(bench, runs, options.repeat)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    cost = summed_up(rounds, trained_depths(bench.shape.layers, runs))
    write_text(options.out / "profile-cost.csv", _as_csv(rounds))
    print(
        f"{len(runs)} conditions on {bench.shape.layers} layers of width {bench.shape.width}, {options.repeat} rounds, "
        f"medians.\nfull alone {cost.full:.3f} s, of it the base pass {cost.base:.3f} s; trained depths "
        f"{cost.depths:.2f} x full's.\nmodelled {cost.modelled:.3f} s, measured {cost.measured:.3f} s: ratio "
        f"{cost.ratio:.3f} ({'within' if cost.ratio <= ALLOWED else 'ABOVE'} {ALLOWED})."
    )
    return 0


def profile_runs(bench: Bench, settings: ProfileSettings) -> list[Run]:
    """The windows and the random draws, as a study resolves them."""
    layers = bench.shape.layers
    added = added_conditions(settings, None, layers, partition(layers))
    return make_runs(
        bench.shape, bench.settings, {one.name: dict(one.settings) for one in added if one.kind != "needed"}
    )


def trained_depths(layers: int, runs: Sequence[Run]) -> float:
    """Layers from each run's lowest trained one to the top, summed, over the model's layers."""
    return sum(layers - run.first_layer(layers) for run in runs) / layers


def measure(bench: Bench, runs: Sequence[Run], repeat: int) -> list[Round]:
    """Both engines are built once and take turns, each first in every other round."""
    (window,) = bench.material.windows["shuffled"][:1]
    full = make_runs(bench.shape, bench.settings, {"full": {"block": "full"}})
    sides = [(joint_engine(bench, own), own) for own in (full, runs)]
    rounds = []
    for at in range(repeat):
        pairs = [_step(bench, *side, window) for side in (sides if at % 2 == 0 else sides[::-1])]
        alone, joint = pairs if at % 2 == 0 else pairs[::-1]
        rounds.append(Round(*alone, *joint))
        print(f"full {alone[0]:.2f} s, profile {joint[0]:.2f} s", file=sys.stderr)
    return rounds


def summed_up(rounds: Sequence[Round], depths: float) -> Cost:
    """The cost model on the medians."""
    base, full = (median(getattr(one, name) for one in rounds) for name in ("full_base", "full"))
    return Cost(base, full, depths, base + depths * (full - base), median(one.profile for one in rounds))


def _step(bench: Bench, engine: JointEngine, runs: Sequence[Run], window: Groups) -> tuple[float, float]:
    """Seconds of the second of two optimizer steps of all runs on the window, and of one base pass of the window."""
    log = bench.scratch / "training.jsonl"
    log.unlink(missing_ok=True)
    marks: list[float] = []
    train(
        engine,
        runs,
        bench.material.trees,
        [weighted(window)] * 2,
        log=log,
        checkpoint=bench.scratch / "no-checkpoint",
        checkpoint_every=10**9,
        progress=lambda *_: marks.append(_now(bench)),
    )
    trees = [bench.material.trees[i] for group in window for i in group]
    before = _now(bench)
    for part in engine.cut(trees):
        engine.base(engine.collate([trees[i] for i in part]))
    return marks[1] - marks[0], _now(bench) - before


def _now(bench: Bench) -> float:
    return time.process_time() if bench.device.type == "cpu" else bench.clock.now()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-profile", description="cost of a layer profile")
    add_model_options(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("studies/bench-profile"), help="folder of the results"
    )
    parser.add_argument("--window", type=int, default=3, help="layers in a window")
    parser.add_argument("--stride", type=int, default=1, help="layers from one window to the next")
    parser.add_argument("--random", type=int, default=5, help="random draws")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions; medians are taken")
    return parser.parse_args(arguments)


def _as_csv(rounds: Sequence[Round]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Round._fields)
    writer.writerows(rounds)
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
