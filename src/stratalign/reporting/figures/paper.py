"""The paper's Figures 2 to 5 from one study's data or several studies': what goes into each of them. Pure.

Figure 2: overall scores by model and strategy. Figure 3: all dimensions as a heatmap. Figure 4: loss curves, a panel
for each model and kind of loss. Figure 5: training times. Knows nothing of pages and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratalign.reporting.comparisons.grids import spread
from stratalign.reporting.figures.bars import Bar, Group, grouped_bars
from stratalign.reporting.figures.curves import Curve, Panel, loss_panels
from stratalign.reporting.figures.heatmap import HeatColumn, HeatRow, heatmap
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import plain, seconds
from stratalign.reporting.results import Results
from stratalign.reporting.tables.costs import CostRow
from stratalign.reporting.tables.ranking import Judging, conditions_of, primary, strategies

MINUTES_FROM = 180.0


def overall_bars(studies: Sequence[Judging], scale: tuple[float, float] | None) -> Drawing | None:
    """Figure 2: the primary dimension, mean ± sd. Of one study a bar per condition, of several a group per model."""
    rows = strategies(studies, over=False)
    measure = next((found for one in studies if (found := primary(one.results))), None)
    if measure is None:
        return None

    def bar(row_name: str, at: int, series: str) -> list[Bar]:
        its = next((row.each[at] for row in rows if row.condition == row_name), None)
        if its is None:
            return []
        sd = its.deviation
        low, high = (None, None) if sd is None else (its.mean - sd, its.mean + sd)
        return [Bar(series, (its.mean,), f"{row_name} {plain(its.mean)} ± {plain(sd)}", low, high)]

    names = [row.condition for row in rows]
    if len(studies) == 1:
        groups = [Group(name, tuple(bar(name, 0, "score"))) for name in names]
    else:
        groups = [
            Group(one.model, tuple(part for name in names for part in bar(name, at, name)))
            for at, one in enumerate(studies)
        ]
    told = (
        f"Mean {measure.dimension} score of each condition; whiskers are one standard deviation to each side."
    )
    return grouped_bars(
        groups, told, f"{measure.dimension} ({measure.unit or 'score'})", scale[0] if scale else 0.0
    )


def dimension_map(studies: Sequence[Judging], categories: Mapping[str, str]) -> Drawing | None:
    """Figure 3: the mean of every dimension under every condition; `categories` has each dimension's, if any."""
    columns = [
        (at, one, condition)
        for at, one in enumerate(studies)
        for condition in conditions_of([one])
        if any(run.run in one.grid.values for run in one.results.runs if run.condition == condition)
    ]
    named: dict[str, str] = {m.dimension: m.unit for one in studies for m in one.grid.measures if m.better}
    order = sorted(named, key=lambda name: _place(categories.get(name, ""), categories))
    rows = []
    for name in order:
        means = []
        for _, one, condition in columns:
            measure = next((m for m in one.grid.measures if m.dimension == name), None)
            runs = [run.run for run in one.results.runs if run.condition == condition]
            its = spread(one.grid.of(runs, measure)) if measure else None
            means.append(its.mean if its else None)
        rows.append(HeatRow(name, categories.get(name, ""), named[name], tuple(means)))
    return heatmap([HeatColumn(one.model, condition) for _, one, condition in columns], rows)


def training_curves(studies: Sequence[tuple[str, Sequence[Panel]]]) -> Drawing | None:
    """Figure 4: the panels of every study; with several studies each panel is titled with its model."""
    several = len(studies) > 1
    return loss_panels(
        [
            panel._replace(title=", ".join(part for part in (model, panel.title) if part))
            if several
            else panel
            for model, panels in studies
            for panel in panels
        ]
    )


def time_bars(studies: Sequence[tuple[str, Sequence[CostRow]]]) -> Drawing | None:
    """Figure 5: own time with the shared time upon it, which together are the estimate for the run alone."""
    timed = [(model, row, row.own) for model, rows in studies for row in rows if row.own is not None]
    longest = max((own + (row.shared or 0.0) for _, row, own in timed), default=0.0)
    unit, name = (60.0, "minutes") if longest >= MINUTES_FROM else (1.0, "seconds")
    groups: dict[str, list[Bar]] = {}
    for model, row, own in timed:
        words = f"own {seconds(own)}, shared {seconds(row.shared)}, alone (estimated) {seconds(row.alone)}"
        parts = (own / unit, (row.shared or 0.0) / unit)
        groups.setdefault(row.run.run, []).append(Bar(model, parts, f"{model} {words}"))
    told = "Training time of each run: own time, and upon it the time shared with the other runs of its pass."
    return grouped_bars(
        [Group(run, tuple(bars)) for run, bars in groups.items()],
        told,
        f"{name}: own, and lighter upon it shared",
    )


def loss_kinds(records: StudyRecords, results: Results) -> list[Panel]:
    """One panel for each kind of loss, and each β of it where runs of a kind differ in it."""
    curves = {
        run.run: sorted(
            (float(row["step"]), float(row["loss"])) for row in records.training if row["run"] == run.run
        )
        for run in results.runs
    }
    settings = {run.run: _training(records, run.run) for run in results.runs if curves[run.run]}
    conditions = {run.run: run.condition for run in results.runs}
    kinds: dict[tuple[str, Any], dict[str, Curve]] = {}
    for run, its in settings.items():
        kinds.setdefault((str(its.get("loss") or ""), its.get("beta")), {})[run] = curves[run]
    betas = {loss: {beta for kind, beta in kinds if kind == loss} for loss, _ in kinds}
    return [
        Panel(
            ""
            if len(kinds) == 1
            else f"loss {loss or 'unknown'}" + (f", β {beta}" if len(betas[loss]) > 1 else ""),
            its,
            conditions,
        )
        for (loss, beta), its in kinds.items()
    ]


def _training(records: StudyRecords, run: str) -> Mapping[str, Any]:
    entry = (records.manifest.get("runs") or {}).get(run) or {}
    training = entry.get("training") or records.recipe.get("training") or {}
    return training if isinstance(training, Mapping) else {}


def _place(category: str, categories: Mapping[str, str]) -> int:
    order = list(dict.fromkeys(categories.values()))
    return order.index(category) if category in order else len(order)
