"""power: what prompts can see, from assumptions and from a study, against published and hand-worked numbers."""

import math

import pytest
from fake_studies import judges, manifest, score
from signed_studies import ALTERNATING, PROMPTS, signed_study

import stratalign as sa
from stratalign.errors import UserError
from stratalign.records import StudyFolder, write_json, write_scores, write_text

Z, Z80 = 1.959964, 0.841621
"""Normal quantiles at 1 - 0.05 / 2 and 0.8, from a table."""


def detectable(table, tests, effect="mean difference"):
    return [
        round(row.smallest_detectable, 3)
        for row in table.assumed
        if row.tests == tests and row.effect == effect
    ]


def test_the_smallest_mean_differences_of_1000_prompts_are_the_ones_worked_out_before():
    # (z + 0.841621) x 1.27 x sqrt(2 (1 - r) / 1000) for r = 0, 0.3, 0.5, 0.7;
    # z(1 - 0.05 / 2) = 1.959964, over 16 tests z(1 - 0.05 / 32) = 2.955167, over 64 3.359354.
    found = sa.power(1000, sd=1.27, tests=16)
    assert detectable(found, 1) == [0.159, 0.133, 0.113, 0.087]
    assert detectable(found, 16)[1:] == [0.180, 0.152, 0.118]
    assert detectable(sa.power(1000, sd=1.27, tests=64), 64)[1:] == [0.200, 0.169, 0.131]


def test_a_difference_of_0_02_needs_19000_to_44000_prompts():
    found = {row.correlation: row.prompts_needed for row in sa.power(effect=0.02, sd=1.27).assumed}
    assert found[0.7] == pytest.approx(19_000, rel=0.01)
    assert found[0.3] == pytest.approx(44_300, rel=0.01)
    assert {row.effect for row in sa.power(effect=0.02, sd=1.27).assumed} == {"mean difference"}


def test_net_win_rates_depend_on_ties_and_clusters_alone():
    # 36 % ties: sqrt(0.64 / 1000) = 0.0252982; clusters of 3 that correlate by 0.5 double the variance.
    (row,) = sa.power(1000, ties=0.36).assumed
    assert row.standard_error == pytest.approx(0.0252982, abs=1e-6)
    assert row.smallest_detectable == pytest.approx((Z + Z80) * 0.0252982, abs=1e-6)
    (row,) = sa.power(1000, ties=0.36, cluster_size=3, icc=0.5).assumed
    assert row.standard_error == pytest.approx(0.0252982 * math.sqrt(2), abs=1e-6)


def test_prompts_and_a_difference_give_the_power():
    # 0.1 / (0.8 / sqrt(400)) = 2.5; Phi(2.5 - 1.959964) = Phi(0.540036) = 0.70541
    (row,) = sa.power(400, net_win_rate=0.1, ties=0.36).assumed
    assert row.chance == pytest.approx(0.70541, abs=1e-4)
    # ((1.959964 + 0.841621) x 0.8 / 0.1)^2 = 502.3
    assert row.prompts_needed == 503


def test_a_net_win_rate_that_the_ties_leave_no_room_for_is_not_shown():
    assert [row.ties for row in sa.power(net_win_rate=0.5).assumed] == [0.0, 0.4]


def test_a_study_says_its_own_spread_ties_and_tests(tmp_path):
    # mid wins 6 of 12 and loses 6, all ties gone; local wins 9 and ties 3. Every prompt is its own cluster.
    nine = (1,) * 9 + (0,) * 3
    signed_study(tmp_path, {"mid": {"fluency": ALTERNATING}, "local": {"fluency": nine}})
    found = sa.power(study=tmp_path, prompts=4 * PROMPTS).observed
    local = next(
        row
        for row in found
        if (row.condition, row.against, row.dimension, row.effect)
        == ("local", "base", "fluency", "mean difference")
    )
    # Two conditions against base on what the preferences are meant to move.
    # Differences are 1 nine times and 0 three times: mean 0.75,
    # variance 12/11 x 0.75 x 0.25 = 0.204545, standard error sqrt(0.204545 / 12) = 0.130558. Alpha 0.05 / 2,
    # 11 degrees of freedom: t(1 - 0.05 / 4) = 2.5931 is passed with power 0.8 at a noncentrality of 3.492564.
    assert (local.prompts, local.clusters, local.ties, local.tests) == (12, 12, 0.25, 2)
    assert local.standard_error == pytest.approx(0.130558, abs=1e-6)
    assert local.design_effect == pytest.approx(1)
    assert local.correlation is None  # the base scores 0 throughout
    assert local.smallest_detectable == pytest.approx(3.492564 * 0.130558, abs=1e-5)
    assert local.prompts_needed == math.ceil(12 * (3.492564 * 0.130558 / 0.75) ** 2) == 5
    assert local.full == 48
    assert local.detectable_at_full == pytest.approx(local.smallest_detectable / 2)
    mid = next(row for row in found if row.condition == "mid" and row.dimension == "fluency")
    assert (mid.effect, mid.observed, mid.prompts_needed) == ("net win rate", 0.0, None)
    assert {(row.condition, row.against) for row in found} >= {("mid", "local"), ("mid", "base")}


def test_prompts_are_counted_once_however_many_seeds_answered_them_and_the_recipe_says_how_many_come(
    tmp_path,
):
    study = StudyFolder(tmp_path)
    write_json(study.manifest, manifest(["base", "mid"], seeds=(0, 1)))
    write_text(study.recipe, "preferences: {objective: [fluency], held_out: 40}\nconditions: [base, mid]\n")
    write_json(study.judges, judges(fluency="higher"))
    rows = [
        score(f"{condition}@{seed}", n, float(value(n, seed)), cluster=f"c{n // 2}", seed=seed)
        for condition, value in (
            ("base", lambda n, _: n % 5),
            ("mid", lambda n, seed: (n + n // 3 + seed) % 5),
        )
        for n in range(10)
        for seed in (0, 1)
    ]
    write_scores(study.scores, rows)
    rate, mean = sa.power(study=tmp_path).observed
    assert (rate.prompts, rate.clusters, rate.full, rate.tests) == (10, 5, 40, 1)
    # mid - base of prompts 0 to 9: (n + n // 3 + seed) % 5 - n % 5
    first = [0, 0, 0, 1, -4, 1, 2, 2, -3, -2]
    second = [1, 1, 1, -3, -3, 2, 3, -2, -2, -1]
    assert mean.observed == pytest.approx(sum(first + second) / 20)
    assert rate.ties == 3 / 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "which difference to look for"),
        ({"effect": 0.1}, "needs `sd`"),
        ({"prompts": 100, "correlation": 0.5}, "needs `sd`"),
        ({"prompts": 100, "cluster_size": 3}, "need `icc`"),
        ({"prompts": 100, "icc": 0.1}, "without `cluster_size`"),
        ({"net_win_rate": 0.0}, "difference of 0"),
        ({"net_win_rate": 0.5, "ties": 0.6}, "at most 0.4"),
        ({"prompts": 1}, "at least 2"),
        ({"prompts": 10, "sd": 0}, "`sd` is above 0"),
        ({"prompts": 10, "sd": 1, "correlation": 1}, "below 1"),
        ({"prompts": 10, "ties": 1.0}, "below 1"),
        ({"prompts": 10, "tests": 0}, "at least 1"),
        ({"prompts": 10, "power": 0.04}, "between 0.05 and 1"),
        ({"prompts": 10, "alpha": 0}, "between 0 and 1"),
        ({"prompts": 10, "cluster_size": 2, "icc": 1.5}, "between 0 and 1"),
        ({"prompts": 10, "sd": math.nan}, "`sd` must lie between"),
        ({"study": "x", "sd": 1.0}, "says spread"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_to_do(arguments, words):
    with pytest.raises(UserError, match=words):
        sa.power(**arguments)


def test_a_study_that_nothing_was_judged_of_is_refused(tmp_path):
    write_text(StudyFolder(tmp_path).recipe, "conditions: [base, mid]\n")
    with pytest.raises(UserError, match="No answers have been judged yet"):
        sa.power(study=tmp_path)
