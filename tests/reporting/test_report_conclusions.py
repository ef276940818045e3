"""Winner, tax and controls in words, from studies whose every p value is worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from controlled_studies import RECIPE, conditions, controlled_manifest, controlled_study
from signed_studies import ALTERNATING, MOSTLY_LOST, Values, signed_study

from stratalign.records import StudyFolder, write_json, write_text
from stratalign.reporting import Results, read_study, summarise
from stratalign.reporting.findings.roles import Role

OBJECTIVE = "preferences: {objective: [fluency]}\n"
THIN = f"{OBJECTIVE}conditions: {{base: , full: , mid: , thin: {{block: full, parameters_like: mid}}}}\n"
RANDOM = f"{OBJECTIVE}conditions: {{base: , mid: , random: {{random: mid, seed: 1}}}}\n"


def roles(folder: Path, recipe: str | None, manifest: dict[str, Any] | None) -> dict[str, Role]:
    """The roles of a study that has these records, and scores of all conditions."""
    study = StudyFolder(controlled_study(folder, {}, prompts=2))
    for path in (study.recipe, study.manifest):
        path.unlink()
    if recipe is not None:
        write_text(study.recipe, recipe)
    if manifest is not None:
        write_json(study.manifest, manifest)
    else:
        write_text(study.recipe, recipe or "{}")
    return {role.condition: role for role in summarise(read_study(folder)).roles}


def control(results: Results) -> str:
    (found,) = results.conclusions.controls
    return found.words


def test_the_winner_has_its_size_its_p_value_and_its_direct_contrasts(tmp_path: Path) -> None:
    # Three conditions on fluency, what the preferences are meant to move: three tests, 3 x 0.00049 = 0.001. Three more
    # on coherence, the first of them with p = 0.00049: 0.001 as well.
    results = signed_study(
        tmp_path,
        {"full": {"fluency": 1, "coherence": -1}, "local": {"fluency": ALTERNATING}, "mid": {"fluency": 2}},
    )
    (winner,) = results.conclusions.winner
    assert winner.words == (
        "Training mid suffices to do better than base on fluency (net win rate +1.00 [+1.00, +1.00], Holm p 0.001), "
        "the highest of 3 candidates. Training full suffices too; for local this sample cannot tell. "
        "Head to head, mid beats full and local."
    )
    assert winner.line == "fluency: mid +1.00 [+1.00, +1.00], Holm p 0.001"
    assert (winner.condition, winner.beats, winner.cannot_tell_from) == ("mid", ("full", "local"), ())
    assert results.tax_in_words == (
        "full: pays on coherence (−1.00, Holm p 0.001).",
        "local and mid: this sample cannot tell whether 0.10 or more is lost on coherence.",
    )
    assert results.conclusions.note is None


def test_the_winner_may_not_be_told_from_another(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"global": {"fluency": 1}, "mid": {"fluency": 1}})
    (winner,) = results.conclusions.winner
    assert winner.words.endswith("Head to head, this sample cannot tell global from mid.")
    assert (winner.beats, winner.cannot_tell_from) == ((), ("mid",))


def test_where_lower_is_better_the_lowest_wins(tmp_path: Path) -> None:
    results = signed_study(
        tmp_path,
        {"full": {"noise": 1}, "mid": {"noise": -1}},
        "preferences: {objective: [noise]}\n",
        noise="lower",
    )
    (winner,) = results.conclusions.winner
    # Two tests, both with p = 0.00049: Holm p 0.00098.
    assert winner.words == (
        "Training mid suffices to do better than base on noise (net win rate −1.00 [−1.00, −1.00], lower is better, "
        "Holm p <0.001), the highest of 2 candidates. full does worse than base (+1.00 [+1.00, +1.00], "
        "lower is better, Holm p <0.001). Head to head, mid beats full."
    )


def test_a_control_cannot_win(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"mid": {"fluency": ALTERNATING}, "full_shuffled": {"fluency": 1}})
    (winner,) = results.conclusions.winner
    assert winner.condition is None
    assert winner.words.startswith(
        "On fluency, this sample cannot tell whether training mid differs from base; net win rate 0 ["
    )
    # A standard error near 1 / sqrt(12) = 0.289 times z(1 - 0.05 / 4) + z(0.8) = 3.083 is about 0.89.
    assert "a difference of about 0.8" in winner.words or "a difference of about 0.9" in winner.words
    assert winner.line == "fluency: cannot tell"


def test_a_loss_that_does_not_survive_cannot_be_told(tmp_path: Path) -> None:
    results = signed_study(tmp_path, {"mid": {"fluency": 1, "coherence": MOSTLY_LOST}, "full": {}})
    assert results.tax_in_words == (
        "mid and full: this sample cannot tell whether 0.10 or more is lost on coherence.",
    )


def test_null_controls_that_move_nothing_say_so(tmp_path: Path) -> None:
    base_again = {"base_again": {"layers": [], "targets": []}}
    words = control(signed_study(tmp_path, {"mid": {}, "base_again": {}}, written=base_again))
    assert words == "base_again (the base, sampled anew) shows no significant change."


def test_what_a_null_control_moves_is_no_evidence(tmp_path: Path) -> None:
    results = signed_study(tmp_path / "a", {"mid": {}, "full_shuffled": {"fluency": 1, "coherence": -1}})
    # Two tests in the family of the null controls, both with p = 0.00049: Holm p 0.00098.
    assert control(results) == (
        "full_shuffled (trained on shuffled labels) moves fluency (+1.00 [+1.00, +1.00], Holm p <0.001) and coherence "
        "(−1.00 [−1.00, −1.00], Holm p <0.001), by training alone, with labels that say nothing: effects of this size "
        "on fluency and coherence are no evidence."
    )
    base_again = {"base_again": {"layers": [], "targets": []}}
    results = signed_study(
        tmp_path / "b", {"base_again": {"fluency": 1, "coherence": MOSTLY_LOST}}, written=base_again,
        fluency="higher", coherence="higher", grammar="higher",
    )  # fmt: skip
    # Three tests: 3 x 0.00049 = 0.001, then 2 x 0.039 = 0.077, then 1.
    assert control(results).startswith(
        "base_again (the base, sampled anew) moves fluency (+1.00 [+1.00, +1.00], Holm p 0.001), although nothing was "
        "trained: gains of this size on fluency are no evidence; unsure: coherence −0.67 ["
    )


@pytest.mark.parametrize(
    ("mid", "random", "expected"),
    [
        (2, 1, "it loses to mid (−1.00 [−1.00, −1.00], Holm p <0.001)."),
        (1, 1, "this sample cannot tell it from mid (0 [0, 0], Holm p 1.000)."),
        (1, 2, "it beats mid (+1.00 [+1.00, +1.00], Holm p <0.001)."),
    ],
)  # fmt: skip
def test_random_layers_are_held_against_the_block_of_their_size(
    tmp_path: Path, mid: int, random: int, expected: str
) -> None:
    drawn = {"random": {"layers": [0, 3, 6, 9]}}
    values: Mapping[str, Mapping[str, Values]] = {"mid": {"fluency": mid}, "random": {"fluency": random}}
    # Two tests against base on fluency, both with p = 0.00049: Holm p 0.00098.
    assert control(signed_study(tmp_path, values, RANDOM, drawn)) == (
        "random (4 layers drawn at random, as many as mid) does better than base on fluency (+1.00 [+1.00, +1.00], "
        f"Holm p <0.001); head to head {expected}"
    )


def test_equal_parameters_are_held_against_the_block_and_against_full(tmp_path: Path) -> None:
    thin = {"thin": {"layers": list(range(12)), "rank": 5, "parameters": 7680}}
    values: Mapping[str, Mapping[str, Values]] = {
        "full": {"fluency": 3},
        "mid": {"fluency": 1},
        "thin": {"fluency": 2},
    }
    words = control(signed_study(tmp_path, values, THIN, thin))
    # To lose to full, which has more parameters, says nothing about parameters. Two pairs with a control: 2 x 0.00049.
    assert words.endswith(
        "head to head it beats mid (+1.00 [+1.00, +1.00], Holm p <0.001), and it loses to full (−1.00 [−1.00, −1.00], "
        "Holm p <0.001)."
    )
    values = {"full": {"fluency": 3}, "mid": {"fluency": 3}, "thin": {"fluency": 2}}
    assert control(signed_study(tmp_path, values, THIN, thin)).endswith(
        ", so it is not only how many parameters train."
    )


def test_dimensions_stand_in_where_the_objective_was_not_judged(tmp_path: Path) -> None:
    results = signed_study(
        tmp_path, {"mid": {"fluency": 1}}, "preferences: {objective: [Overall]}\n",
        fluency="higher", coherence="higher", grammar="higher",
    )  # fmt: skip
    assert results.conclusions.note == (
        "No judged dimension is what the preferences are meant to move (Overall); fluency and coherence stand in."
    )
    assert [one.dimension for one in results.conclusions.winner] == ["fluency", "coherence"]
    assert "Head to head" not in results.conclusions.winner[0].words


def test_without_answers_a_direction_or_the_judged_protocol_nothing_is_concluded(tmp_path: Path) -> None:
    results = signed_study(tmp_path / "a", {"mid": {"length": 1}}, length=None)
    assert results.conclusions.note == (
        "No dimension that was judged has a better direction, so none can be won or lost."
    )
    assert signed_study(tmp_path / "b", {}).conclusions.note == (
        "No answer yet: no condition other than base has been judged yet."
    )
    study = StudyFolder(tmp_path / "a")
    other = {
        "judge": "microworld",
        "protocol": "microworld",
        "dimensions": [{"name": "topic", "unit": "points", "better": "higher", "about": ""}],
    }
    write_json(study.judges, {"judges": [other, *json.loads(study.judges.read_text())["judges"]]})
    note = summarise(read_study(tmp_path / "a")).conclusions.note
    assert note == "No answer yet: no answers have been judged by microworld yet."


def test_roles_are_told_from_manifest_and_recipe(tmp_path: Path) -> None:
    found = roles(tmp_path, RECIPE, controlled_manifest())
    assert {name: role.kind for name, role in found.items()} == {
        "base": "base",
        **dict.fromkeys(("full", "local", "mid", "global"), "trained"),
        "base_again": "base again",
        "shuffled": "shuffled labels",
        "random": "random layers",
        "thin": "equal parameters",
    }
    assert found["random"].held_against == ("mid",)
    # Every block has 8,192 parameters and thin 7,680, which is within a tenth; full has three times as many.
    assert found["thin"].held_against == ("local", "mid", "global", "full")
    assert found["thin"].alike == ("local", "mid", "global")


def test_the_short_list_form_and_a_lost_manifest_tell_the_same(tmp_path: Path) -> None:
    short = """\
conditions:
  - base
  - full
  - local
  - mid
  - global
  - base_again: {block: none, sampling_seed: 1}
  - shuffled: {block: full, labels: shuffled}
  - random: {random: mid, seed: 1}
  - thin: {block: full, parameters_like: mid}
"""
    listed = roles(tmp_path / "list", short, controlled_manifest())
    assert listed == roles(tmp_path / "mapping", RECIPE, controlled_manifest())
    lost = roles(tmp_path / "lost", short, None)
    assert {name: role.kind for name, role in lost.items()} == {
        name: role.kind for name, role in listed.items()
    }
    assert lost["random"].held_against == ("mid",)
    assert lost["thin"].held_against == ("mid", "full")


def test_without_a_recipe_less_is_told(tmp_path: Path) -> None:
    found = roles(tmp_path / "manifest", None, controlled_manifest())
    assert (found["base_again"].kind, found["shuffled"].kind) == ("base again", "shuffled labels")
    assert (found["random"].kind, found["thin"].kind) == ("trained", "trained")
    nothing = roles(tmp_path / "nothing", None, None)
    assert {role.kind for name, role in nothing.items() if name != "base"} == {"trained"}
    assert set(nothing) == set(conditions())


@pytest.mark.parametrize(("parameters", "kind"), [(8000, "equal parameters"), (16000, "trained")])
def test_all_layers_at_a_rank_of_their_own_are_a_control_where_the_parameters_match(
    tmp_path: Path, parameters: int, kind: str
) -> None:
    recipe = f"{OBJECTIVE}conditions: {{base: , mid: , thin: {{block: full, rank: [5, 10]}}}}\n"
    changes = {"thin-5": {"layers": list(range(12)), "rank": 5, "parameters": parameters}}
    results = signed_study(tmp_path, {"mid": {}, "thin-5": {}}, recipe, changes)
    assert {role.condition: role.kind for role in results.roles}["thin-5"] == kind
