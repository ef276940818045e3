from dataclasses import replace

from bench_setups import OperationCounter, small_bench, without_attention

from benchmarks import cells
from benchmarks.arithmetic import Load, Trained, joint_step, least_step, padded_load, tree_load
from benchmarks.shapes import Shape
from benchmarks.sides import step_jointly
from stratalign.preferences import Branch, Tree

SHAPE = Shape("llama", layers=2, width=2, heads=2, kv_heads=1, head_width=1, inner=3, vocabulary=5)
TREE = Tree("r", "c", (1, 2, 3), (Branch((4, 5, 6, 7), 1), Branch((8, 9), 0)))


def test_a_tree_and_padded_rows_have_the_loads_that_a_hand_counts():
    # tree: 3 prefix tokens, 3 and 1 of the branches (their last ones predict nothing);
    # the prefix sees 1 + 2 + 3, the branches 3 * 3 + 6 and 3 * 1 + 1; labels see 4 + 5 + 6 and 3 + 4
    assert tree_load([TREE]) == Load(7, 6 + 15 + 4, 5, 15 + 7)
    # padded: two rows of 7
    assert padded_load([TREE]) == Load(14, 2 * 49, 5, 5 * 7)
    assert padded_load([TREE], all_positions=True).labels == 2 * 6


def test_the_least_operations_of_one_condition_are_those_that_a_hand_counts():
    # One label among 3 tokens, one score for each; no rank. Weights: q 4, k and v 2 each, o 4, MLP 18, head 10.
    # A layer forward: 2 * 3 * 30 + 4 * 6 * 2 = 228; backward another 48 for attention: 276.
    load = Load(3, 6, 1, 3)
    # base 2 * 228 + 20; the condition trains the last layer: 228 + 276 - entry 2 * 3 * 8, head 2 * 20
    whole = 2 * 228 + 20 + 228 + 276 - 48 + 40
    assert joint_step(SHAPE, 0, load, [Trained(1, 1)]) == whole
    # last layer, 2 of 3 tokens: q 16, o and MLP 88, attention 4 * 3 * 2 = 24; forward twice, backward once
    saved = 16 + 88 + 24 + 16 + 2 * 88 + 3 * 24
    assert least_step(SHAPE, 0, load, [Trained(1, 1)]) == whole - saved


def test_a_joint_step_runs_exactly_the_matrix_products_that_are_counted(tmp_path, monkeypatch):
    without_attention(monkeypatch)
    bench, runs, trained = small_bench(tmp_path)
    counter = OperationCounter()
    window = bench.material.windows["shuffled"][0]
    with counter.mode:
        stock = step_jointly(replace(bench, clock=counter, stock_layers=True), list(runs.values()), window)
    assert stock.seconds == cells.operations(bench, trained, "ours-stock", "together", window)
    with counter.mode:
        fused = step_jointly(replace(bench, clock=counter), list(runs.values()), window)
    least = cells.least(bench, trained, "together", window)
    assert least < fused.seconds < stock.seconds  # of the last layer, all but the queries
