"""Which figures a study has. Pure; the same bytes for the same recipe, because they are drawn from numbers alone."""

from __future__ import annotations

from typing import NamedTuple

from stratalign.reporting.curves import loss_curves
from stratalign.reporting.forest import forest_plot
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.layer_map import layer_picture
from stratalign.reporting.results import Results
from stratalign.reporting.svg import Drawing


class Figures(NamedTuple):
    """Each figure, or None where the study does not have its numbers yet."""

    layers: Drawing | None
    net_win_rate: Drawing | None
    loss: Drawing | None

    def files(self) -> dict[str, str]:
        """File name -> SVG text."""
        return {f"{name}.svg": one.standalone() for name, one in self._asdict().items() if one is not None}


def draw(records: StudyRecords, results: Results) -> Figures:
    """All figures of one study, its runs in the results' order."""
    curves = {
        run.run: sorted(
            (float(row["step"]), float(row["loss"])) for row in records.training if row["run"] == run.run
        )
        for run in results.runs
    }
    return Figures(
        layers=layer_picture(results),
        net_win_rate=forest_plot(results, results.judged),
        loss=loss_curves(curves, {run.run: run.condition for run in results.runs}),
    )
