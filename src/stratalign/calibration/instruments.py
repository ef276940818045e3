"""Every instrument on one world: what each names. One loaded model, one joint pass and one evaluation serve all.

The joint pass trains each layer alone, and all layers together from several draws of LoRA's start. Knows nothing of how
the world was made, except for the pairs that it holds back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from stratalign.blocks import Site, expand_conditions, resolve_condition
from stratalign.calibration.worlds import World
from stratalign.diagnostics import (
    GradientSettings,
    LowRank,
    SignificanceSettings,
    measure_deltas,
    measure_gradients,
    measure_significance,
    measure_weights,
)
from stratalign.diagnostics.naming import effect_sizes, name_by_draws, name_by_rows, positive_p
from stratalign.engine import JointEngine
from stratalign.models import AdapterBank, AdapterSpec, LoadedModel, weight_norm
from stratalign.preferences import Tree
from stratalign.records import LogProbRecord
from stratalign.training import OVERRIDE_KEYS, Run, TrainingSettings, evaluate, plan_steps, train

BASE = "base"
GRADIENTS = {
    "gradient norm": "norm",
    "relative gradient (Auto-RGN)": "relative",
    "gradient share over sft's": "over_baseline",
    "gradient signal to noise": "signal_to_noise",
}
SIGNIFICANCE = {
    "learned score (ILA)": "score",
    "slope at the base": "slope_at_base",
    "slope at the trained model": "slope_at_trained",
    "leave one layer out": "without_layer",
    "leave one layer out, over its spread": "without_layer_over_spread",
}
PROFILE = "profile, window 1"
PROFILE_OVER_SPREAD = "profile, margin over its spread"
DELTA = "adapter delta"
WEIGHTS = "weights' signal to noise"
GATED = "weights' signal to noise, where gradients agree"
INSTRUMENTS = (*GRADIENTS, PROFILE, PROFILE_OVER_SPREAD, *SIGNIFICANCE, DELTA, WEIGHTS, GATED)


class InstrumentSettings(BaseModel):
    """How the instruments are used on a world; all are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chunks: int = Field(16, ge=4, description="of the gradients")
    learning_rate: float = Field(1.5e-3, gt=0)
    batch_size: int = Field(8, ge=1)
    rank: int = Field(8, ge=1)
    pairs: int = Field(96, ge=8, description="to train on; gradients read all")
    draws: int = Field(2, ge=2, description="of LoRA's start, for the trainings of all layers")
    score_steps: int = Field(6, ge=2, description="of the scores' descent")
    score_batch: int = Field(12, ge=1, description="pairs in such a step")
    quick: bool = Field(False, description="gradients and profile alone")

    @property
    def training(self) -> TrainingSettings:
        """Those of the micro-world's study, on every linear module, at this rate."""
        return TrainingSettings(
            learning_rate=self.learning_rate,
            warmup=0.1,
            batch_size=self.batch_size,
            gradient_accumulation=1,
            rank=self.rank,
            alpha=2 * self.rank,
            targets=["linear"],
            checkpoint_every=10**6,
        )


QUICK = InstrumentSettings(quick=True, pairs=48)
"""Those that end the demo."""


def look(
    loaded: LoadedModel, sites: Sequence[Site], world: World, settings: InstrumentSettings
) -> dict[str, dict[str, Any]]:
    """Instrument -> what it names, as `Naming.describe` has it; the loaded model is the world's."""
    layers = sorted({site.layer for site in sites})
    blocks = {"all": layers}
    runs = make_runs(sites, settings)
    bank = AdapterBank(loaded.model)
    training = settings.training
    found: dict[str, dict[str, Any]] = {}
    odd = None if settings.quick else odd_weights(loaded, sites)  # before modules are wrapped
    bank.attach(AdapterSpec(BASE, (), training.rank, training.alpha))
    for run in runs:
        bank.attach(AdapterSpec(run.id, run.condition.modules, training.rank, training.alpha, seed=run.seed))
    engine = JointEngine(
        loaded.anatomy, bank, {run.id: run.first_layer(len(layers)) for run in runs} | {BASE: 0}
    )
    gradients = measure_gradients(
        engine,
        BASE,
        sites,
        blocks,
        {"world": world.train},
        training.objective,
        GradientSettings(pairs=len(world.train), chunks=settings.chunks),
        seed=0,
    )
    of_loss = gradients["sources"]["world"]["losses"][training.loss]["named"]
    found |= {name: of_loss[signal] for name, signal in GRADIENTS.items()}
    if odd is not None:
        agree = of_loss["norm"]["signal_p"]
        kinds = range(len(odd))
        found[WEIGHTS] = name_by_rows(odd, kinds, layers).describe()
        found[GATED] = name_by_rows(odd, kinds, layers, agree).describe()
    seen = world.train[: settings.pairs]
    with tempfile.TemporaryDirectory() as folder:
        train(
            engine,
            runs,
            seen,
            plan_steps(len(seen), training, seed=0),
            log=Path(folder) / "training.jsonl",
            checkpoint=Path(folder) / "checkpoint.safetensors",
        )
    alone = [run.id for run in runs if run.id.startswith("layer")]
    whole = [run.id for run in runs if run.id.startswith("all")]
    margins = held_back_margins(engine, [*alone, *whole[:1]], world.held_back)
    gains = np.log(2) - np.logaddexp(0, -training.beta * margins)  # DPO's loss of the base is log 2
    clusters = [tree.cluster for tree in world.held_back]
    by_gain = name_by_rows(gains[:, : len(alone)], clusters, layers)
    by_margin = name_by_rows(margins[:, : len(alone)], clusters, layers, by_gain.signal_p, effect_sizes)
    found |= {PROFILE: by_gain.describe(), PROFILE_OVER_SPREAD: by_margin.describe()}
    if settings.quick:
        return found
    deltas = np.stack([delta_sizes(engine, run, sites) for run in whole])
    found[DELTA] = name_by_draws(deltas, layers, positive_p(gains[:, -1], clusters)).describe()
    significance = measure_significance(
        engine,
        whole[0],
        sites,
        blocks,
        seen,
        world.held_back,
        training.objective,
        SignificanceSettings(steps=settings.score_steps, batch=settings.score_batch),
    )
    found |= {name: significance["named"][signal] for name, signal in SIGNIFICANCE.items()}
    return {name: found[name] for name in INSTRUMENTS}


def make_runs(sites: Sequence[Site], settings: InstrumentSettings) -> list[Run]:
    """A run for each layer alone, and, unless it is to be quick, one on all layers for each draw of LoRA's start."""
    layers = sorted({site.layer for site in sites})
    conditions: dict[str, Any] = {f"layer-{layer}": {"layers": [layer]} for layer in layers}
    if not settings.quick:
        conditions["all"] = {"block": "full"}
    training, runs = settings.training, []
    for spec in expand_conditions(conditions, OVERRIDE_KEYS):
        condition = resolve_condition(
            spec,
            sites,
            {},
            learning_rate=settings.learning_rate,
            targets=training.targets,
            rank=training.rank,
        )
        seeds = range(settings.draws) if spec.name == "all" else [0]
        runs += [
            Run(f"all@{seed}" if spec.name == "all" else spec.name, condition, seed, training)
            for seed in seeds
        ]
    return runs


def held_back_margins(
    engine: JointEngine, runs: Sequence[str], trees: Sequence[Tree]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far each run moved the preference for chosen over rejected, [rows, runs], in nats."""
    found: dict[str, list[float]] = {run: [] for run in runs}
    for record in evaluate(engine, runs, trees):
        found[record.run].append(_margin(record))
    return np.array([found[run] for run in runs]).T


def delta_sizes(
    engine: JointEngine, run: str, sites: Sequence[Site]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Norm of a run's update over that of the weights, for each layer [L]."""
    own, spec = engine.bank.parameters(run), engine.bank.specs[run]

    def update(module: str) -> LowRank:
        a, b = (own[f"{module}.lora_{side}.weight"] for side in "AB")
        return LowRank(a, b, spec.alpha / spec.rank)

    weights = {site.name: weight_norm(engine.model, site.name) for site in sites}
    return np.array([row["relative"] for row in measure_deltas(update, sites, weights, {}, run)["layers"]])


def odd_weights(loaded: LoadedModel, sites: Sequence[Site]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far each weight stands out of noise among its kind, [kinds, L]: from -0.5 to 0.5, 0 in the middle.

    Reads no preference, so what it names may be odd for any reason. Asked alone, the test of signal is that a layer
    surely lies above the middle of its kind; asked where gradients agree, that there is a preference at all.
    """
    layers = sorted({site.layer for site in sites})
    measured = measure_weights(loaded.model, sites, {"all": layers})
    places = {row["module"]: row["snr_in_kind"] for row in measured["modules"]}
    kinds = list(dict.fromkeys(site.kind for site in sites))
    values = np.zeros((len(kinds), len(layers)))
    for site in sites:
        place = places[site.name]
        values[kinds.index(site.kind), layers.index(site.layer)] = 0.0 if place is None else place - 0.5
    return values


def _margin(record: LogProbRecord) -> float:
    assert record.rejected is not None
    assert record.base_rejected is not None
    return (record.chosen - record.base_chosen) - (record.rejected - record.base_rejected)
