"""demo: the five-condition study on the micro-world, offline, with its controls, and one report over all of it; then a
short calibration of what names layers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stratalign.calibration import QUICK, QUICK_WORLD, Kind, calibrate
from stratalign.microworld import PREFERENCE_SETS, STUDY, people, read_request, verify
from stratalign.pipeline import study
from stratalign.records import (
    RESPONSES,
    Progress,
    Response,
    StudyFolder,
    read_json,
    read_jsonl,
    refuse_links,
    silent,
)
from stratalign.reporting import report
from stratalign.reporting.diagnosed.calibrated import FOLDER as WORLDS

SETS = ("fluency", "mixed")
ALL_SETS = ("fluency", "coherence", "factuality", "mixed")
SEEDS = (0, 1, 2)
ALL_HELD_OUT = 384
SHOWN = 5
CALIBRATION: tuple[tuple[Kind, int], ...] = (("planted", 501), ("null", 501))
"""The worlds that end the demo: drawn once, not picked, and none of those that docs/calibration.md reports."""


class Shown(NamedTuple):
    """One held-out prompt with the base's answer and that of a trained run; scores of the objective in [0, 1]."""

    prompt: str
    base: str
    trained: str
    base_score: float
    trained_score: float


class Exhibit(NamedTuple):
    """One study of the demo: its folder, the dimension that its preferences are meant to move, its results.json and
    recommendation.json, and answers of the base beside those of a trained condition."""

    folder: StudyFolder
    dimension: str
    results: dict[str, Any]
    recommendation: dict[str, Any]
    condition: str
    answers: list[Shown]


class Showcase(NamedTuple):
    """The demo's studies by preference set, the page over all of them, and the records of the calibration's worlds."""

    exhibits: dict[str, Exhibit]
    page: Path
    calibration: list[dict[str, Any]]


def demo(
    out: str | Path = "studies/demo",
    full: bool = False,
    changes: Sequence[str] = (),
    progress: Progress = silent,
    *,
    calibration: bool = True,
) -> Showcase:
    """Study fluency and mixed preferences on the micro-world, then see whether a planted layer is found; run again, it
    continues.

    Args:
        out: one folder for each study is made in it, and the combined report.
        full: all four preference sets, all held-out prompts and three seeds; some ten times the work.
        changes: `key.path=value` changes to the shipped recipe, `microworld/shipped/study.yaml`.
        calibration: end with one world in which a layer is known to carry the preference, and one without any; about a
            minute. Their records lie in `calibration`.

    Raises:
        UserError: the folder cannot be used, or a change is not allowed.
    """
    folder = Path(out)
    for name in (*ALL_SETS, WORLDS):
        refuse_links(folder / name)
    larger = [f"seeds={list(SEEDS)}", f"preferences.held_out={ALL_HELD_OUT}"] if full else []
    studies = {}
    for name in ALL_SETS if full else SETS:

        def told(what: str, done: float, total: int, name: str = name) -> None:
            progress(f"{name}: {what}", done, total)

        given = [f"preferences.source=microworld:{name}", *larger, *changes]
        studies[name] = study(STUDY, given, folder / name, told)
    exhibits = {name: _exhibit(one, name) for name, one in studies.items()}
    asked = CALIBRATION if calibration else ()

    def counted(_what: str, done: float, total: int) -> None:
        progress("calibration: worlds", done, total)

    records = calibrate(folder / WORLDS, asked, QUICK_WORLD, QUICK, progress=counted)
    page = report([one.path for one in studies.values()], folder)
    return Showcase(exhibits, page, records)


def _exhibit(folder: StudyFolder, name: str) -> Exhibit:
    results = read_json(folder.results)
    dimension = PREFERENCE_SETS[name].objective
    condition, run = _trained(results)
    answer = read_json(folder.recommendation)
    return Exhibit(folder, dimension, results, answer, condition, side_by_side(folder, run, dimension))


def _trained(results: Mapping[str, Any]) -> tuple[str, str]:
    """The condition whose answers stand for training, and its first run: the winner, or the first trained one."""
    winners = [one["condition"] for one in results["conclusions"]["winner"] if one["condition"]]
    trained = [run for run in results["runs"] if run["layers"]]
    run = next((run for run in trained if run["condition"] in winners), trained[0])
    return run["condition"], run["run"]


def side_by_side(folder: StudyFolder, run: str, dimension: str, count: int = SHOWN) -> list[Shown]:
    """Answers of the base and of a run to the same held-out prompts, which are drawn, not picked."""
    base = "base" if "@" not in run else f"base@{run.partition('@')[2]}"
    answers: dict[str, dict[str, Response]] = {}
    for row in read_jsonl(folder.responses, RESPONSES):
        if row["run"] in (base, run):
            answers.setdefault(row["prompt_id"], {})[row["run"]] = Response(**row)
    drawn = random.Random(0).sample(sorted(answers), min(count, len(answers)))
    return [_shown(answers[prompt][base], answers[prompt][run], dimension) for prompt in drawn]


def _shown(base: Response, trained: Response, dimension: str) -> Shown:
    known = people()
    request = read_request(base.prompt, known)
    assert request is not None
    scores = [getattr(verify(request, one.response, known), dimension) for one in (base, trained)]
    return Shown(base.prompt.strip(), base.response, trained.response, *scores)
