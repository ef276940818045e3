"""Figures and the numbers people read in them."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest
from fake_studies import full_study, manifest

from stratalign.records import StudyFolder, write_json
from stratalign.reporting import numbers, report
from stratalign.reporting.figures import svg
from stratalign.reporting.figures.curves import loss_curves

SVG = "{http://www.w3.org/2000/svg}"


def test_every_trained_layer_is_one_filled_cell(tmp_path: Path) -> None:
    write_json(StudyFolder(tmp_path).manifest, manifest(["base", "local", "full"]))
    report([tmp_path])
    cells = list(ElementTree.parse(tmp_path / "figures" / "layers.svg").iter(f"{SVG}rect"))
    # local trains 4 layers, full 12, base none; three rows of 12 cells make 36.
    assert sum(cell.get("class") == "f-trained" for cell in cells) == 16
    assert sum(cell.get("class") == "f-cell" for cell in cells) == 20
    assert {cell[0].text for cell in cells if len(cell)} >= {
        "local: layer 3 trained",
        "local: layer 4 frozen",
    }


def test_figures_are_valid_and_can_be_read_aloud(tmp_path: Path) -> None:
    report([full_study(tmp_path)])
    for path in (tmp_path / "figures").glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert root.get("role") == "img"
        assert len(root[0].text or "") > 40
        width, height = float(root.get("width", 0)), float(root.get("height", 0))
        for mark in root.iter():
            assert all(0 <= float(mark.get(name, 0)) <= width for name in ("x", "x1", "x2", "cx")), (
                mark.attrib
            )
            assert all(0 <= float(mark.get(name, 0)) <= height for name in ("y", "y1", "y2", "cy")), (
                mark.attrib
            )


def test_the_forest_plot_puts_a_rate_where_the_axis_says(tmp_path: Path) -> None:
    report([full_study(tmp_path)])
    marks = ElementTree.parse(tmp_path / "figures" / "net_win_rate.svg")
    circles = list(marks.iter(f"{SVG}circle"))
    # Three dimensions with a direction, four conditions; length has no direction and is not drawn.
    assert len(circles) == 12
    zero = next(
        float(mark.get("x1", 0)) for mark in marks.iter(f"{SVG}line") if mark.get("class") == "f-zero"
    )
    first = circles[0]
    assert (first[0].text or "").startswith("full: +")
    assert float(first.get("cx", 0)) > zero


@pytest.mark.parametrize("end", [0.5, 0.9])
def test_labels_of_curves_that_end_together_do_not_overlap(end: float) -> None:
    curves = {f"run{index}": [(0.0, 0.7), (1.0, end)] for index in range(6)}
    drawing = loss_curves(curves, {run: run for run in curves})
    assert drawing is not None
    root = ElementTree.fromstring(drawing.standalone())
    heights = sorted(
        float(t.get("y", 0)) for t in root.iter(f"{SVG}text") if (t.text or "").startswith("run")
    )
    assert len(heights) == 6
    assert min(b - a for a, b in pairwise(heights)) >= 15
    assert heights[0] >= 14
    assert heights[-1] <= drawing.height


def test_a_single_step_and_a_constant_loss_can_be_drawn() -> None:
    assert loss_curves({"mid": [(3.0, 0.7)]}, {"mid": "mid"}) is not None
    assert loss_curves({"mid": [(1.0, 0.0), (2.0, 0.0)]}, {"mid": "mid"}) is not None
    assert loss_curves({"mid": []}, {"mid": "mid"}) is None


def test_many_steps_are_averaged_in_equal_groups() -> None:
    # 240 steps in 120 points of two: the first lies at step 0.5 with the mean of 0 and 1.
    drawing = loss_curves({"mid": [(float(at), float(at)) for at in range(240)]}, {"mid": "mid"})
    assert drawing is not None
    line = next(ElementTree.fromstring(drawing.standalone()).iter(f"{SVG}polyline"))
    assert len((line.get("points") or "").split()) == 120


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.plain(1234567), "1,234,567"),
        (numbers.plain(0.00001234), "1.2e−05"),
        (numbers.plain(0.0), "0.000"),
        (numbers.plain(-2.5), "−2.500"),
        (numbers.plain(None), "–"),
        (numbers.signed(0.25), "+0.250"),
        (numbers.signed(-0.25, 2), "−0.25"),
        (numbers.signed(-0.0016, 2), "0.00"),
        (numbers.signed(1e-17, 2), "0"),
        (numbers.interval(-0.0032, -0.000022, 2), "[0.00, 0.00]"),
        (numbers.interval(-0.1, 0.2, 1), "[−0.1, +0.2]"),
        (numbers.interval(None, 0.2), "–"),
        (numbers.seconds(4.2), "4.20 s"),
        (numbers.seconds(59.97), "1 min 00 s"),
        (numbers.seconds(185.2), "3 min 05 s"),
        (numbers.seconds(7620), "2 h 07 min"),
        (numbers.listed(["a", "b", "c"]), "a, b and c"),
        (numbers.spans([7, 0, 1, 2]), "0–2, 7"),
        (numbers.spans([]), "none"),
        (svg.shortened("short", 100), "short"),
        # 72 px are ten characters: five from the front, the ellipsis, four from the end.
        (svg.shortened("abcdefghijklmnop", 72), "abcde…mnop"),
    ],
)
def test_numbers_and_labels_read_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_ticks_are_round_and_inside() -> None:
    assert list(svg.ticks(0.47, 0.71)) == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7])
    assert list(svg.ticks(0, 100, 8)) == pytest.approx([0, 20, 40, 60, 80, 100])
