"""Does what a report says hold? Simulated studies whose truth is known, through the code that makes a report.

    python -m benchmarks.simulated_studies [rule seeds winner clusters power draws] [--studies 400]

Prints one Markdown table for each part; docs/statistics.md has them. Scores are on a five-point scale: a normal number
cut at four thresholds, half of whose variance belongs to the prompt and half to the condition (a tenth and a half of
that to the cluster of three prompts). A condition shifts it, and so does each of its training seeds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import multivariate_normal

from stratalign import stats
from stratalign.reporting.answer.choosing import Choice, choose
from stratalign.reporting.comparisons.comparing import (
    Cells,
    Row,
    ScoreTable,
    compare_pairs,
    compare_with_base,
)
from stratalign.reporting.comparisons.contrasts import BASE, Contrast, Measure
from stratalign.reporting.comparisons.draws import outcomes_against_base, to_draws
from stratalign.reporting.comparisons.equivalences import MARGIN, non_inferiority
from stratalign.reporting.comparisons.families import correct_against_base, correct_pairs
from stratalign.reporting.findings.evidence import Evidence, gather
from stratalign.reporting.findings.roles import Role
from stratalign.reporting.findings.runs import RunResult

JUDGE = ("simulated", "simulated")
MEASURE = Measure(*JUDGE, "overall", "points", "higher", "")
THRESHOLDS = np.array([-1.2, -0.4, 0.4, 1.2])
PER_CLUSTER = 3
CLUSTER_SHARE = 0.3
LAYERS = {"full": range(12), "local": range(4), "mid": range(4, 8), "global": range(8, 12)}
CANDIDATES = tuple(LAYERS)
COST = {name: (len(layers), -min(layers)) for name, layers in LAYERS.items()}
PATTERNS = {
    "full .33, thirds .17": (0.33, 0.17, 0.17, 0.17),
    "full and local .33, mid and global .17": (0.33, 0.33, 0.17, 0.17),
    "all .25": (0.25, 0.25, 0.25, 0.25),
}


class World(NamedTuple):
    """One study: true net win rates against base by condition, clusters of three prompts, training seeds, and the
    standard deviation of a condition's net win rate from seed to seed."""

    rates: dict[str, float]
    clusters: int
    seeds: int = 1
    between: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated_studies")
    parser.add_argument(
        "parts", nargs="*", choices=[[], *PARTS], help=f"of {', '.join(PARTS)}; all by default"
    )
    parser.add_argument("--studies", type=int, default=400, help="simulated studies for each line")
    options = parser.parse_args(arguments)
    for part in options.parts or PARTS:
        print(f"\n{part}\n")
        PARTS[part](options.studies)
    return 0


def rule(studies: int) -> None:
    """Which condition is recommended, and whether that is right."""
    print("| true net win rates | prompts | seeds | right | costlier than needed | wrong | none |")
    print("|---|---|---|---|---|---|---|")
    for name, rates in PATTERNS.items():
        truth = dict(zip(CANDIDATES, rates, strict=True))
        good = [one for one in CANDIDATES if head_to_head(max(rates), truth[one]) < MARGIN]
        cheapest = min(good, key=lambda one: COST[one])
        for clusters in (32, 64, 200):
            for seeds in (1, 3):
                world = World(truth, clusters, seeds, 0.05 if seeds > 1 else 0.0)
                chosen = [recommended(simulate(world, study)).chosen for study in range(studies)]
                shares = [
                    sum(one == cheapest for one in chosen),
                    sum(one in good and one != cheapest for one in chosen),
                    sum(one is not None and one not in good for one in chosen),
                    sum(one is None for one in chosen),
                ]
                cells = " | ".join(f"{share / studies:.1%}" for share in shares)
                print(f"| {name} | {PER_CLUSTER * clusters} | {seeds} | {cells} |", flush=True)


def seeds(studies: int) -> None:
    """How often a condition that does nothing on average is found to do something, by seeds and their spread."""
    print("| seeds | sd between seeds | p <= 0.05 | interval excludes 0 | seeds taken as given: p <= 0.05 |")
    print("|---|---|---|---|---|")
    for count in (1, 2, 3, 5):
        for between in (0.0, 0.05, 0.10):
            world = World({"mid": 0.0}, 64, count, between)
            found = []
            given = []
            for study in range(studies):
                table = simulate(world, study)
                found.append(against_base(table)[0])
                given.append(as_given(table))
            p = np.mean([one.p_value is not None and one.p_value <= 0.05 for one in found])
            apart = np.mean([one.verdict != "cannot tell" for one in found])
            fixed = np.mean([one is not None and one <= 0.05 for one in given])
            print(f"| {count} | {between:.2f} | {p:.1%} | {apart:.1%} | {fixed:.1%} |", flush=True)


def winner(studies: int) -> None:
    """By how much the highest of several gains is too high, and how often its intervals hold the truth."""
    print(
        "| true net win rates | prompts | bias of the highest | its 95 % interval holds | allowing for the choice |"
    )
    print("|---|---|---|---|---|")
    for rates in ((0.25, 0.25, 0.25, 0.25), (0.33, 0.25, 0.25, 0.25)):
        for clusters in (20, 64):
            truth = dict(zip(CANDIDATES, rates, strict=True))
            bias, plain, allowed = [], [], []
            for study in range(studies):
                rows = against_base(simulate(World(truth, clusters), study))
                best = max(rows, key=lambda one: one.gain)
                true = truth[best.condition]
                bounds = best.selected_bounds(len(rows))
                assert bounds is not None
                bias.append(best.gain - true)
                plain.append(best.low is not None and best.high is not None and best.low <= true <= best.high)
                allowed.append(bounds[0] <= true <= bounds[1])
            listed = ", ".join(f"{rate:.2f}" for rate in rates)
            print(
                f"| {listed} | {PER_CLUSTER * clusters} | {np.mean(bias):+.3f} | {np.mean(plain):.1%} | "
                f"{np.mean(allowed):.1%} |",
                flush=True,
            )


def clusters(studies: int) -> None:
    """How often intervals hold the truth with few clusters, beside the bootstrap's percentiles."""
    print(
        "| clusters | true net win rate | 95 % interval holds | percentiles would | loss of the margin: excluded |"
    )
    print("|---|---|---|---|---|")
    for count in (6, 8, 10, 15, 29, 30, 64):
        for rate in (0.0, 0.25):
            held, percentiles, excluded = [], [], []
            for study in range(studies):
                a, b, names = plain_scores(rate, count, study)
                one = stats.compare(a, b, names)
                held.append(one.low is not None and one.high is not None and one.low <= rate <= one.high)
                percentiles.append(_percentiles_hold(a, b, names, rate))
                # At a true rate r, that it is at most r is true: it should be rejected in 5 % at most.
                margin = stats.within_margin(a, b, names, max(rate, 0.1)).p_not_above
                excluded.append(rate > 0 and margin is not None and margin <= 0.05)
            wrong = f"{np.mean(excluded):.1%}" if rate else ""
            cells = f"{np.mean(held):.1%} | {np.mean(percentiles):.1%} | {wrong}"
            print(f"| {count} | {rate:.2f} | {cells} |", flush=True)


def power(studies: int) -> None:
    """How often an effect of the size that is called detectable with 80 % power is found."""
    print("| clusters | tests | detectable net win rate | found |")
    print("|---|---|---|---|")
    for count in (10, 16, 32, 64, 200):
        for tests in (1, 16):
            null = [stats.compare(*plain_scores(0.0, count, study)) for study in range(min(studies, 200))]
            effect = float(np.mean([stats.smallest_detectable(one, tests=tests) or 1.0 for one in null]))
            if effect > 0.8:
                print(f"| {count} | {tests} | {effect:.2f} | |")
                continue
            found = [stats.compare(*plain_scores(effect, count, study + 10_000)) for study in range(studies)]
            share = np.mean([one.p_value is not None and one.p_value <= 0.05 / tests for one in found])
            print(f"| {count} | {tests} | {effect:.2f} | {share:.1%} |", flush=True)


def draws(studies: int) -> None:
    """How often a set of layers that is itself drawn at random beats random draws, by how many there are."""
    print("| random draws | sd between draws | beats their mean, and each of them |")
    print("|---|---|---|")
    for count in (1, 3, 5, 19):
        for between in (0.05, 0.10):
            beats = 0
            for study in range(studies):
                generator = np.random.default_rng([study, 7])
                names = ["chosen", *(f"random-{n}" for n in range(count))]
                rates = dict(zip(names, generator.normal(0.2, between, len(names)), strict=True))
                table = simulate(World(rates, 64), study)
                outcomes = outcomes_against_base(table, names, MEASURE)
                assert outcomes is not None
                (one,) = to_draws(outcomes, {"chosen": names[1:]}).values()
                ahead = (one.comparison.mean_difference or 0.0) > 0 and one.beaten == one.draws
                beats += ahead and one.p_holm is not None and one.p_holm <= 0.05
            print(f"| {count} | {between:.2f} | {beats / studies:.1%} |", flush=True)


PARTS = {
    "rule": rule,
    "seeds": seeds,
    "winner": winner,
    "clusters": clusters,
    "power": power,
    "draws": draws,
}


def recommended(table: ScoreTable) -> Choice:
    """What a report recommends from these scores."""
    order = [BASE, *(name for name in CANDIDATES if name in table.cells[JUDGE])]
    compared = correct_against_base(
        compare_with_base(table, order, [MEASURE]), {MEASURE.key}, {MEASURE.key}, apart={}
    )
    pairs = correct_pairs(compare_pairs(table, order, [MEASURE]))
    roles = [Role(name, "base" if name == BASE else "trained") for name in order]
    evidence: Evidence = gather(
        roles, JUDGE, [MEASURE], [MEASURE.dimension], compared, pairs, (),
        non_inferiority(table, order[1:], [MEASURE]),
    )  # fmt: skip
    return choose(evidence, [_run(name) for name in order[1:]])


def against_base(table: ScoreTable) -> list[Contrast]:
    """Every condition against base, over all seeds."""
    order = list(table.cells[JUDGE])
    return [one for one in compare_with_base(table, order, [MEASURE]) if one.seed is None]


def as_given(table: ScoreTable) -> float | None:
    """The p value of the first condition if its seeds were all that there are: rows of a prompt are one cluster."""
    cells = table.cells[JUDGE]
    name = next(one for one in cells if one != BASE)
    rows = sorted(cells[name])
    a, b = ([cells[side][row][MEASURE.dimension] for row in rows] for side in (name, BASE))
    return stats.compare(a, b, [table.cluster[row.prompt_id] for row in rows], resamples=2).p_value


def simulate(world: World, study: int) -> ScoreTable:
    """The scores of one study."""
    generator = np.random.default_rng([study, world.clusters, world.seeds, round(1000 * world.between)])
    prompts = world.clusters * PER_CLUSTER

    def part(variance: float) -> np.ndarray:
        own = generator.standard_normal(prompts)
        together = np.repeat(generator.standard_normal(world.clusters), PER_CLUSTER)
        share: np.ndarray = math.sqrt(variance) * (
            math.sqrt(CLUSTER_SHARE) * together + math.sqrt(1 - CLUSTER_SHARE) * own
        )
        return share

    shared = part(0.5)
    cells: dict[str, Cells] = {}
    for name, rate in {BASE: 0.0, **world.rates}.items():
        cells[name] = {}
        for seed in range(world.seeds):
            moved = rate + (world.between * generator.standard_normal() if name != BASE else 0.0)
            points = np.searchsorted(THRESHOLDS, shift_for(round(moved, 3)) + shared + part(0.5))
            for prompt, value in enumerate(points.tolist()):
                cells[name][Row(f"p{prompt:04}", seed, 0)] = {MEASURE.dimension: float(value)}
    cluster = {f"p{prompt:04}": f"c{prompt // PER_CLUSTER:04}" for prompt in range(prompts)}
    return ScoreTable({JUDGE: cells}, cluster)


def plain_scores(rate: float, count: int, study: int) -> tuple[list[float], list[float], list[str]]:
    """The scores of one condition and of base, and the cluster of each row."""
    table = simulate(World({"mid": rate}, count), study)
    cells = table.cells[JUDGE]
    rows = sorted(cells["mid"])
    a, b = ([cells[name][row][MEASURE.dimension] for row in rows] for name in ("mid", BASE))
    return a, b, [table.cluster[row.prompt_id] for row in rows]


@cache
def shift_for(rate: float) -> float:
    """By how much the first of two conditions is shifted where its true net win rate against the other is `rate`."""
    return float(brentq(lambda shift: _rate_of(shift) - rate, -6, 6))


def head_to_head(first: float, second: float) -> float:
    """The true net win rate of one condition against another, from theirs against base."""
    return _rate_of(shift_for(round(first, 3)) - shift_for(round(second, 3)))


@cache
def _rate_of(shift: float) -> float:
    both = multivariate_normal([shift, 0.0], [[1, 0.5], [0.5, 1]])
    edges = np.concatenate([[-9.0], THRESHOLDS, [9.0]])
    below = np.array([[both.cdf([x, y]) for y in edges] for x in edges])
    cells = np.diff(np.diff(below, axis=0), axis=1)
    return float(np.tril(cells, -1).sum() - np.triu(cells, 1).sum())


def _percentiles_hold(a: Sequence[float], b: Sequence[float], names: Sequence[str], rate: float) -> bool:
    signs = np.sign(np.array(a) - np.array(b))
    codes = np.unique(names, return_inverse=True)[1]
    sums = np.stack([np.bincount(codes), np.bincount(codes, weights=signs)], axis=1).astype(np.float64)
    totals = stats.resampled_sums(sums, 10_000, 0)
    found = stats.percentile_interval(totals[:, 1] / totals[:, 0], 0.95)
    return found.low <= rate <= found.high


def _run(name: str) -> RunResult:
    layers = tuple(LAYERS[name])
    return replace(_RUN, run=name, condition=name, layers=layers, parameters=len(layers))


_RUN = RunResult(
    run="", condition="", seed=0, labels="given", layers=(), targets=(), rank=16, alpha=32.0, parameters=None, steps=1,
    final_loss=None, final_margin=None, final_accuracy=None, held_out_accuracy=None, kl_to_base=None, same_as_base=None,
    proven=True, proof="proven", means=(),
)  # fmt: skip

if __name__ == "__main__":
    raise SystemExit(main())
