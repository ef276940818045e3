"""Statistics of paired, clustered scores: win rates, intervals, p values, agreement of judges, and what a sample
could have seen.

Plain numbers in, plain numbers out; knows nothing of models, judges, files or pages.
"""

from stratalign.stats.agreement import Agreement, exact_agreement, krippendorff_alpha, quadratic_kappa
from stratalign.stats.clustered import ClusteredMean, clustered_mean
from stratalign.stats.flips import sign_flip_p_values
from stratalign.stats.multiplicity import holm
from stratalign.stats.paired import Comparison, compare, compare_dimensions
from stratalign.stats.power import (
    chance_to_find,
    design_effect,
    difference_deviation,
    expected_error,
    prompts_needed,
    sign_deviation,
)
from stratalign.stats.spread import Spread, spread
from stratalign.stats.summary import SummaryDifference, summary_difference
from stratalign.stats.surety import Verdict, detectable_effect, smallest_detectable, verdict

__all__ = [
    "Agreement",
    "ClusteredMean",
    "Comparison",
    "Spread",
    "SummaryDifference",
    "Verdict",
    "chance_to_find",
    "clustered_mean",
    "compare",
    "compare_dimensions",
    "design_effect",
    "detectable_effect",
    "difference_deviation",
    "exact_agreement",
    "expected_error",
    "holm",
    "krippendorff_alpha",
    "prompts_needed",
    "quadratic_kappa",
    "sign_deviation",
    "sign_flip_p_values",
    "smallest_detectable",
    "spread",
    "summary_difference",
    "verdict",
]
