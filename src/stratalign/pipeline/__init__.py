"""plan(recipe), then the stages of a study; verify, which holds our training against stock TRL; and pairs, which makes
preferences."""

from stratalign.pipeline.pairing import PairsMade, pairs
from stratalign.pipeline.parity import Agreement, Parity, verify
from stratalign.pipeline.planning import Plan
from stratalign.pipeline.verbs import generate, judge, plan, study, train

__all__ = [
    "Agreement",
    "PairsMade",
    "Parity",
    "Plan",
    "generate",
    "judge",
    "pairs",
    "plan",
    "study",
    "train",
    "verify",
]
