"""Numbers that two versions of a paper print: facts with their places, and nothing computed.

Hierarchical Alignment, arXiv:2510.12044, version 2 (means of the Overall score, 1 to 5, judged by Qwen3-Max), and
what a public review of version 1 quotes of it (net win rates against base). Version 1 itself was not at hand.
"""

from __future__ import annotations

from typing import NamedTuple

STRATEGIES = ("base", "local", "mid", "global", "full")


class Pooled(NamedTuple):
    """Mean and standard deviation over all four models' answers."""

    mean: float
    deviation: float


POOLED = {
    "base": Pooled(2.765, 1.340),
    "local": Pooled(3.013, 1.269),
    "mid": Pooled(3.002, 1.273),
    "global": Pooled(2.808, 1.338),
    "full": Pooled(3.067, 1.253),
}
"""Version 2, Table 2; 4,000 answers each."""

PROMPTS, MODELS = 1000, 4
"""Version 2, section 4.1 and the captions of Tables 2 and 3: the held-out prompts, answered by every model."""

BEST = {
    "Qwen2.5-7B": {"mid": 3.534, "full": 3.514, "local": 3.462, "base": 3.414, "global": 3.413},
    "Qwen3-8B": {"global": 3.329, "base": 3.306, "mid": 3.270, "full": 3.264, "local": 3.240},
}
"""Version 2, Table 3: the ten best of twenty, which happen to be all of two models; 1,000 answers each."""

ANCHOR = 3.0
"""Version 2, Appendix D: the score of the mediocre case that the judge is shown."""

VERSION_1 = {
    ("local", "grammar"): 0.52,
    ("global", "grammar"): 0.63,
    ("full", "grammar"): 0.62,
    ("global", "factuality"): 0.07,
    ("global", "coherence"): 0.10,
    ("mid", "coherence"): -0.03,
    ("full", "coherence"): -0.12,
}
"""Net win rates against base, as the review quotes them from sections 4.1 and 4.2 of version 1."""
