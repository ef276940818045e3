"""Equality, tax, seeds, length, divergence, categories and missing rows in a study's results, worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from controlled_studies import EFFECTS, controlled_study
from fake_studies import manifest, score
from signed_studies import MOSTLY_LOST, signed_study

from stratalign.records import Score, StudyFolder, write_json, write_scores, write_text
from stratalign.reporting import Results, as_json, read_study, summarise

PROMPTS = 120
RECIPE = "preferences: {objective: [Overall]}\nconditions: [base, full, mid, local]\n"

Values = Mapping[str, Mapping[str, float]]


def row(
    run: str, n: int, value: float | None, dimension: str, protocol: str = "rubric", seed: int = 0
) -> Score:
    return Score(
        f"p{n}",
        f"c{n}",
        run,
        seed,
        protocol,
        protocol,
        dimension,
        0,
        value,
        "ok" if value is not None else "blocked",
    )


def study(
    folder: Path, rows: list[Score], dimensions: list[dict[str, Any]], scale: list[int] | None = None
) -> Results:
    """The results of rows judged by `rubric`, with the text protocol's rows beside them."""
    records = StudyFolder(folder)
    write_json(records.manifest, manifest(["base", "full", "mid", "local"]))
    write_text(records.recipe, RECIPE)
    text = [{"name": name, "unit": "", "better": None, "about": ""} for name in ("length", "kl_to_base")]
    rubric = {"judge": "rubric", "protocol": "rubric", "dimensions": dimensions}
    listed = [
        rubric | ({"kind": "judge", "scale": scale} if scale else {"kind": "scorer"}),
        {"judge": "text", "protocol": "text", "kind": "measures", "dimensions": text},
    ]
    write_json(records.judges, {"schema": 1, "judges": listed})
    write_scores(records.scores, rows)
    results = summarise(read_study(folder))
    json.dumps(as_json(results), allow_nan=False)
    return results


def dimension(name: str, category: str | None = None, better: str = "higher") -> dict[str, Any]:
    return {"name": name, "unit": "points", "better": better, "about": "", "category": category}


def constant(values: Values, prompts: int = PROMPTS) -> list[Score]:
    """Every condition scores one value per dimension on all prompts; base scores 3."""
    names = {name for mine in values.values() for name in mine}
    return [
        row(condition, n, mine.get(name, 3.0), name)
        for condition, mine in {"base": {}, **values}.items()
        for name in sorted(names)
        for n in range(prompts)
    ]


def test_matches_is_claimed_only_after_a_test(tmp_path: Path) -> None:
    values: Values = {"full": {"Overall": 4}, "mid": {"Overall": 4}, "local": {"Overall": 3}}
    found = study(tmp_path, constant(values), [dimension("Overall")], [1, 5]).equivalences
    by_name = {(one.condition, one.against): one for one in found}
    # full is the first of the two highest, so it is both references; mid and local are asked to match it.
    assert list(by_name) == [("mid", "full"), ("local", "full")]
    mid, local = by_name["mid", "full"], by_name["local", "full"]
    # All 120 prompts tie: (1 - 0.1 / 4)^120 = 0.0479 is the largest p of what is required, times 2 by Holm.
    assert mid.p == pytest.approx(0.975**120)
    assert mid.p_holm == pytest.approx(2 * 0.975**120)
    assert mid.verdict == "cannot tell"
    assert mid.words.startswith("This sample cannot tell whether mid matches full (all layers) on Overall")
    assert (local.verdict, local.effect) == ("worse", -1.0)
    assert "local is worse than full" in local.words


def test_without_a_scale_the_net_win_rate_alone_decides(tmp_path: Path) -> None:
    values: Values = {"full": {"Overall": 4}, "mid": {"Overall": 4}, "local": {"Overall": 3}}
    results = study(tmp_path, constant(values), [dimension("Overall")])
    mid = results.equivalences[0]
    # 1 / 10,001 or 0.9^120 = 3e-6, whichever is larger, times 2.
    assert mid.p_holm == pytest.approx(2 / 10001)
    assert mid.verdict == "matches"
    assert mid.words == (
        "mid matches full (all layers) on Overall within 0.10 of a net win rate "
        "(0, 90 % interval [0, 0]; two one-sided tests, Holm p <0.001)."
    )
    assert {one.name: one.tests for one in results.families}["matches"] == 2


def test_the_tax_is_a_tested_statement(tmp_path: Path) -> None:
    values: Values = {
        "full": {"Overall": 4, "Safety": 2, "Noise": 3},
        "mid": {"Overall": 4, "Safety": 3, "Noise": 2},
        "local": {"Overall": 3, "Safety": 3, "Noise": 3},
    }
    results = study(
        tmp_path,
        constant(values),
        [dimension("Overall"), dimension("Safety"), dimension("Noise", better="lower")],
    )
    found = {(one.condition, one.dimension): one for one in results.tax_tests}
    assert {one.verdict for key, one in found.items() if key != ("full", "Safety")} == {
        "no loss larger than the margin"
    }
    assert (found["full", "Safety"].verdict, found["full", "Safety"].p) == ("pays", 1.0)
    # Less noise is better: a gain.
    assert (found["mid", "Noise"].gain, found["mid", "Noise"].low) == (1.0, 1.0)
    # Six claims; five have p = 1 / 10,001, the first factor is 6.
    assert found["mid", "Noise"].p_holm == pytest.approx(6 / 10001)
    assert results.tax_in_words == (
        "full: pays on Safety (\u22121.00, Holm p <0.001); no loss beyond 0.10 of a net win rate on Noise.",
        "mid and local: no loss beyond 0.10 of a net win rate on Safety and Noise.",
    )


def test_twelve_prompts_cannot_exclude_a_loss(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"mid": {"fluency": 1}})
    # 0.9^12 = 0.28: one in ten may lose, and twelve prompts not show it.
    (one,) = results.tax_tests
    assert one.p == pytest.approx(0.9**12)
    assert one.verdict == "cannot tell"
    assert results.tax_in_words == (
        "mid: this sample cannot tell whether 0.10 or more is lost on coherence.",
    )


def test_a_gain_that_is_all_length_is_said_to_be_explained(tmp_path: Path) -> None:
    # Of 120 answers, 80 are longer by 10 to 20 tokens and score higher, 40 shorter by as much and score lower: at equal
    # length nothing is left.
    rows = []
    for n in range(PROMPTS):
        sign = -1 if n % 3 == 0 else 1
        rows += [row("base", n, 3.0, "Overall"), row("mid", n, 3.0 + sign, "Overall")]
        rows += [
            row("base", n, 50.0, "length", "text"),
            row("mid", n, 50.0 + sign * (10 + n % 11), "length", "text"),
        ]
    results = study(tmp_path, rows, [dimension("Overall")])
    (one,) = results.equal_length
    assert one.raw_net_win_rate == pytest.approx(1 / 3)
    assert one.net_win_rate is not None
    assert abs(one.net_win_rate) < 0.05
    assert one.words is not None
    assert one.words.endswith("length may explain it.")
    assert not one.extrapolated


def test_without_lengths_nothing_is_held_at_equal_length(tmp_path: Path) -> None:
    results = study(tmp_path, constant({"mid": {"Overall": 4}}, 12), [dimension("Overall")])
    assert results.equal_length == ()
    assert results.matched == ()


def test_conditions_are_compared_at_the_same_divergence(tmp_path: Path) -> None:
    # full wins every prompt at a KL of 4, mid every second one at 1: at KL 1 full has sqrt(1/4) = one half as well.
    rows = []
    for n in range(PROMPTS):
        for name, value, kl in (("base", 3, 0), ("full", 4, 4), ("mid", 3 + n % 2, 1)):
            rows += [row(name, n, float(value), "Overall"), row(name, n, float(kl), "kl_to_base", "text")]
    (one,) = study(tmp_path, rows, [dimension("Overall")]).matched
    assert (one.condition, one.against, one.kl) == ("full", "mid", 1.0)
    assert (one.gain_condition, one.gain_against) == (1.0, 0.5)
    assert (one.matched_condition, one.matched_against, one.difference) == (0.5, 0.5, 0.0)
    assert one.verdict == "cannot tell"
    assert one.words.startswith(
        "At the same KL to base (1.00 nats per answer) this sample cannot tell full from mid"
    )


def test_categories_are_means_and_a_family_of_their_own(tmp_path: Path) -> None:
    rows = []
    for n in range(12):
        rows += [row("base", n, 3.0, name) for name in ("A", "B", "Overall")]
        # A is up by 2 and B down by 1: their mean is up by 1/2. On prompt 0 B is missing, and so is the mean.
        rows += [
            row("mid", n, 5.0, "A"),
            row("mid", n, None if n == 0 else 2.0, "B"),
            row("mid", n, 4.0, "Overall"),
        ]
    found = study(
        tmp_path, rows, [dimension("A", "x"), dimension("B", "x"), dimension("Overall", "y")]
    ).categories
    assert found.members == {"x": ("A", "B"), "y": ("Overall",)}
    x, y = found.comparisons
    assert (x.dimension, x.n, x.missing, x.wins, x.mean_difference) == ("x", 11, 1, 11, 0.5)
    # Two tests: p = 2 / 2^11 and 2 / 2^12, times 1 and 2.
    assert (x.family, x.p_holm, y.p_holm) == ("categories", 2 / 2**11, 4 / 2**12)
    (rest,) = found.all_but_overall
    assert (rest.dimension, rest.mean_difference, rest.family) == ("all but Overall", 0.5, "all but Overall")


def test_dimensions_that_one_call_scores_alike_correlate(tmp_path: Path) -> None:
    rows = []
    for n in range(20):
        halo = float(n % 5)
        for name, shift in (("base", 0.0), ("mid", 1.0)):
            rows += [
                row(name, n, halo + shift, "A"),
                row(name, n, 5 - halo, "B"),
                row(name, n, halo, "Overall"),
            ]
    found = study(tmp_path, rows, [dimension("A"), dimension("B"), dimension("Overall")]).categories
    assert found.correlations is not None
    assert found.correlations.dimensions == ("A", "B", "Overall")
    assert found.correlations.matrix[0] == pytest.approx((1.0, -1.0, 1.0))
    # A and B cancel, so their mean is the same everywhere.
    assert found.correlation_to_overall is None


def test_missing_rows_are_counted_by_state_and_bound_the_rate(tmp_path: Path) -> None:
    rows = constant({"mid": {"Overall": 4}}, 10)
    lost = [
        replace(one, value=None, state="blocked")
        if one.run == "mid" and one.prompt_id in ("p0", "p1")
        else one
        for one in rows
    ]
    results = study(tmp_path, lost, [dimension("Overall")])
    base, mid = results.states
    assert (base.answers, base.ok) == (10, 10)
    assert (mid.answers, mid.ok) == (10, 8)
    assert mid.states == {"pending": 0, "failed": 0, "blocked": 2, "truncated": 0, "invalid": 0}
    # Eight wins of ten: 0.6 if both were lost, 1 if both were won.
    (one,) = results.comparisons
    assert (one.missing_low, one.missing_high, one.note) == (0.6, 1.0, None)
    assert one.flipped().missing_low == -1.0


def test_few_missing_rows_are_not_bounded_and_undefined_scores_are_no_missing_answers(tmp_path: Path) -> None:
    rows = [
        *constant({"mid": {"Overall": 4}}),
        Score("p0", "c0", "mid", 0, "rubric", "rubric", "B", 0, None, "undefined"),
    ]
    results = study(tmp_path, rows, [dimension("Overall"), dimension("B")])
    assert [(one.run, one.ok, one.undefined) for one in results.states] == [("base", 120, 0), ("mid", 120, 1)]
    assert results.comparisons[0].missing_low is None


def test_seeds_are_a_level_of_their_own(tmp_path: Path) -> None:
    def with_seeds(values: Mapping[int, float], recipe: str = RECIPE) -> Results:
        records = StudyFolder(tmp_path)
        write_json(records.manifest, manifest(["base", "mid"], seeds=list(values)))
        write_text(records.recipe, recipe)
        write_json(
            records.judges,
            {"judges": [{"judge": "rubric", "protocol": "rubric", "dimensions": [dimension("Overall")]}]},
        )
        write_scores(records.scores, [
            row(name + f"@{seed}" * (len(values) > 1), n, 3.0 + (value if name == "mid" else 0), "Overall", seed=seed)
            for name in ("base", "mid") for seed, value in values.items() for n in range(12)
        ])  # fmt: skip
        return summarise(read_study(tmp_path))

    three = with_seeds({0: 1.0, 1: 1.0, 2: -1.0})
    (one,) = three.seeds.effects
    assert (one.seeds, one.net_win_rates, one.mean) == (
        ("0", "1", "2"),
        (1.0, 1.0, -1.0),
        pytest.approx(1 / 3),
    )
    # The standard deviation of 1, 1, -1 is 2 / sqrt(3); no prompt differs from another, so only seeds vary:
    # 1/3 +- 4.303 x (2 / sqrt(3)) / sqrt(3) reaches beyond both ends, though the stacked rows have no spread at all.
    assert one.between_seeds == pytest.approx(2 / 3**0.5)
    assert one.high == pytest.approx(1 / 3 + 4.302653 * 2 / 3, rel=1e-5)
    stacked, *single = three.comparisons
    assert (stacked.seeds, stacked.over_seeds, stacked.low, stacked.high) == (3, True, -1.0, 1.0)
    # 24 wins and 12 losses of 12 clusters: by flips of clusters, which take the seeds as given, p = 2 / 2^12; with
    # seeds as a level t = (1/3) / (2/3) = 0.5 with two degrees of freedom, p = 2/3 (scipy.stats.t.sf).
    assert stacked.p_value == pytest.approx(2 / 3, abs=1e-6)
    assert stacked.verdict == "cannot tell"
    assert [one.over_seeds for one in single] == [False] * 3
    two = with_seeds({0: 1.0, 1: -1.0})
    assert "hardly" in two.seeds.words
    assert not two.comparisons[0].over_seeds
    alone = with_seeds({0: 1.0})
    assert alone.seeds.effects == ()
    assert alone.seeds.words.startswith("One seed was trained: every result is for this seed")
    # what they vary is said from the recipe; one that does not say so is of the time when there was one way
    assert three.seeds.words.endswith(
        " Seeds vary the initialisation and the sampling of the answers; the order of the pairs is the same for all."
    )
    ordered = with_seeds({0: 1.0, 1: -1.0}, RECIPE + "seeds_vary: [order]\n").seeds.words
    assert ordered.endswith(
        " Seeds vary the order of the pairs; the initialisation and the sampling of the answers are the same for all."
    )
    everything = with_seeds({0: 1.0, 1: -1.0}, RECIPE + "seeds_vary: [init, order, sampling]\n").seeds.words
    assert everything.endswith(
        " Seeds vary the initialisation, the order of the pairs and the sampling of the answers."
    )
    assert "vary" not in alone.seeds.words


def test_null_controls_are_tested_for_their_own_seeds_which_sees_more(tmp_path: Path) -> None:
    # Under seeds 0 and 1 the conditions win all 12 prompts, under seed 2 they win four and lose four. Effects 1, 1, 0:
    # over seeds t = 2/3 / (sqrt(1/3) / sqrt(3)) = 2 with two degrees of freedom, p = 0.18. For these seeds every one of
    # the 12 clusters is ahead: 2 / 2^12.
    study = StudyFolder(tmp_path)
    names = ["base", "mid", "shuffled"]
    found = manifest(names, seeds=[0, 1, 2])
    for run, entry in found["runs"].items():
        entry["labels"] = "shuffled" if run.startswith("shuffled") else "given"
    write_json(study.manifest, found)
    conditions = "{base: , mid: , shuffled: {block: full, labels: shuffled}}"
    write_text(study.recipe, f"preferences: {{objective: [Overall]}}\nconditions: {conditions}\n")
    write_json(
        study.judges,
        {"judges": [{"judge": "rubric", "protocol": "rubric", "dimensions": [dimension("Overall")]}]},
    )
    gains = {0: (1.0,) * 12, 1: (1.0,) * 12, 2: (0.0, 1.0, -1.0) * 4}
    write_scores(study.scores, [
        row(f"{name}@{seed}", n, 3.0 + (values[n] if name != "base" else 0), "Overall", seed=seed)
        for name in names for seed, values in gains.items() for n in range(12)
    ])  # fmt: skip
    results = summarise(read_study(tmp_path))
    by_name = {one.condition: one for one in results.comparisons if one.seed is None}
    assert (by_name["mid"].over_seeds, by_name["mid"].sure) == (True, False)
    control = by_name["shuffled"]
    assert (control.over_seeds, control.seeds, control.p_value) == (False, 3, 2 / 2**12)
    (said,) = [words for words in results.controls_in_words if words.startswith("shuffled")]
    assert "tested for these seeds alone" in said


def test_what_seems_to_disagree_has_a_note(tmp_path: Path) -> None:
    results = signed_study(
        tmp_path,
        {"mid": {"fluency": (1,) * 8 + (-9,) * 4, "coherence": MOSTLY_LOST}, "full": {}},
    )
    notes = {(one.condition, one.dimension): one.note for one in results.comparisons}
    # Eight rows up by 1, four down by 9: net win rate 1/3, mean difference (8 - 36) / 12.
    assert notes["mid", "fluency"] == (
        "More rows are higher than lower (8 to 4), yet the mean difference is −2.333: the 4 differ by more."
    )
    # p = 0.039 of two tests.
    assert notes["mid", "coherence"] == (
        "By its own interval worse, but not after Holm's correction for all tests against base (p 0.077): conclusions "
        "count it as cannot tell."
    )
    assert notes["full", "fluency"] is None


def test_scores_of_tasks_can_only_be_a_tax(tmp_path: Path) -> None:
    folder = controlled_study(tmp_path, {**EFFECTS, "full": {"repetition": 1.0, "coherence": -0.6}})
    listed = json.loads(StudyFolder(folder).judges.read_text())["judges"]
    listed[1]["kind"] = "tasks"
    write_json(StudyFolder(folder).judges, {"judges": listed})
    results = summarise(read_study(folder))
    task = [one for one in results.comparisons if one.protocol == "text" and one.dimension == "repetition"]
    assert {one.family for one in task} == {"against base", "controls elsewhere", "null controls"}
    assert "repetition" in {
        one.dimension for one in results.tax_tests if one.condition == "full" and one.verdict == "pays"
    }
    assert {one.dimension for one in results.tax_tests} >= {"repetition", "coherence"}
    assert {winner.dimension for winner in results.conclusions.winner} == {"claim_accuracy"}


def test_p_values_of_the_difference_stand_beside_those_of_the_rate(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"mid": {"fluency": (3,) + (-1,) * 3 + (0,) * 8}})
    one = next(one for one in results.comparisons if one.dimension == "fluency")
    # Differences 3, -1, -1, -1 add up to 0, which all flips reach. Ranks 4, 2, 2, 2: 4 against 6 of a mean of 5;
    # variance 4 x 5 x 9 / 24 - 24 / 48 = 7, so z = -1 / sqrt(7) = -0.378.
    assert one.difference_p == 1.0
    assert one.wilcoxon_p == pytest.approx(0.7055, abs=1e-4)
    assert one.flipped().wilcoxon_p == one.wilcoxon_p


def test_scores_that_a_test_writes_still_have_their_states(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"mid": {"fluency": 1}})
    assert [one.run for one in results.states] == ["base", "mid"]
    write_scores(StudyFolder(tmp_path).scores, [score("mid", 0, None, state="blocked")])
    (one,) = summarise(read_study(tmp_path)).states
    assert (one.ok, one.states["blocked"]) == (0, 1)
