"""plan(recipe), then the stages of a study; verify, which holds our training against stock TRL; and pairs, which makes
preferences."""

from stratalign.pipeline.diagnosing import Diagnosis, compare_records, diagnose
from stratalign.pipeline.pairing import PairsMade, pairs
from stratalign.pipeline.parity import Agreement, Parity, verify
from stratalign.pipeline.planned import Plan
from stratalign.pipeline.verbs import (
    calibrate_judge,
    estimate_judging,
    generate,
    judge,
    label_template,
    plan,
    study,
    train,
)

__all__ = [
    "Agreement",
    "Diagnosis",
    "PairsMade",
    "Parity",
    "Plan",
    "calibrate_judge",
    "compare_records",
    "diagnose",
    "estimate_judging",
    "generate",
    "judge",
    "label_template",
    "pairs",
    "plan",
    "study",
    "train",
    "verify",
]
