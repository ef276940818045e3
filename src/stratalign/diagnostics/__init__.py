"""Diagnoses: instruments that look at a model and its preferences and leave a record. They train nothing that lasts.

One file for each kind, with its settings. An instrument gets an engine, sites and trees, and gives back plain numbers;
what recipes, folders and runs are, it does not know. To add a kind: write its file, enter it in `KINDS` and in
`DiagnosticsSettings`, and tell `pipeline/diagnosing.py` what it is to be given.
"""

from stratalign.diagnostics.consecutive import GateStep, describe_gate_step, gate_steps
from stratalign.diagnostics.deltas import DeltaSettings, LowRank, Update, measure_deltas, relative_sizes
from stratalign.diagnostics.gates import gate_slopes, gated_losses
from stratalign.diagnostics.gradients import GradientSettings, gradient_signals, measure_gradients
from stratalign.diagnostics.settings import KINDS, DiagnosticsSettings
from stratalign.diagnostics.significance import (
    SignificanceSettings,
    compare_important,
    heatmap,
    learn_scores,
    measure_significance,
    minibatches,
)
from stratalign.diagnostics.stages import measure_stages
from stratalign.diagnostics.weights import WeightSettings, measure_weights

__all__ = [
    "KINDS",
    "DeltaSettings",
    "DiagnosticsSettings",
    "GateStep",
    "GradientSettings",
    "LowRank",
    "SignificanceSettings",
    "Update",
    "WeightSettings",
    "compare_important",
    "describe_gate_step",
    "gate_slopes",
    "gate_steps",
    "gated_losses",
    "gradient_signals",
    "heatmap",
    "learn_scores",
    "measure_deltas",
    "measure_gradients",
    "measure_significance",
    "measure_stages",
    "measure_weights",
    "minibatches",
    "relative_sizes",
]
