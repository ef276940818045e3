"""Statistics of paired, clustered scores: win rates, intervals, standard errors, and what a sample could have seen.

Plain numbers in, plain numbers out; knows nothing of models, judges, files or pages.
"""

from stratalign.stats.clustered import ClusteredMean, clustered_mean
from stratalign.stats.paired import Comparison, compare, compare_dimensions
from stratalign.stats.surety import Verdict, smallest_detectable, verdict

__all__ = [
    "ClusteredMean",
    "Comparison",
    "Verdict",
    "clustered_mean",
    "compare",
    "compare_dimensions",
    "smallest_detectable",
    "verdict",
]
