"""The folder of a large judged study, and what a report of it takes.

    python -m benchmarks.large_study FOLDER [--prompts 10000] [--trained local mid global] [--write]

Writes the records of a finished study: one seed, every prompt a cluster, the base and the trained conditions, scores of
1 to 5 on each dimension of one judge and measures of text beside them, held-out log-probabilities, answers and training
steps. Then it makes the report in a process of its own, and prints that process's processor seconds and its peak of
resident memory. A folder that exists is reported on again; `--write` only writes. No model computed any of it.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stratalign.records import (
    LogProbRecord,
    Response,
    StepRecord,
    StudyFolder,
    append_jsonl,
    write_json,
    write_text,
)

BLOCKS = {"full": (0, 12), "local": (0, 4), "mid": (4, 8), "global": (8, 12)}
EFFECTS = {"full": 0.20, "local": 0.08, "mid": 0.14, "global": 0.03}
"""How far a condition moves a dimension, in points of the scale."""
STEPS, AT_ONCE = 600, 1000
MISSING = 0.01
"""The share of answers without a valid judgement."""
TEXT_MEASURES = ("length", "repetition", "distinct")
HEADER = ("prompt_id", "cluster", "run", "seed", "judge", "protocol", "dimension", "repeat", "value", "state")
WORDS = (
    "shade brim straw felt sun rain warm light wide narrow good plain common choice people often wear some of these "
    "because they last and keep heat away while others look fine yet cost more than most"
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    study = StudyFolder(options.folder)
    if not study.recipe.is_file():
        write_study(study, options.prompts, options.trained, options.dimensions, options.words)
    if options.write:
        return 0
    subprocess.run([sys.executable, "-m", "stratalign", "report", str(study.path)], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(f"Report: {used.ru_utime + used.ru_stime:.1f} processor seconds, peak {peak:,.0f} MiB.")
    return 0


def write_study(
    study: StudyFolder, prompts: int, trained: Sequence[str], dimensions: int, words: int
) -> None:
    """Write the records of a finished study, the same for the same arguments."""
    noise = np.random.default_rng(0)
    runs = ("base", *trained)
    names = [f"Dimension{at:02}" for at in range(1, dimensions)] + ["Overall"]
    write_text(
        study.recipe,
        f"model: lab/large\npreferences:\n  source: lab/dialogues\n  objective: [Overall]\n  held_out: {prompts}\n"
        f"conditions: [{', '.join(runs)}]\njudge: {{protocol: likert-{dimensions}, model: judge}}\n",
    )
    write_json(study.manifest, _manifest(runs))
    write_json(study.judges, {"schema": 1, "judges": [_judge(names), _text_judge()]})
    write_json(study.preferences, _preferences(prompts))
    write_json(study.timings, {"runs": {}, "stages": {"train": 900.0}})
    append_jsonl(study.training, _steps(trained, noise))
    for run in trained:
        append_jsonl(study.logprobs, _logprobs(run, prompts, noise))
    for run in runs:
        for start in range(0, prompts, AT_ONCE):
            append_jsonl(
                study.responses, _responses(run, range(start, min(prompts, start + AT_ONCE)), words, noise)
            )
    easy = noise.normal(2.9, 0.7, prompts)
    with study.scores.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for run in runs:
            writer.writerows(_scores(run, names, easy, noise))


def _preferences(prompts: int) -> dict[str, Any]:
    sizes = {"train": 10_000, "validation": 0, "held_out": prompts, "unused": 0}
    return {
        "rows": {"read": sum(sizes.values()), "kept": sum(sizes.values()), "bad": 0},
        "parts": {part: {"rows": size, "clusters": size} for part, size in sizes.items()},
    }


def _manifest(runs: Sequence[str]) -> dict[str, Any]:
    entries = {}
    for run in runs:
        layers = list(range(*BLOCKS[run])) if run in BLOCKS else []
        entries[run] = {
            "condition": run, "seed": 0, "labels": "given", "layers": layers, "targets": ["q_proj"] if layers else [],
            "rank": 16 if layers else None, "alpha": 32 if layers else None, "parameters": 2048 * len(layers),
            "proof": {"proven": True, "checks": {"reload": {"holds": True, "detail": "largest difference 0.00000"}}},
        }  # fmt: skip
    partition = {name: list(range(*BLOCKS[name])) for name in ("local", "mid", "global")}
    model = {"name": "lab/large", "model_type": "llama", "layers": 12, "parameters": 1_234_567, "files": {}}
    return {"schema": 1, "model": model, "partition": partition, "runs": entries}


def _judge(names: Sequence[str]) -> dict[str, Any]:
    listed = [
        {"name": name, "unit": "points", "better": "higher", "about": f"what {name} means",
         "category": "overall" if name == "Overall" else f"category {at % 5 + 1}"}
        for at, name in enumerate(names)
    ]  # fmt: skip
    return {
        "judge": "judge", "protocol": f"likert-{len(names)}", "hash": "0" * 64, "kind": "judge", "model": "judge",
        "host": "example.org", "scale": [1, 5], "anchor": 3, "dimensions": listed,
    }  # fmt: skip


def _text_judge() -> dict[str, Any]:
    listed = [
        {"name": name, "unit": "", "better": None, "about": f"what {name} means"} for name in TEXT_MEASURES
    ]
    return {"judge": "text", "protocol": "text", "hash": "1" * 64, "kind": "measures", "dimensions": listed}


def _steps(trained: Sequence[str], noise: np.random.Generator) -> Iterator[StepRecord]:
    for run in trained:
        for step, bump in enumerate(noise.normal(0, 0.01, STEPS).tolist()):
            moved = EFFECTS[run] * step / STEPS
            yield StepRecord(run, step, 0.69 - moved + bump, moved, -moved, 2 * moved, 0.7, 1.0, 1e-5, 900)


def _logprobs(run: str, prompts: int, noise: np.random.Generator) -> Iterator[LogProbRecord]:
    for at, (chosen, rejected) in enumerate(noise.normal(EFFECTS[run], 1, (prompts, 2)).tolist()):
        yield LogProbRecord(run, f"r{at:06}", _cluster(at), chosen - 40, -rejected - 40, -40.0, -40.0, 30, 30)


def _responses(run: str, rows: range, words: int, noise: np.random.Generator) -> Iterator[Response]:
    known = WORDS.split()
    for at in rows:
        text = " ".join(known[one] for one in noise.integers(0, len(known), words))
        kl = 0.0 if run == "base" else float(noise.gamma(2))
        prompt = f"Which hat number {at} shades best, and why would people wear it?"
        yield Response(run, f"r{at:06}", _cluster(at), prompt, text, words, "stop", at, kl)


def _scores(
    run: str, names: Sequence[str], easy: np.ndarray, noise: np.random.Generator
) -> Iterator[tuple[object, ...]]:
    """The rows of one run, prompt by prompt: the judge's dimensions, then the measures of text."""
    prompts = len(easy)
    share = np.linspace(-0.3, 1, len(names))
    moved = easy[:, None] + EFFECTS.get(run, 0.0) * share + noise.normal(0, 0.6, (prompts, len(names)))
    points = np.clip(np.round(moved), 1, 5).tolist()
    invalid = (noise.random(prompts) < MISSING).tolist()
    text = np.round(noise.normal([100, 0.2, 0.8], [10, 0.05, 0.05], (prompts, 3)), 4).tolist()
    for at in range(prompts):
        row = (f"r{at:06}", _cluster(at), run, 0)
        for name, value in zip(names, points[at], strict=True):
            shown, state = ("", "invalid") if invalid[at] else (value, "ok")
            yield (*row, "judge", f"likert-{len(names)}", name, 0, shown, state)
        for name, value in zip(TEXT_MEASURES, text[at], strict=True):
            yield (*row, "text", "text", name, 0, value, "ok")


def _cluster(at: int) -> str:
    return f"c{at:06}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.large_study", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--trained", nargs="+", choices=list(BLOCKS), default=["local", "mid", "global"])
    parser.add_argument("--dimensions", type=int, default=16)
    parser.add_argument("--words", type=int, default=120, help="of an answer")
    parser.add_argument("--write", action="store_true", help="write the study, and make no report")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
