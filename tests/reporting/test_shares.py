"""Shares of full's gain on one measure: by hand, mean over seeds, refused without a gain, beside random draws."""

from __future__ import annotations

import random

import pytest
from fake_studies import score

from stratalign.reporting.comparisons.comparing import score_table
from stratalign.reporting.comparisons.contrasts import Measure
from stratalign.reporting.comparisons.shares import one_more_draw, shares_of_full

FLUENCY = Measure("text", "text", "fluency", "share", "higher", "")


def table(values, seeds=(0,)):
    """Scores by condition; a condition's values are by prompt, the same under every seed."""
    rows = [
        score(name if len(seeds) == 1 else f"{name}@{seed}", n, value, seed=seed)
        for name, column in values.items()
        for n, value in enumerate(column)
        for seed in seeds
    ]
    return score_table(rows, {row.run: row.run.partition("@")[0] for row in rows})


def noisy(gain, seed, prompts=40):
    noise = random.Random(seed)
    return [gain + noise.gauss(0, 0.1) for _ in range(prompts)]


def test_a_share_is_the_condition_s_mean_gain_over_full_s():
    # Gains over base by prompt: full 2, 4, 2, 4, 2, 4, 2, 4 (mean 3), half 1, 2, 1, 2, ... (mean 1.5).
    values = {"base": [1.0] * 8, "full": [3.0, 5.0] * 4, "half": [2.0, 3.0] * 4}
    found = shares_of_full(table(values), FLUENCY, "full", ["half"])
    (half,) = found.conditions
    assert (found.full_gain, found.why_none, found.band) == (3.0, None, None)
    assert (half.gain, half.share, half.n, half.standing) == (1.5, 0.5, 8, None)
    assert (half.low, half.high) == (0.5, 0.5)  # always half of full, whichever prompts are drawn


def test_lower_is_better_turns_both_gains():
    values = {"base": [5.0] * 8, "full": [3.0, 1.0] * 4, "half": [4.0, 3.0] * 4}
    lower = FLUENCY._replace(better="lower")
    found = shares_of_full(table(values), lower, "full", ["half"])
    assert (found.full_gain, found.conditions[0].gain, found.conditions[0].share) == (3.0, 1.5, 0.5)
    with pytest.raises(ValueError, match="no better direction"):
        shares_of_full(table(values), FLUENCY._replace(better=None), "full", ["half"])


def test_seeds_are_stacked_and_a_base_of_one_seed_serves_all():
    rows = [score("base", n, 1.0) for n in range(8)]
    for seed, full, half in ((0, 2.0, 1.5), (1, 4.0, 1.5)):
        rows += [score(f"full@{seed}", n, full, seed=seed) for n in range(8)]
        rows += [score(f"half@{seed}", n, half, seed=seed) for n in range(8)]
    found = shares_of_full(
        score_table(rows, {row.run: row.run.partition("@")[0] for row in rows}), FLUENCY, "full", ["half"]
    )
    # full gains 1 and 3, mean 2; half gains 0.5 under both: 0.25, over 16 rows in 8 clusters.
    assert (found.full_gain, found.conditions[0].share) == (2.0, 0.25)
    assert (found.conditions[0].n, found.conditions[0].clusters) == (16, 8)


def test_no_share_where_full_gains_nothing_or_loses_but_gains_stand():
    base = noisy(0, 1)
    as_good = [value + 0.1 * (-1) ** n for n, value in enumerate(base)]
    nothing = shares_of_full(
        table({"base": base, "full": as_good, "a": noisy(0.3, 3)}), FLUENCY, "full", ["a"]
    )
    assert nothing.why_none.startswith("Cannot tell: full's own gain on fluency")
    assert nothing.conditions[0].share is None
    assert nothing.conditions[0].gain == pytest.approx(0.3, abs=0.1)
    worse = shares_of_full(
        table({"base": base, "full": noisy(-1, 2), "a": noisy(0.3, 3)}), FLUENCY, "full", ["a"]
    )
    assert "does worse than base" in worse.why_none
    unscored = shares_of_full(table({"base": base, "a": noisy(0.3, 3)}), FLUENCY, "full", ["a"])
    assert "No answers of full and base" in unscored.why_none


def test_above_means_above_every_draw_for_certain():
    values = {
        "base": noisy(0, 1),
        "full": noisy(1, 2),
        "high": noisy(0.9, 3),
        "between": noisy(0.5, 4),
        "like-one": noisy(0.62, 5),
        "low": noisy(0.1, 6),
        "draw-1": noisy(0.4, 7),
        "draw-2": noisy(0.6, 8),
    }
    found = shares_of_full(
        table(values), FLUENCY, "full", ["high", "between", "like-one", "low"], ["draw-1", "draw-2", "gone"]
    )
    standing = {one.condition: one.standing for one in found.conditions}
    assert standing == {
        "high": "above",
        "between": "cannot tell",
        "like-one": "cannot tell",
        "low": "below",
    }
    assert [one.condition for one in found.band.draws] == ["draw-1", "draw-2"]
    assert found.band.lowest == found.band.draws[0].share < found.band.mean < found.band.highest
    # The mean of both draws' shares, as all rows are there: (0.4 + 0.6) / 2 of full's 1, within the noise.
    assert found.band.mean == pytest.approx((found.band.lowest + found.band.highest) / 2)
    assert one_more_draw(len(found.band.draws)).endswith("all 2 of these with a chance of 1 in 3")


def test_a_row_without_full_s_score_counts_for_nobody():
    values = {"base": [0.0] * 9, "full": [2.0] * 8 + [None], "half": [1.0] * 8 + [900.0]}
    (half,) = shares_of_full(table(values), FLUENCY, "full", ["half"]).conditions
    assert (half.share, half.n, half.missing) == (0.5, 8, 1)
