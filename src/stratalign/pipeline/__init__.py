"""plan(recipe), then the stages of a study; and verify, which holds our training against stock TRL."""

from stratalign.pipeline.diagnosing import Diagnosis, compare_records, diagnose
from stratalign.pipeline.parity import Agreement, Parity, verify
from stratalign.pipeline.planning import Plan
from stratalign.pipeline.verbs import generate, judge, plan, study, train

__all__ = [
    "Agreement",
    "Diagnosis",
    "Parity",
    "Plan",
    "compare_records",
    "diagnose",
    "generate",
    "judge",
    "plan",
    "study",
    "train",
    "verify",
]
