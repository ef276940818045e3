"""What a plan warns of: too few steps to expect an effect of, too few held-out rows to see one."""

from __future__ import annotations

import math

from stratalign import stats
from stratalign.preferences import PreferenceSettings
from stratalign.training import TrainingSettings

FEW_STEPS = 30
FEW_CLUSTERS = 100
_PAPER_PAIRS = PreferenceSettings.model_fields["train"].default
_PAPER_STEP = math.prod(
    TrainingSettings.model_fields[key].default for key in ("batch_size", "gradient_accumulation")
)


def size_warnings(steps: int, held_out: int, clusters: int) -> list[str]:
    """Sentences on a study's size, each with its number and what it is held against.

    Args:
        steps: optimizer steps of a run.
        held_out: rows that the verdict sees.
        clusters: groups of them that are independent of each other.
    """
    found = []
    if steps < FEW_STEPS:
        found.append(
            f"Few optimizer steps: {steps}. The paper trains {math.ceil(_PAPER_PAIRS / _PAPER_STEP)} "
            f"({_PAPER_PAIRS:,} pairs, {_PAPER_STEP} in a step)."
        )
    if not held_out:
        found.append("No rows are held out (preferences.held_out).")
    elif clusters < FEW_CLUSTERS:
        error = stats.expected_error(stats.sign_deviation(0), clusters)
        found.append(
            f"Few held-out rows: {held_out} in {clusters} clusters. As many independent prompts without ties find a "
            f"net win rate of {stats.detectable_effect(error):.2f} with probability 0.8, and a smaller one more rarely "
            f"(stratalign power --prompts {clusters} --ties 0)."
        )
    return found
