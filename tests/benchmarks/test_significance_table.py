"""ILA's tables: which rankings are compared, what the numbers are, and the command on a tiny model."""

import json
import shutil

import numpy as np
import pytest

from benchmarks import significance_table
from benchmarks.ranking_agreement import Ranking, agreement_tables, groups, tables_text
from cli.command_line import write_recipe


def ranking(scores, noise=0.0, slopes=None):
    """Four modules of two kinds in two layers; every step's gradient leads to these scores, plus noise."""
    steps = np.random.default_rng(0).normal(size=(6, 4)) * noise - np.array(scores) / 6
    signals = {"score": tuple(scores)} | ({} if slopes is None else {"slope_at_base": tuple(slopes)})
    halves = {"jaccard": 1.0, "rank_correlation": 1.0}
    return Ranking(
        ("0.q", "0.v", "1.q", "1.v"), ("q", "v") * 2, signals, steps.tolist(), 1.0, 0.0, 0.5, halves=halves
    )


def test_objectives_seeds_and_stages_are_compared_one_at_a_time():
    cells = [(name, seed, stage) for name in "ab" for seed in (0, 1) for stage in (100, 1)]
    assert groups(cells, 100) == [
        ("objectives", "a, b", [(("a", 0, 100), ("b", 0, 100)), (("a", 1, 100), ("b", 1, 100))]),
        ("seeds", "a", [(("a", 0, 100), ("a", 1, 100))]),
        ("seeds", "b", [(("b", 0, 100), ("b", 1, 100))]),
        ("stages", "a, 1 % and 100 %", [(("a", s, 1), ("a", s, 100)) for s in (0, 1)]),
        ("stages", "b, 1 % and 100 %", [(("b", s, 1), ("b", s, 100)) for s in (0, 1)]),
    ]
    # what is not there yet is left out
    assert groups([("a", 0, 100), ("b", 1, 100), ("b", 0, 1)], 100) == []


def test_a_row_by_hand():
    """Top halves {0.v, 1.v} and {0.v, 1.q} share one of three names. Within kinds 1.q is above 0.q in both rankings,
    0.v above 1.v in one and below in the other."""
    cells = {
        ("a", 0, 100): ranking([1.0, 4.0, 2.0, 3.0], slopes=[1.0, 4.0, 2.0, 3.0]),
        ("b", 0, 100): ranking([1.0, 3.0, 4.0, 2.0]),
        ("c", 0, 100): ranking([1.0, 3.0, 2.0, 4.0]),
    }
    first, second, _ = agreement_tables(cells, draws=5)["agreement"]
    assert (first["table"], first["name"], first["pairs"]) == ("objectives", "a, b", 1)
    assert first["important"]["jaccard"] == {"mean": 1 / 3, "low": 1 / 3, "high": 1 / 3}
    assert first["important"]["chance"] == pytest.approx(1 / 3)  # 0.5 / (2 - 0.5)
    assert first["important"]["kappa"]["mean"] == pytest.approx(0)
    # ranks 1 4 2 3 and 1 3 4 2: 1 - 6 (0 + 1 + 4 + 1) / (4 x 15)
    assert first["important"]["rank_correlation"]["mean"] == pytest.approx(0.4)
    # without noise every draw has the scores themselves
    assert first["intervals"]["jaccard"] == {"low": 1 / 3, "high": 1 / 3}
    # within kinds a and b are the same, a and c differ in v: of (0.v, 1.q) and (1.q, 1.v) one of three is shared
    assert first["within_kinds"]["jaccard"]["mean"] == 1
    assert second["within_kinds"]["jaccard"]["mean"] == pytest.approx(1 / 3)


def test_slopes_are_held_against_the_scores():
    cells = {
        ("a", 0, 1): ranking([4.0, 1.0, 2.0, 3.0], slopes=[4.0, 1.0, 2.0, 3.0]),
        ("a", 0, 100): ranking([1.0, 4.0, 3.0, 2.0]),
    }
    own, final = agreement_tables(cells, draws=1)["first_order"]
    assert (own["stage"], own["of"], own["rank_correlation"]["mean"]) == (1, 1, pytest.approx(1))
    assert (final["stage"], final["of"], final["rank_correlation"]["mean"]) == (1, 100, pytest.approx(-1))


def test_noise_of_the_minibatches_widens_the_interval():
    cells = {("a", s, 100): ranking([1.0, 4.0, 2.0, 3.0], noise=0.3) for s in (0, 1)}
    (row,) = agreement_tables(cells, draws=50)["agreement"]
    found = row["intervals"]["rank_correlation"]
    assert found["low"] < found["high"] <= 1


def test_the_command_makes_every_cell_once_and_goes_on(
    make_model, transcripts, tmp_path, capsys, monkeypatch
):
    file = write_recipe(
        tmp_path / "recipe.yaml",
        make_model("llama", layers=3),
        transcripts,
        preferences={"train": 12, "validation": 4, "held_out": 4},
        training={"batch_size": 2},
    )
    other = tmp_path / "others.jsonl"
    shutil.copy(transcripts, other)
    out = tmp_path / "out"
    monkeypatch.setattr(significance_table, "STAGES", (100, 1))
    arguments = ["--out", str(out), "--recipe", str(file), "--draws", "3", "--seeds", "0", "1"]
    arguments += ["--sources", str(transcripts), str(other)]
    assert significance_table.main([*arguments, "--tables"]) == 2
    assert "Run it without --tables" in capsys.readouterr().err
    quick = ["--set", "diagnostics.significance.steps=2", "--set", "diagnostics.significance.batch=4"]
    assert significance_table.main([*arguments, *quick]) == 0
    said = capsys.readouterr().out
    assert "| seeds: others | 1 |" in said
    tables = json.loads((out / "tables.json").read_text())
    assert tables["cells"] == 8
    # the same rows under two names: the same rankings
    (objectives,) = [row for row in tables["agreement"] if row["table"] == "objectives"]
    assert objectives["important"]["jaccard"]["mean"] == 1
    assert {row["stage"] for row in tables["first_order"]} == {1, 100}
    record = json.loads((out / "others@1/diagnostics/significance@1-percent.json").read_text())
    assert record["losses"] is None
    assert all(list(row["slopes"]) == ["trained", "base"] for row in record["modules"])
    monkeypatch.setattr(significance_table.sa, "diagnose", lambda *_a, **_k: None)
    assert significance_table.main([*arguments, "--tables"]) == 0
    assert (
        capsys.readouterr().out.strip()
        == tables_text(tables).strip()
        == said[said.index("| between") :].strip()
    )
