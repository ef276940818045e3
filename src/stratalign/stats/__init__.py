"""Statistics of paired, clustered scores: win rates, intervals, p values, agreement of judges, and what a sample
could have seen.

Plain numbers in, plain numbers out; knows nothing of models, judges, files or pages.
"""

from stratalign.stats.agreement import (
    Agreement,
    exact_agreement,
    krippendorff_alpha,
    quadratic_kappa,
)
from stratalign.stats.beside import (
    BesideAll,
    beside_all,
)
from stratalign.stats.bootstrap import (
    FEW_CLUSTERS,
    Interval,
    clustered_interval,
    percentile_interval,
    resampled_sums,
)
from stratalign.stats.clustered import (
    ClusteredMean,
    clustered_mean,
)
from stratalign.stats.correlation import (
    correlations,
)
from stratalign.stats.drift import (
    MatchedGains,
    gain_at_kl,
    matched_gains,
)
from stratalign.stats.flips import (
    cluster_flip_p_values,
    sign_flip_p_values,
)
from stratalign.stats.lengths import (
    AtEqualLength,
    LengthControlled,
    length_controlled,
    lengths_controlled,
)
from stratalign.stats.margins import (
    MarginTest,
    Statistic,
    within_margin,
    within_margins,
)
from stratalign.stats.missing import (
    Bounds,
    missing_bounds,
)
from stratalign.stats.multiplicity import (
    holm,
)
from stratalign.stats.overlap import (
    Overlap,
    overlap,
    rank_correlation,
)
from stratalign.stats.paired import (
    Comparison,
    DifferenceTests,
    compare,
    compare_dimensions,
    difference_tests,
)
from stratalign.stats.power import (
    chance_to_find,
    design_effect,
    difference_deviation,
    error_at,
    expected_error,
    prompts_needed,
    sign_deviation,
)
from stratalign.stats.ranks import (
    wilcoxon_p_value,
)
from stratalign.stats.ratios import (
    MeanRatio,
    mean_ratios,
)
from stratalign.stats.seeds import (
    SeedLevel,
    seed_level,
)
from stratalign.stats.spread import (
    Spread,
    spread,
)
from stratalign.stats.summary import (
    SummaryDifference,
    summary_difference,
)
from stratalign.stats.surety import (
    Verdict,
    detectable_effect,
    detectable_net_win_rate,
    least_detectable,
    smallest_detectable,
    verdict,
)
from stratalign.stats.uncertainty import (
    RANDOM_SEEDS,
    Ends,
    Uncertainty,
    mean_uncertainty,
    selected_bounds,
)

__all__ = [
    "FEW_CLUSTERS",
    "RANDOM_SEEDS",
    "Agreement",
    "AtEqualLength",
    "BesideAll",
    "Bounds",
    "ClusteredMean",
    "Comparison",
    "DifferenceTests",
    "Ends",
    "Interval",
    "LengthControlled",
    "MarginTest",
    "MatchedGains",
    "MeanRatio",
    "Overlap",
    "SeedLevel",
    "Spread",
    "Statistic",
    "SummaryDifference",
    "Uncertainty",
    "Verdict",
    "beside_all",
    "chance_to_find",
    "cluster_flip_p_values",
    "clustered_interval",
    "clustered_mean",
    "compare",
    "compare_dimensions",
    "correlations",
    "design_effect",
    "detectable_effect",
    "detectable_net_win_rate",
    "difference_deviation",
    "difference_tests",
    "error_at",
    "exact_agreement",
    "expected_error",
    "gain_at_kl",
    "holm",
    "krippendorff_alpha",
    "least_detectable",
    "length_controlled",
    "lengths_controlled",
    "matched_gains",
    "mean_ratios",
    "mean_uncertainty",
    "missing_bounds",
    "overlap",
    "percentile_interval",
    "prompts_needed",
    "quadratic_kappa",
    "rank_correlation",
    "resampled_sums",
    "seed_level",
    "selected_bounds",
    "sign_deviation",
    "sign_flip_p_values",
    "smallest_detectable",
    "spread",
    "summary_difference",
    "verdict",
    "wilcoxon_p_value",
    "within_margin",
    "within_margins",
]
