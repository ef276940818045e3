"""Probes: at which depth what can be read off a model's states, and where that is best read.

Tasks come as labels of prompts or of responses; one task needs none, which response of a pair is the chosen one. Each
task has a curve over depth with a control and a baseline of lengths, the depth of its peak with an interval, and the
layers whose selectivity cannot be told from the peak's. Where the thirds of Hierarchical Alignment expect a task in a
block, the record answers check 1 of a review of its first version: is the peak more than 3 layers away from there?
Knows nothing of recipes, texts or the micro-world.

What can be decoded at a depth need not be used there, and a state keeps what earlier layers wrote: a peak does not
say where something is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from stratalign.blocks import Site
from stratalign.diagnostics.activations import States
from stratalign.diagnostics.linear_probes import Curves, Examples, Floats, probe
from stratalign.diagnostics.similarity import by_layer
from stratalign.errors import UserError
from stratalign.records import Progress, silent
from stratalign.stats import percentile_interval

PREFERENCE = "preference"
MISALIGNED = 3
"""A boundary is to be moved where a peak lies more layers than this away from its block (the review's number)."""
LEVEL = 0.95


class ProbeSettings(BaseModel):
    """What `diagnose probes` does; all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pairs: int = Field(512, ge=16, description="training pairs, drawn by cluster")
    folds: int = Field(5, ge=2, description="parts of the clusters for cross-validation")
    controls: int = Field(3, ge=1, description="times that labels are dealt out at random")
    strength: float = Field(
        0.01,
        gt=0,
        description="C of the logistic regression on scaled features; one value for all depths",
    )
    resamples: int = Field(2000, ge=200, description="resamples of clusters")
    labels: str | None = Field(
        None, description="a .jsonl file with prompt_id or text (of the prompt), and label, to probe for"
    )
    run: str | None = Field(None, description="a trained run of the study's folder to probe; null: the base")
    adapter: str | None = Field(None, description="a PEFT adapter folder to probe in place of a run")


@dataclass(frozen=True)
class Task:
    """Labels [n] or [n, branches] of the pairs' prompts or responses, None where there is none; `expected` is the
    block in which the paper expects it, if it does."""

    name: str
    about: str
    of: Literal["prompt", "response"]
    labels: Sequence[Any]
    expected: str | None = None


def measure_probes(
    states: States,
    prompt_lengths: Sequence[int],
    clusters: Sequence[str],
    tasks: Sequence[Task],
    sites: Sequence[Site],
    blocks: Mapping[str, Sequence[int]],
    settings: ProbeSettings,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Everything that a record of probes holds, as plain numbers.

    Args:
        states: of the model that is looked at, on training pairs.
        prompt_lengths: in tokens, of each pair.
        clusters: of the pairs.
        tasks: beside the chosen response of each pair, which is probed for wherever there are pairs.
        sites: the modules that scores are given to.
        blocks: of the partition, name -> layers.
        seed: draws parts, controls and resamples.

    Raises:
        UserError: there is nothing to probe for.
    """
    given: dict[str, tuple[Examples, str, str | None, list[str]]] = {}
    skipped: dict[str, str] = {}
    found = [_preference(states, clusters)] if states.responses.shape[1] > 1 else []
    if found:
        given[PREFERENCE] = (found[0], "which response of a pair is the chosen one", None, [])
    for task in tasks:
        examples, names = _examples(task, states, prompt_lengths, clusters, settings.folds)
        if examples is None:
            skipped[task.name] = (
                f"fewer than two labels that occur in at least {settings.folds} clusters each"
            )
        else:
            given[task.name] = (examples, task.about, task.expected, names)
    few = [name for name, (own, *_) in given.items() if len(set(own.clusters)) < 2 * settings.folds]
    for name in few:
        skipped[name] = f"fewer than {2 * settings.folds} clusters"
        del given[name]
    if not given:
        raise UserError(
            "There is nothing to probe for: "
            + (
                "; ".join(f"{name}: {why}" for name, why in skipped.items())
                or "demonstrations have no rejected response"
            )
            + ". Give more pairs, or labels of your own with --labels FILE."
        )
    described, signals = {}, {}
    for number, (name, (examples, about, expected, names)) in enumerate(given.items()):
        curves = probe(
            examples,
            folds=settings.folds,
            controls=settings.controls,
            strength=settings.strength,
            resamples=settings.resamples,
            seed=seed,
        )
        where = blocks.get(expected) if expected is not None else None
        described[name] = {
            "about": about,
            "examples": len(examples.clusters),
            "clusters": len(set(examples.clusters)),
            "classes": names,
            "chance": 1 / examples.classes,
            **describe(curves, expected, where),
        }
        # state l + 1 is what leaves layer l
        signals[name] = curves.selectivity[1:].tolist()
        signals[f"{name}_gain"] = np.diff(curves.selectivity).tolist()
        progress("probes", number + 1, len(given))
    return {
        "pairs": len(clusters),
        "left_out_positions": states.left_out,
        "tasks": described,
        "skipped": skipped,
        "scores": by_layer(signals, sites),
    }


def describe(
    curves: Curves, expected: str | None = None, layers: Sequence[int] | None = None
) -> dict[str, Any]:
    """A task's curve, its peak, and how far that is from where it is expected."""
    states = len(curves.accuracy)
    rows = []
    for state in range(states):
        selective = percentile_interval(curves.selectivities[:, state], LEVEL)
        right = percentile_interval(curves.accuracies[:, state], LEVEL)
        rows.append(
            {
                "state": state,
                "layer": state - 1 if state else None,
                "accuracy": float(curves.accuracy[state]),
                "accuracy_low": right.low,
                "accuracy_high": right.high,
                "control": float(curves.control[state]),
                "selectivity": float(curves.selectivity[state]),
                "low": selective.low,
                "high": selective.high,
            }
        )
    baseline = percentile_interval(curves.baselines, LEVEL)
    peak = _peak(curves)
    found: dict[str, Any] = {
        "curve": rows,
        "length_baseline": {"accuracy": curves.baseline, "low": baseline.low, "high": baseline.high},
        "peak": peak,
        "expected": None,
    }
    if expected is not None and layers is not None and len(layers):
        found["expected"] = {"block": expected} | _expected(curves, peak, layers)
    return found


def _peak(curves: Curves) -> dict[str, Any]:
    """Where selectivity is highest, how that varies over resamples, and what cannot be told from it.

    `decodable` corrects for having looked at every depth (Bonferroni); `alike` are the states whose difference to the
    peak has an interval with 0 in it.
    """
    state = int(curves.selectivity.argmax())
    drawn = percentile_interval(curves.selectivities.argmax(axis=1).astype(np.float64), LEVEL)
    lowest = percentile_interval(
        curves.selectivities[:, state], 1 - (1 - LEVEL) / len(curves.selectivity)
    ).low
    below = curves.selectivities[:, state : state + 1] - curves.selectivities
    alike = [at for at in range(below.shape[1]) if percentile_interval(below[:, at], LEVEL).low <= 0]
    return {
        "state": state,
        "layer": _layer(state),
        "low": _layer(int(drawn.low)),
        "high": _layer(int(drawn.high)),
        "selectivity": float(curves.selectivity[state]),
        "decodable": bool(lowest > 0),
        "alike": alike,
    }


def _expected(curves: Curves, peak: Mapping[str, Any], layers: Sequence[int]) -> dict[str, Any]:
    """How many layers the peak is away from the nearest of `layers` (0 inside), and whether that is more than 3."""
    drawn = np.array([_away(_layer(int(state)), layers) for state in curves.selectivities.argmax(axis=1)])
    reach = percentile_interval(drawn.astype(np.float64), LEVEL)
    if not peak["decodable"] or peak["state"] == 0:  # no layer, or none beyond the words themselves
        verdict = "cannot tell"
    elif reach.low > MISALIGNED:
        verdict = "misaligned"
    else:
        verdict = "not misaligned" if reach.high <= MISALIGNED else "cannot tell"
    return {
        "distance": _away(peak["layer"], layers),
        "low": int(reach.low),
        "high": int(reach.high),
        "share_beyond": float((drawn > MISALIGNED).mean()),
        "limit": MISALIGNED,
        "verdict": verdict,
    }


def _layer(state: int) -> int:
    """The layer that a state leaves; the embeddings, which enter layer 0, count as it."""
    return max(state - 1, 0)


def _away(layer: int, layers: Sequence[int]) -> int:
    return min(abs(layer - other) for other in layers)


def _preference(states: States, clusters: Sequence[str]) -> Examples:
    kept = np.isfinite(states.responses[:, :2]).all(axis=(1, 2, 3))
    chosen, rejected = states.responses[kept, 0], states.responses[kept, 1]
    lengths = (states.lengths[kept, 0] - states.lengths[kept, 1]).astype(np.float64)[:, None]
    return Examples(chosen - rejected, None, tuple(np.array(clusters)[kept].tolist()), lengths)


def _examples(
    task: Task, states: States, prompt_lengths: Sequence[int], clusters: Sequence[str], folds: int
) -> tuple[Examples | None, list[str]]:
    """What a task's probe is given, and its classes' names; None where fewer than two labels occur often enough."""
    features: NDArray[np.float32]
    if task.of == "prompt":
        features, labels = states.prompt, list(task.labels)
        lengths: Floats = np.array(prompt_lengths, dtype=np.float64)
        owners = list(clusters)
    else:
        branches = states.responses.shape[1]
        features = states.responses.reshape(-1, *states.responses.shape[2:])
        labels = [label for row in task.labels for label in row[:branches]]
        lengths = states.lengths.reshape(-1).astype(np.float64)
        owners = [name for name in clusters for _ in range(branches)]
    there: NDArray[np.bool_] = np.asarray(np.isfinite(features).all(axis=(1, 2)))
    homes: dict[Hashable, set[str]] = {}
    for label, owner, known in zip(labels, owners, there, strict=True):
        if label is not None and known:
            homes.setdefault(label, set()).add(owner)
    counts = Counter({label: len(own) for label, own in homes.items()})
    classes = sorted((label for label, count in counts.items() if count >= folds), key=str)
    kept = [i for i, label in enumerate(labels) if label in classes and there[i]]
    if len(classes) < 2:
        return None, []
    codes = np.array([classes.index(labels[i]) for i in kept], dtype=np.int64)
    found = Examples(features[kept], codes, tuple(owners[i] for i in kept), lengths[kept][:, None])
    return found, [str(label) for label in classes]
