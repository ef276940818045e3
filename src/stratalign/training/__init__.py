"""Training: settings, schedules, the joint loop, checkpoints, held-out evaluation and the proof."""

from stratalign.training.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from stratalign.training.evaluation import evaluate
from stratalign.training.loop import Trained, train
from stratalign.training.proving import Check, Proof, base_unchanged, reload_and_compare, saved, witnessed
from stratalign.training.references import compute_references, reference_key, stored_references
from stratalign.training.runs import Run, phase_bounds
from stratalign.training.schedules import MicroBatch, plan_steps, rate_factor
from stratalign.training.settings import LOSS_KEYS, OVERRIDE_KEYS, SHARED_KEYS, TrainingSettings

__all__ = [
    "LOSS_KEYS",
    "OVERRIDE_KEYS",
    "SHARED_KEYS",
    "Check",
    "Checkpoint",
    "MicroBatch",
    "Proof",
    "Run",
    "Trained",
    "TrainingSettings",
    "base_unchanged",
    "compute_references",
    "evaluate",
    "phase_bounds",
    "plan_steps",
    "rate_factor",
    "read_checkpoint",
    "reference_key",
    "reload_and_compare",
    "saved",
    "stored_references",
    "train",
    "witnessed",
    "write_checkpoint",
]
