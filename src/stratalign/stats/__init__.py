"""Statistics of paired, clustered scores: win rates, intervals, p values, and what a sample could have seen.

Plain numbers in, plain numbers out; knows nothing of models, judges, files or pages.
"""

from stratalign.stats.clustered import ClusteredMean, clustered_mean
from stratalign.stats.flips import sign_flip_p_values
from stratalign.stats.multiplicity import holm
from stratalign.stats.overlap import Overlap, overlap, rank_correlation
from stratalign.stats.paired import Comparison, compare, compare_dimensions
from stratalign.stats.surety import Verdict, detectable_effect, smallest_detectable, verdict

__all__ = [
    "ClusteredMean",
    "Comparison",
    "Overlap",
    "Verdict",
    "clustered_mean",
    "compare",
    "compare_dimensions",
    "detectable_effect",
    "holm",
    "overlap",
    "rank_correlation",
    "sign_flip_p_values",
    "smallest_detectable",
    "verdict",
]
