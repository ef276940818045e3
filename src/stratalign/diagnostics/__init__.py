"""Diagnoses: instruments that look at a model and its preferences and leave a record. They train nothing that lasts.

One file for each kind, with its settings. An instrument gets an engine, sites and trees, and gives back plain numbers;
what recipes, folders and runs are, it does not know. To add a kind: write its file, enter it in `KINDS` and in
`DiagnosticsSettings`, and tell `pipeline/diagnosing.py` what it is to be given.
"""

from stratalign.diagnostics.consecutive import GateStep, describe_gate_step, gate_steps
from stratalign.diagnostics.gates import gate_slopes, gated_losses
from stratalign.diagnostics.gradients import GradientSettings, gradient_signals, measure_gradients
from stratalign.diagnostics.profile import (
    FULL,
    HeldBack,
    describe_profile,
    hold_back,
    per_cluster,
    run_losses,
)
from stratalign.diagnostics.settings import KINDS, DiagnosticsSettings
from stratalign.diagnostics.significance import (
    SignificanceSettings,
    compare_important,
    heatmap,
    learn_scores,
    measure_significance,
    minibatches,
)

__all__ = [
    "FULL",
    "KINDS",
    "DiagnosticsSettings",
    "GateStep",
    "GradientSettings",
    "HeldBack",
    "SignificanceSettings",
    "compare_important",
    "describe_gate_step",
    "describe_profile",
    "gate_slopes",
    "gate_steps",
    "gated_losses",
    "gradient_signals",
    "heatmap",
    "hold_back",
    "learn_scores",
    "measure_gradients",
    "measure_significance",
    "minibatches",
    "per_cluster",
    "run_losses",
]
