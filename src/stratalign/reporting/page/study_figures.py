"""Which figures a study has. Pure; the same bytes for the same recipe, because they are drawn from numbers alone.

Times differ from run to run, so their figure is none of these (`figures.paper.time_bars`).
"""

from __future__ import annotations

from typing import NamedTuple

from stratalign.reporting.figures.forest import forest_plot
from stratalign.reporting.figures.layer_map import layer_picture
from stratalign.reporting.figures.paper import dimension_map, overall_bars, training_curves
from stratalign.reporting.figures.profile_plot import profile_plot
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.figures.tradeoff_plot import tradeoff_plot
from stratalign.reporting.page.across import Member
from stratalign.reporting.results import Results, without_aside
from stratalign.reporting.tables.tradeoff import tradeoffs


class Figures(NamedTuple):
    """Each figure, or None where the study does not have its numbers yet."""

    layers: Drawing | None
    net_win_rate: Drawing | None
    tradeoff: Drawing | None
    overall: Drawing | None
    dimensions: Drawing | None
    loss: Drawing | None
    profile: Drawing | None

    def known(self) -> dict[str, Drawing]:
        """Name -> figure, of those that there are."""
        return {name: one for name, one in self._asdict().items() if one is not None}


def draw(results: Results, member: Member) -> Figures:
    """All figures of one study, its runs in the results' order; windows are in two of them only."""
    main = without_aside(results)
    return Figures(
        layers=layer_picture(results),
        net_win_rate=forest_plot(main, results.judged),
        tradeoff=tradeoff_plot(tradeoffs(main)),
        overall=overall_bars([member.judging], member.scale),
        dimensions=dimension_map([member.judging], member.categories),
        loss=training_curves([(member.judging.model, member.panels)]),
        profile=profile_plot(results.profile, results.study.partition),
    )
