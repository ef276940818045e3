"""demo: the five-condition study on the micro-world, offline, with its controls, and one report over all of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stratalign.microworld import PREFERENCE_SETS, STUDY, people, read_request, verify
from stratalign.pipeline import study
from stratalign.records import Progress, Response, StudyFolder, read_json, read_jsonl, silent
from stratalign.reporting import report

SETS = ("fluency", "mixed")
ALL_SETS = ("fluency", "coherence", "factuality", "mixed")
SEEDS = (0, 1, 2)
SHOWN = 5


class Showcase(NamedTuple):
    """The studies that the demo ran, by preference set, and the page over all of them."""

    studies: dict[str, StudyFolder]
    page: Path


class Shown(NamedTuple):
    """One held-out prompt with the base's answer and that of a trained run; scores of the objective in [0, 1]."""

    prompt: str
    base: str
    trained: str
    base_score: float
    trained_score: float


def demo(
    out: str | Path = "studies/demo",
    full: bool = False,
    changes: Sequence[str] = (),
    progress: Progress = silent,
) -> Showcase:
    """Study fluency and mixed preferences on the micro-world; run again, it continues.

    Args:
        out: one folder for each study is made in it, and the combined report.
        full: all four preference sets, and three seeds; some twelve times the work.
        changes: `key.path=value` changes to the shipped recipe, `microworld/shipped/study.yaml`.

    Raises:
        UserError: the folder cannot be used, or a change is not allowed.
    """
    folder = Path(out)
    seeds = [f"seeds={list(SEEDS)}"] if full else []
    studies = {}
    for name in ALL_SETS if full else SETS:

        def told(what: str, done: int, total: int, name: str = name) -> None:
            progress(f"{name}: {what}", done, total)

        given = [f"preferences.source=microworld:{name}", *seeds, *changes]
        studies[name] = study(STUDY, given, folder / name, told)
    page = report([one.path for one in studies.values()], folder)
    return Showcase(studies, page)


def trained_run(folder: StudyFolder) -> str:
    """The run whose answers stand for training: the winner's first seed, or full where none won."""
    found = read_json(folder.results)
    winners = [one["condition"] for one in found["conclusions"]["winner"] if one["condition"]]
    condition = winners[0] if winners else "full"
    return next(str(run["run"]) for run in found["runs"] if run["condition"] == condition)


def side_by_side(folder: StudyFolder, name: str, count: int = SHOWN) -> list[Shown]:
    """Answers of the base and of a trained run to the same prompts, which are drawn, not picked."""
    run = trained_run(folder)
    base = "base" if "@" not in run else f"base@{run.partition('@')[2]}"
    answers: dict[str, dict[str, Response]] = {}
    for row in read_jsonl(folder.responses):
        if row["run"] in (base, run):
            answers.setdefault(row["prompt_id"], {})[row["run"]] = Response(**row)
    drawn = random.Random(0).sample(sorted(answers), min(count, len(answers)))
    target = PREFERENCE_SETS[name].objective
    return [_shown(answers[prompt][base], answers[prompt][run], target) for prompt in drawn]


def _shown(base: Response, trained: Response, target: str) -> Shown:
    known = people()
    request = read_request(base.prompt, known)
    assert request is not None
    scores = [getattr(verify(request, one.response, known), target) for one in (base, trained)]
    return Shown(base.prompt.strip(), base.response, trained.response, *scores)
