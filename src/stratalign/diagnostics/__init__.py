"""Diagnoses: instruments that look at a model and its preferences and leave a record. They train nothing that lasts.

One file for each kind, with its settings. An instrument gets an engine, sites and trees, and gives back plain numbers;
what recipes, folders and runs are, it does not know. To add a kind: write its file, enter it in `KINDS` and in
`DiagnosticsSettings`, and tell `pipeline/measuring.py` what it is to be given.
"""

from stratalign.diagnostics.activations import (
    States,
    pooled_states,
)
from stratalign.diagnostics.chunks import (
    draw_rows,
)
from stratalign.diagnostics.consecutive import (
    GateStep,
    describe_gate_step,
    gate_steps,
)
from stratalign.diagnostics.deltas import (
    DeltaSettings,
    LowRank,
    Update,
    measure_deltas,
    relative_sizes,
)
from stratalign.diagnostics.gates import (
    gate_slopes,
    gated_losses,
)
from stratalign.diagnostics.gradients import (
    GradientSettings,
    gradient_signals,
    measure_gradients,
)
from stratalign.diagnostics.patching import (
    PatchingSettings,
    measure_patching,
)
from stratalign.diagnostics.probes import (
    ProbeSettings,
    Task,
    measure_probes,
)
from stratalign.diagnostics.profile import (
    FULL,
    HeldBack,
    describe_profile,
    hold_back,
    per_cluster,
    run_losses,
)
from stratalign.diagnostics.settings import (
    KINDS,
    DiagnosticsSettings,
)
from stratalign.diagnostics.significance import (
    SignificanceSettings,
    compare_important,
    heatmap,
    learn_scores,
    measure_significance,
    minibatches,
)
from stratalign.diagnostics.similarity import (
    SimilaritySettings,
    measure_similarity,
)
from stratalign.diagnostics.stages import (
    measure_stages,
)
from stratalign.diagnostics.weights import (
    WeightSettings,
    measure_weights,
)
from stratalign.diagnostics.world_labels import (
    world_tasks,
)

__all__ = [
    "FULL",
    "KINDS",
    "DeltaSettings",
    "DiagnosticsSettings",
    "GateStep",
    "GradientSettings",
    "HeldBack",
    "LowRank",
    "PatchingSettings",
    "ProbeSettings",
    "SignificanceSettings",
    "SimilaritySettings",
    "States",
    "Task",
    "Update",
    "WeightSettings",
    "compare_important",
    "describe_gate_step",
    "describe_profile",
    "draw_rows",
    "gate_slopes",
    "gate_steps",
    "gated_losses",
    "gradient_signals",
    "heatmap",
    "hold_back",
    "learn_scores",
    "measure_deltas",
    "measure_gradients",
    "measure_patching",
    "measure_probes",
    "measure_significance",
    "measure_similarity",
    "measure_stages",
    "measure_weights",
    "minibatches",
    "per_cluster",
    "pooled_states",
    "relative_sizes",
    "run_losses",
    "world_tasks",
]
