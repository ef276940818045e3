"""Is the cost of a joint pass linear in pairs, and in the layers that its conditions train? Ours only.

    make bench-linear ARGS="--pairs hh-rlhf.jsonl.gz --layers 12 --width 128"

Two measurements: one window under 1 to 16 conditions (the paper's four, repeated; and conditions of the top block
alone), against the sum of trained depths, the number of layers from each condition's lowest one to the top (the
head, which every condition pays whatever its depth, lifts the second family a little); and
one pass of four conditions over up to 1,500 pairs, against the pairs seen. Writes linear.csv and linear.svg.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.material import find_pairs
from benchmarks.options import SKIPPED, add_model_options, make_bench
from benchmarks.sides import CONDITIONS, Bench, joint_engine, make_runs, step_jointly, train_jointly
from stratalign.errors import UserError
from stratalign.records import write_text
from stratalign.reporting.figures import svg
from stratalign.training import plan_steps

SIZES = (1, 2, 4, 8, 16)
FAMILIES = {"full, local, mid, global": CONDITIONS, "global alone": ("global",)}
LEFT, WIDE, HIGH, TOP = 64.0, 380.0, 240.0, 34.0


class Point(NamedTuple):
    """One measurement; `depth` is the sum of trained depths."""

    series: str
    conditions: int
    depth: int
    pairs: int
    seconds: float


class Line(NamedTuple):
    """A least-squares line, and the share of the variance that it explains."""

    slope: float
    intercept: float
    r_squared: float


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    source = find_pairs(options.pairs)
    if source is None:
        print(SKIPPED)
        return 0
    try:
        bench = make_bench(options, source, 1, options.out)
        bench.scratch.mkdir(parents=True, exist_ok=True)
        by_depth = measure_depths(bench, options.sizes)
        by_pairs = measure_pairs(bench, options.most, options.seed)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    write_text(options.out / "linear.csv", _as_csv([*by_depth, *by_pairs]))
    write_text(options.out / "linear.svg", draw(by_depth, by_pairs).standalone())
    depth_line = fit([(point.depth, point.seconds / point.pairs) for point in by_depth])
    pairs_line = fit([(point.pairs, point.seconds) for point in by_pairs])
    print(
        f"Seconds per pair = {depth_line.intercept:.3g} + {depth_line.slope:.3g} x sum of trained depths "
        f"(R2 {depth_line.r_squared:.4f}).\n"
        f"Seconds = {pairs_line.intercept:.3g} + {pairs_line.slope:.3g} x pairs (R2 {pairs_line.r_squared:.4f}).\n"
        f"Written to {options.out / 'linear.csv'} and linear.svg."
    )
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-linear", description="cost over conditions and pairs")
    add_model_options(parser)
    parser.add_argument(
        "--out", type=Path, default=Path("studies/bench-linear"), help="folder of the results"
    )
    parser.add_argument("--most", type=int, default=1500, help="pairs of the longest pass")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of conditions")
    return parser.parse_args(arguments)


def measure_depths(bench: Bench, sizes: Sequence[int]) -> list[Point]:
    """One window under each number of conditions of each family."""
    window = bench.material.windows["shuffled"][0]
    points: list[Point] = []
    for family, blocks in FAMILIES.items():
        for size in sizes:
            named = {f"c{i}": {"block": blocks[i % len(blocks)]} for i in range(size)}
            runs = make_runs(bench.shape, bench.settings, named)
            depth = sum(bench.shape.layers - run.first_layer(bench.shape.layers) for run in runs)
            seconds = step_jointly(bench, runs, window).seconds
            points.append(Point(family, size, depth, sum(len(group) for group in window), seconds))
            print(f"{size} x {family}: {seconds:.2f} s", file=sys.stderr)
    return points


def measure_pairs(bench: Bench, most: int, seed: int) -> list[Point]:
    """One pass of the four conditions; a point after each step."""
    count = min(most, len(bench.material.trees))
    steps = plan_steps(count, bench.settings, seed)
    log = bench.scratch / "training.jsonl"
    log.unlink(missing_ok=True)
    runs = make_runs(bench.shape, bench.settings)
    engine = joint_engine(bench, runs)
    start = bench.clock.now()
    marks: list[float] = []

    def mark(_stage: str, _done: float, _total: int) -> None:
        marks.append(bench.clock.now() - start)

    train_jointly(engine, runs, bench, steps, log, mark)
    seen = np.cumsum([sum(len(micro.pairs) for micro in step) for step in steps]).tolist()
    depth = sum(bench.shape.layers - run.first_layer(bench.shape.layers) for run in runs)
    return [
        Point("pairs", len(runs), depth, pairs, seconds) for pairs, seconds in zip(seen, marks, strict=True)
    ]


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """The least-squares line through (x, y)."""
    x, y = np.array(points, dtype=float).T
    slope, intercept = np.polyfit(x, y, 1)
    unexplained = float(((y - slope * x - intercept) ** 2).sum())
    spread = float(((y - y.mean()) ** 2).sum())
    return Line(float(slope), float(intercept), 1 - unexplained / spread if spread else 1.0)


def draw(by_depth: Sequence[Point], by_pairs: Sequence[Point]) -> svg.Drawing:
    """Both measurements with their lines, side by side."""
    depths = {
        family: [(p.depth, p.seconds / p.pairs) for p in by_depth if p.series == family]
        for family in FAMILIES
    }
    pairs = {"four conditions": [(p.pairs, p.seconds) for p in by_pairs]}
    left = _panel(LEFT, "seconds per pair", "sum of trained depths, in layers", depths)
    right = _panel(2 * LEFT + WIDE + 20, "seconds", "pairs seen", pairs)
    title = "Cost of a joint pass over the sum of trained depths, and over pairs."
    return svg.Drawing(2 * (LEFT + WIDE) + 60, TOP + HIGH + 50, title, "\n".join([*left, *right]))


def _panel(left: float, what: str, over: str, series: dict[str, list[Any]]) -> list[str]:
    """Axes from zero, points, the line through all of them, and the names of the series."""
    points = [point for found in series.values() for point in found]
    far, high = (1.05 * max(values) for values in zip(*points, strict=True))
    bottom = TOP + HIGH

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / far * WIDE, bottom - y / high * HIGH

    parts = [
        svg.text(left, TOP - 18, what, "f-strong"),
        svg.text(left + WIDE, bottom + 36, over, "f-muted", "end"),
    ]
    for tick in svg.ticks(0, high):
        y = place(0, tick)[1]
        parts += [
            svg.line(left, y, left + WIDE, y, "f-rule"),
            svg.text(left - 6, y + 4, f"{tick:g}", "f-small", "end"),
        ]
    parts += [
        svg.text(place(tick, 0)[0], bottom + 16, f"{tick:g}", "f-small", "middle")
        for tick in svg.ticks(0, far)
    ]
    line = fit(points)
    ends = [place(x, line.intercept + line.slope * x) for x in (0, max(x for x, _ in points))]
    parts.append(svg.path(ends, "f-series f-c6 f-d1", f"R2 {line.r_squared:.4f}"))
    for number, (name, found) in enumerate(series.items()):
        colour = ("f-better", "f-worse")[number]
        parts += [svg.circle(*place(x, y), 3, colour, f"{name}: {x:g}, {y:.3g}") for x, y in found]
        y = TOP + 4 + 16 * number
        parts += [svg.circle(left + 14, y - 4, 3, colour, name), svg.text(left + 24, y, name)]
    return parts


def _as_csv(points: Sequence[Point]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Point._fields)
    writer.writerows(points)
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
