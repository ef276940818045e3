"""Statistics of paired, clustered scores: win rates, intervals, p values, and what a sample could have seen.

Plain numbers in, plain numbers out; knows nothing of models, judges, files or pages.
"""

from stratalign.stats.clustered import ClusteredMean, clustered_mean
from stratalign.stats.correlation import correlations
from stratalign.stats.drift import MatchedGains, gain_at_kl, matched_gains
from stratalign.stats.flips import cluster_flip_p_values, sign_flip_p_values
from stratalign.stats.lengths import AtEqualLength, LengthControlled, length_controlled
from stratalign.stats.margins import MarginTest, Statistic, within_margin, within_margins
from stratalign.stats.missing import Bounds, missing_bounds
from stratalign.stats.multiplicity import holm
from stratalign.stats.paired import Comparison, DifferenceTests, compare, compare_dimensions, difference_tests
from stratalign.stats.ranks import wilcoxon_p_value
from stratalign.stats.seeds import SeedLevel, seed_level
from stratalign.stats.surety import (
    Verdict,
    detectable_effect,
    detectable_net_win_rate,
    least_detectable,
    smallest_detectable,
    verdict,
)

__all__ = [
    "AtEqualLength",
    "Bounds",
    "ClusteredMean",
    "Comparison",
    "DifferenceTests",
    "LengthControlled",
    "MarginTest",
    "MatchedGains",
    "SeedLevel",
    "Statistic",
    "Verdict",
    "cluster_flip_p_values",
    "clustered_mean",
    "compare",
    "compare_dimensions",
    "correlations",
    "detectable_effect",
    "detectable_net_win_rate",
    "difference_tests",
    "gain_at_kl",
    "holm",
    "least_detectable",
    "length_controlled",
    "matched_gains",
    "missing_bounds",
    "seed_level",
    "sign_flip_p_values",
    "smallest_detectable",
    "verdict",
    "wilcoxon_p_value",
    "within_margin",
    "within_margins",
]
