"""The paper's tables, and ours, as LaTeX and CSV, from one study or several. Pure; writes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from stratalign.reporting.comparisons.grids import Spread
from stratalign.reporting.numbers import interval, p_value, plain, signed
from stratalign.reporting.results import Results
from stratalign.reporting.tables.latex import tabular
from stratalign.reporting.tables.ranking import Judging, one_unit, primary, ranks, strategies
from stratalign.reporting.tables.sheets import TextTable, csv_text


def paper_csv(studies: Sequence[Judging], pooled: bool = True) -> dict[str, str]:
    """strategies.csv and ranks.csv: file name -> content, every digit kept; `pooled` false leaves pooled means out."""
    scored = primary(studies[0].results)
    name = scored.dimension if scored else ""
    header = ["condition", "dimension"]
    header += ["mean", "sd", "median", "n", "mean_over_dimensions", "sd_over_dimensions"] if pooled else []
    several = len(studies) > 1
    header += [f"{part}: {one.model}" for one in studies for part in ("mean", "sd", "n")] if several else []
    rows = []
    for row in strategies(studies):
        over = row.over_dimensions
        cells: list[object] = [row.condition, name]
        if pooled:
            cells += [*_spread(row.pooled), *((over.mean, over.deviation) if over else (None, None))]
        if several:
            cells += [part for its in row.each for part in (*_spread(its)[:2], its.n if its else 0)]
        rows.append(cells)
    ranked = [
        [one.rank, one.model, one.condition, name, one.spread.mean, one.spread.deviation, one.spread.n]
        for one in ranks(studies, None)
    ]
    return {
        "strategies.csv": csv_text(header, rows),
        "ranks.csv": csv_text(["rank", "model", "condition", "dimension", "mean", "sd", "n"], ranked),
    }


def paper_latex(studies: Sequence[Judging], pooled: bool = True) -> dict[str, str]:
    """strategies.tex (Table 2) and ranks.tex (Table 3): file name -> content."""
    scored = primary(studies[0].results)
    name = scored.dimension if scored else "score"
    several, unit = len(studies) > 1, pooled and one_unit(studies)
    header = ["Condition", *(["Mean", "Std", "Median", "Count"] if pooled else [])]
    header += ["Over dimensions"] if unit else []
    header += [one.model for one in studies] if several else []
    rows = []
    for row in strategies(studies):
        cells = [row.condition, *(_shown(row.pooled) if pooled else [])]
        cells += [_plus_minus(row.over_dimensions)] if unit else []
        cells += [_plus_minus(its) for its in row.each] if several else []
        rows.append(cells)
    ranked = [
        [str(one.rank), one.model, one.condition, plain(one.spread.mean), plain(one.spread.n)]
        for one in ranks(studies)
    ]
    told = f"{', pooled over models' * pooled}, each model's mean and sd" if several else ""
    return {
        "strategies.tex": tabular(TextTable(f"{name} by condition{told}.", header, rows, 1)),
        "ranks.tex": tabular(
            TextTable(f"Ranks by mean {name}.", ["Rank", "Model", "Condition", "Mean", "Count"], ranked, 3)
        ),
    }


def study_latex(results: Results) -> dict[str, str]:
    """means.tex and comparisons.tex of one study, on the protocol that decides, or on the first where none does: file
    name -> content."""
    protocol = next(iter([results.judged] if results.judged else results.protocols), None)
    measures = [one for one in results.measures if one.key[:2] == protocol]
    shown = [run for run in results.runs if run.means]
    means = []
    for measure in measures:
        cells = []
        for run in shown:
            its = run.mean_of(measure)
            cells.append(_with_error(its.mean, its.standard_error) if its else "–")
        means.append([measure.dimension, measure.unit, *cells])
    rows = [
        [
            one.condition,
            one.dimension,
            signed(one.net_win_rate),
            interval(one.low, one.high),
            p_value(one.p_holm),
            signed(one.mean_difference),
            one.verdict,
        ]
        for one in results.comparisons
        if one.seed is None and one.key[:2] == protocol
    ]
    header = [
        "Condition",
        "Dimension",
        "Net win rate",
        "95 % interval",
        "Holm p",
        "Mean difference",
        "Verdict",
    ]
    return {
        "means.tex": tabular(
            TextTable(
                "Mean of every run with its standard error.",
                ["Dimension", "Unit", *(run.run for run in shown)],
                means,
                2,
            )
        ),
        "comparisons.tex": tabular(
            TextTable("Every condition against base, clustered by prompt.", header, rows, 2)
        ),
    }


def _spread(its: Spread | None) -> list[object]:
    return [its.mean, its.deviation, its.median, its.n] if its else [None, None, None, 0]


def _shown(its: Spread | None) -> list[str]:
    if its is None:
        return ["–"] * 4
    return [plain(its.mean), plain(its.deviation), plain(its.median), plain(its.n)]


def _plus_minus(its: Spread | None) -> str:
    return "–" if its is None else _with_error(its.mean, its.deviation)


def _with_error(mean: float | None, error: float | None) -> str:
    return plain(mean) if error is None else f"{plain(mean)} ± {plain(error)}"
