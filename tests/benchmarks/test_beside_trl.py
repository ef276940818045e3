from dataclasses import replace

import pytest
from bench_setups import SMALL, OperationCounter, small_bench, without_attention

from benchmarks import beside_trl, measuring
from benchmarks.beside_trl import main
from benchmarks.cells import SIDES, cells_of, operations, schedule
from benchmarks.material import VARIABLE
from benchmarks.sides import Reference, TrlSetup, step_jointly, step_with_trl
from benchmarks.tabulating import agreement, tabulate
from stratalign.records import read_jsonl


def cell(side, name, seconds, operations, window=0):
    row = {"side": side, "cell": name, "window": window, "repeat": 0, "pairs": 2, "seconds": seconds}
    return {**row, "operations": operations, "least": operations, "gemm": 100.0, "grad_norm": {name: 1.0}}


def test_without_a_file_of_pairs_it_is_skipped_with_a_sentence(capsys, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("Skipped: the benchmark needs a file of preference pairs.")


def test_every_repetition_measures_every_cell_once_and_every_other_one_backwards():
    cells = schedule(["ours", "paper"], windows=2, repeats=1)
    first, second = cells[:9], cells[9:]
    assert [(c.side, c.cell) for c in first[:3]] == [
        ("ours", "together"),
        ("ours", "full"),
        ("paper", "full"),
    ]
    assert [(c.side, c.cell) for c in second] == [(c.side, c.cell) for c in first][::-1]
    assert [{c.window for c in part} for part in (first, second)] == [{0}, {1}]


def test_ratios_are_those_that_a_hand_works_out():
    cells = [
        cell("ours", "together", 2.0, 100),
        cell("paper", "full", 4.0, 160),
        cell("paper", "mid", 6.0, 240),
        cell("ours", "together", 2.0, 100, window=1),
        cell("paper", "full", 8.0, 320, window=1),  # no mid: no ratio of this window
    ]
    sides = {
        "ours": {"label": "ours", "ours": True, "beside": "ours"},
        "paper": {"label": "TRL", "ours": False, "beside": "ours"},
    }
    found = tabulate(cells, sides, {"ours": {"together": 25}, "paper": {"full": 60, "mid": 40}})
    four = found["paper"]["four"]
    assert four["ratio"] == (4 + 6) / 2
    assert found["ours"]["cells"]["together"]["share_of_gemm"] == 100 / 2 / 100
    # the file: 25 operations at 50 a second by us; 60 and 40 at 40 a second by TRL
    assert four["corpus_ratio"] == pytest.approx((60 / 40 + 40 / 40) / (25 / 50))
    assert four["limit"] == 100 / 25
    assert (
        agreement([cell("ours", "x", 1, 1), cell("paper", "x", 1, 1)], dict.fromkeys(sides, "shuffled")) == 0
    )


def test_windows_are_drawn_by_the_seed_and_grouped_ones_pad_less(tmp_path):
    bench, _, _ = small_bench(tmp_path / "a", windows=2)
    again, _, _ = small_bench(tmp_path / "b", windows=2)
    assert bench.material.windows == again.material.windows
    for order, windows in bench.material.windows.items():
        assert all(len({i for group in window for i in group}) == 12 for window in windows), order
    tokens = {
        order: beside_trl.count_tokens(bench.material, order)["file"] for order in bench.material.corpus
    }
    assert tokens["grouped"]["padded"] < tokens["shuffled"]["padded"]
    assert tokens["grouped"]["tree"] == tokens["shuffled"]["tree"]


def test_our_side_writes_its_tables_and_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "PROBE_SECONDS", 0.01)
    arguments = [*SMALL, "--device", "cpu", "--sides", "ours", "--windows", "1", "--no-memory"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    cells = list(read_jsonl(tmp_path / "cells.jsonl"))
    assert [row["cell"] for row in cells] == list(cells_of("ours"))
    assert "Floor of the four conditions" in (tmp_path / "report.md").read_text()
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert list(read_jsonl(tmp_path / "cells.jsonl")) == cells
    assert main([*arguments, "--out", str(tmp_path), "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.peer
@pytest.mark.parametrize(
    "side", [name for name, side in SIDES.items() if side.trl and side.order == "shuffled"]
)
def test_trl_runs_the_matrix_products_that_are_counted_and_has_our_gradient(side, tmp_path, monkeypatch):
    without_attention(monkeypatch)
    bench, runs, trained = small_bench(tmp_path)
    window = bench.material.windows["shuffled"][0]
    ours = step_jointly(bench, list(runs.values()), window)
    for name in ("full", "mid"):
        counter = OperationCounter()
        setup, reference = SIDES[side].trl, Reference()
        with counter.mode:
            step = step_with_trl(replace(bench, clock=counter), runs[name], window, setup, reference)
        assert step.seconds == operations(bench, trained, side, name, window)
        assert step.grad_norm[name] == pytest.approx(ours.grad_norm[name], rel=1e-5)


@pytest.mark.peer
def test_the_compact_head_changes_neither_loss_nor_gradient(tmp_path):
    bench, runs, _ = small_bench(tmp_path)
    # the second step is looked at, at a rate at which the first one moves the loss
    fast = replace(runs["full"], settings=runs["full"].settings.overridden({"learning_rate": 1e-2}))
    window = bench.material.windows["shuffled"][0]
    steps = []
    for compact in (True, False):
        counter = OperationCounter()
        setup = TrlSetup(False, False, compact)
        with counter.mode:
            counted = replace(bench, warmup=1, clock=counter)
            steps.append(step_with_trl(counted, fast, window, setup, Reference()))
    assert abs(steps[0].loss["full"] - 0.6931) > 1e-3
    assert steps[0].loss["full"] == pytest.approx(steps[1].loss["full"], abs=1e-6)
    assert steps[0].grad_norm["full"] == pytest.approx(steps[1].grad_norm["full"], rel=1e-5)
    assert steps[0].seconds < steps[1].seconds  # operations, not time
