"""Does choosing modules by their significance beat chance? From the scores of `significance_use.yaml`'s study.

    stratalign diagnose significance benchmarks/significance_use.yaml --out DIR
    stratalign study benchmarks/significance_use.yaml --out DIR
    python -m benchmarks.significance_use DIR

A choice is held against the mean of its draws, prompt by prompt, with an interval over clusters; that interval takes
the draws as they are. How far draws differ from each other stands beside it: with five of them, a choice above all of
them has a probability of 1 / 6 by chance.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from stratalign.errors import UserError
from stratalign.records import Score, StudyFolder, read_scores
from stratalign.stats import clustered_mean

BY_CHANCE = "_by_chance"
Answers = Mapping[str, tuple[str, float]]
"""Prompt -> its cluster and the score of the answer."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.significance_use")
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--dimension", nargs="+", default=["grammar", "overall"])
    options = parser.parse_args(arguments)
    try:
        for dimension in options.dimension:
            print(table(read_scores(StudyFolder(options.folder).scores), dimension), end="\n\n")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def table(scores: Iterable[Score], dimension: str) -> str:
    """In Markdown: every choice's gain over the base, its draws', and the difference.

    Raises:
        UserError: base or full has no such scores.
    """
    runs: dict[str, dict[str, tuple[str, float]]] = {}
    for score in scores:
        if score.dimension == dimension and score.value is not None:
            runs.setdefault(score.run, {})[score.prompt_id] = (score.cluster, score.value)
    for needed in ("base", "full"):
        if needed not in runs:
            raise UserError(
                f"The study has no scores of {needed} for {dimension!r}. Run `stratalign study` first."
            )
    whole = difference(runs["full"], [runs["base"]])
    lines = [
        f"| {dimension} | gain over base | share of full's | draws: mean [least, largest] | over their mean | "
        "draws below |",
        "|---|---|---|---|---|---|",
        f"| full | {_interval(whole)} | 1 | | | |",
    ]
    for name, drawn in choices(runs).items():
        gain = difference(runs[name], [runs["base"]])
        each = [difference(runs[draw], [runs["base"]])["mean"] for draw in drawn]
        over = difference(runs[name], [runs[draw] for draw in drawn])
        lines.append(
            f"| {name} | {_interval(gain)} | {gain['mean'] / whole['mean']:.2f} "
            f"| {np.mean(each):.3f} [{min(each):.3f}, {max(each):.3f}] "
            f"| {_interval(over)} | {sum(one < gain['mean'] for one in each)} of {len(each)} |"
        )
    return "\n".join(lines)


def choices(runs: Iterable[str]) -> dict[str, list[str]]:
    """Run -> the draws of as many modules: of `top-0.1` those are `top_by_chance-0.1-1` and so on."""
    names = list(runs)
    found = {}
    for name in names:
        kind, _, share = name.partition("-")
        draw = re.compile(
            re.escape(f"{kind}{BY_CHANCE}-{share}-" if share else f"{kind}{BY_CHANCE}-") + r"\d+"
        )
        drawn = [other for other in names if draw.fullmatch(other)]
        if drawn:
            found[name] = drawn
    return found


def difference(one: Answers, others: Sequence[Answers]) -> dict[str, float]:
    """Mean over prompts of `one` minus the mean of `others`, and its 95 % interval over clusters (t distribution)."""
    shared = [prompt for prompt in one if all(prompt in other for other in others)]
    values = [one[prompt][1] - float(np.mean([other[prompt][1] for other in others])) for prompt in shared]
    found = clustered_mean(np.array(values), [one[prompt][0] for prompt in shared])
    if found.mean is None or found.standard_error is None:
        raise UserError("An interval takes answers to prompts of at least two clusters.")
    half = float(student.ppf(0.975, found.clusters - 1)) * found.standard_error
    return {"mean": found.mean, "low": found.mean - half, "high": found.mean + half}


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
