"""How far rankings of the same modules agree, over objectives, seeds and stages of the training. Pure.

Every Jaccard index of a top share stands beside what blind choice gives. Ranks within a kind of module are the control
of what families share: that every q_proj ranks low says nothing about layers. Intervals come from a bootstrap of the
minibatches from which scores were learned; rankings of one objective and seed see the same draws, as they saw the same
minibatches. Resampling adds noise to both sides, so that an interval lies low: it says what another draw of
minibatches would do, not where the agreement without noise is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stratalign.blocks import ranked
from stratalign.diagnostics import compare_important
from stratalign.records import keyed_seed

Floats = NDArray[np.float64]
Place = tuple[str, int, int]
"""Objective, seed, per cent of the training."""

TOPS = (0.1, 0.2, 0.3)
"""Shares beside the important one."""


@dataclass(frozen=True)
class Ranking:
    """What a record of significance says: signals [modules] by name, score gradients [steps, modules], the rate."""

    modules: tuple[str, ...]
    kinds: tuple[str, ...]
    signals: Mapping[str, Sequence[float]]
    gradients: Sequence[Sequence[float]]
    rate: float
    start: float
    share: float
    losses: Mapping[str, float] | None = None
    stable_from: int | None = None
    halves: Mapping[str, Any] | None = None

    def by_module(self, signal: str = "score") -> dict[str, float]:
        """Module -> its number."""
        return dict(zip(self.modules, self.signals[signal], strict=True))

    def resampled(self, steps: NDArray[np.int64]) -> dict[str, float]:
        """The scores that these steps' gradients lead to."""
        gradients = np.asarray(self.gradients, dtype=np.float64)[steps]
        scores = self.start - self.rate * len(gradients) * gradients.mean(axis=0)
        return dict(zip(self.modules, scores.tolist(), strict=True))

    def within_kinds(self, values: Mapping[str, float]) -> dict[str, float]:
        """Minus the rank of each module among those of its kind, as a share of them; 0 for the first."""
        found: dict[str, float] = {}
        for kind in dict.fromkeys(self.kinds):
            own = [name for name, its in zip(self.modules, self.kinds, strict=True) if its == kind]
            order = ranked({name: values[name] for name in own})
            found |= {name: -place / len(order) for place, name in enumerate(order)}
        return {name: found[name] for name in self.modules}


Cells = Mapping[Place, Ranking]
Group = tuple[str, str, list[tuple[Place, Place]]]
"""Which table, which row, and the pairs of rankings over which the row's mean and range are."""


def agreement_tables(cells: Cells, draws: int = 200) -> dict[str, Any]:
    """Every table, as plain numbers; see the module for what intervals are."""
    last = max((stage for *_, stage in cells), default=0)
    samples = [_resampled(cells, draw) for draw in range(draws)]
    return {
        "cells": len(cells),
        "draws": draws,
        "agreement": [_row(cells, samples, *group) for group in groups(cells, last)],
        "first_order": _first_order(cells, last),
        "trainings": [
            {
                "objective": at[0],
                "seed": at[1],
                "stable_from": one.stable_from,
                "losses": one.losses,
                "halves": one.halves,
            }
            for at, one in cells.items()
            if at[2] == last
        ],
    }


def groups(cells: Iterable[Place], last: int) -> list[Group]:
    """Pairs of rankings: two objectives with the same seed; two seeds of an objective; a stage and the last one."""
    there = list(cells)
    objectives = list(dict.fromkeys(objective for objective, _, _ in there))
    seeds = list(dict.fromkeys(seed for _, seed, _ in there))
    stages = sorted({stage for _, _, stage in there} - {last})
    found: list[Group] = []
    for one, other in combinations(objectives, 2):
        pairs = [((one, seed, last), (other, seed, last)) for seed in seeds]
        found.append(("objectives", f"{one}, {other}", pairs))
    for one in objectives:
        pairs = [((one, a, last), (one, b, last)) for a, b in combinations(seeds, 2)]
        found.append(("seeds", one, pairs))
    for one in objectives:
        for stage in stages:
            pairs = [((one, seed, stage), (one, seed, last)) for seed in seeds]
            found.append(("stages", f"{one}, {stage} % and {last} %", pairs))
    known = set(there)
    kept = [(table, name, [pair for pair in pairs if set(pair) <= known]) for table, name, pairs in found]
    return [group for group in kept if group[2]]


def tables_text(tables: Mapping[str, Any]) -> str:
    """The tables in Markdown: mean [least, largest] over a row's pairs; intervals of the mean from the bootstrap."""
    lines = [
        "| between | pairs | Jaccard, top 75 % | 95 % | kappa | rank correlation | 95 % | within kinds: Jaccard | "
        "rank correlation | top 10 % | top 20 % | top 30 % |",
        "|---|" + "---|" * 11,
    ]
    chance: dict[str, float] = {}
    for row in tables["agreement"]:
        chance |= {name: row[name]["chance"] for name in ("important", *map(_percent, TOPS))}
        own, kinds = row["important"], row["within_kinds"]
        cells = [
            f"{row['table']}: {row['name']}",
            str(row["pairs"]),
            _spread(own["jaccard"]),
            _interval(row["intervals"]["jaccard"]),
            _spread(own["kappa"]),
            _spread(own["rank_correlation"]),
            _interval(row["intervals"]["rank_correlation"]),
            _spread(kinds["jaccard"]),
            _spread(kinds["rank_correlation"]),
            *(_spread(row[_percent(top)]["jaccard"]) for top in TOPS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Jaccard index by chance: " + ", ".join(f"{k} {v:.2f}" for k, v in chance.items()) + ".",
        "",
    ]
    lines += [
        "| objective | stage | slopes | of | rank correlation with scores | Jaccard, top 75 % |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['objective']} | {row['stage']} % | {row['slopes']} | {row['of']} % "
        f"| {_spread(row['rank_correlation'])} | {_spread(row['jaccard'])} |"
        for row in tables["first_order"]
    ]
    lines += [
        "",
        "| objective, seed | stable from | halves: Jaccard | rank correlation | losses under masks |",
        "|---|---|---|---|---|",
    ]
    for row in tables["trainings"]:
        half = row["halves"]
        losses = ", ".join(f"{name} {value:.3f}" for name, value in (row["losses"] or {}).items())
        lines.append(
            f"| {row['objective']}, {row['seed']} | {row['stable_from'] or '-'} | {half['jaccard']:.2f} "
            f"| {half['rank_correlation']:.2f} | {losses} |"
        )
    return "\n".join(lines)


def _row(
    cells: Cells,
    samples: Sequence[Mapping[Place, Mapping[str, float]]],
    table: str,
    name: str,
    pairs: Sequence[tuple[Place, Place]],
) -> dict[str, Any]:
    share = cells[pairs[0][0]].share

    def compared(of: Callable[[Place], Mapping[str, float]], top: float) -> list[dict[str, Any]]:
        return [compare_important(of(one), of(other), top) for one, other in pairs]

    def kinds(at: Place) -> dict[str, float]:
        return cells[at].within_kinds(cells[at].by_module())

    # means over the row's pairs, one for each draw
    drawn = [compared(sample.__getitem__, share) for sample in samples]
    return {
        "table": table,
        "name": name,
        "pairs": len(pairs),
        "important": _spreads(compared(lambda at: cells[at].by_module(), share)),
        "within_kinds": _spreads(compared(kinds, share)),
        **{_percent(top): _spreads(compared(lambda at: cells[at].by_module(), top)) for top in TOPS},
        "intervals": {
            key: _middle([_mean(one, key) for one in drawn]) for key in ("jaccard", "rank_correlation")
        },
    }


def _first_order(cells: Cells, last: int) -> list[dict[str, Any]]:
    """Slopes against the scores of the same ranking, and the first stage's slopes against the last one's scores."""
    found = []
    stages = sorted({stage for _, _, stage in cells})
    for objective in dict.fromkeys(at[0] for at in cells):
        for stage, of in dict.fromkeys(
            [*((stage, stage) for stage in stages), *((stage, last) for stage in stages)]
        ):
            for slopes in ("slope_at_trained", "slope_at_base"):
                pairs = [
                    compare_important(one.by_module(slopes), cells[at[0], at[1], of].by_module(), one.share)
                    for at, one in cells.items()
                    if at[0] == objective
                    and at[2] == stage
                    and slopes in one.signals
                    and (*at[:2], of) in cells
                ]
                if pairs:
                    about = {"objective": objective, "stage": stage, "of": of, "slopes": slopes}
                    found.append({**about, **_spreads(pairs)})
    return found


def _resampled(cells: Cells, draw: int) -> dict[Place, dict[str, float]]:
    """Scores of every cell from minibatches drawn with replacement; the same draw for all stages of a training."""
    found = {}
    for (objective, seed, stage), one in cells.items():
        count = len(one.gradients)
        generator = np.random.default_rng(keyed_seed("bootstrap of minibatches", objective, seed, draw))
        found[objective, seed, stage] = one.resampled(generator.integers(count, size=count))
    return found


def _spreads(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, least and largest of what was compared, and the chance level of the Jaccard index."""
    return {"chance": found[0]["chance"]} | {
        key: None
        if any(one[key] is None for one in found)
        else {
            "mean": _mean(found, key),
            "low": min(one[key] for one in found),
            "high": max(one[key] for one in found),
        }
        for key in ("jaccard", "kappa", "rank_correlation")
    }


def _mean(found: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([one[key] for one in found]))


def _middle(values: Sequence[float]) -> dict[str, float] | None:
    """The middle 95 % of the draws."""
    if not values:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}


def _percent(share: float) -> str:
    return f"top {share:.0%}"


def _spread(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    if found["low"] == found["high"]:
        return f"{found['mean']:.2f}"
    return f"{found['mean']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _interval(found: Mapping[str, float] | None) -> str:
    return "-" if found is None else f"{found['low']:.2f} to {found['high']:.2f}"
