"""Held-out records and the proof's own: the same in any layout and batching, in the order of the pairs."""

import pytest
import torch
from joint_setups import make_runs, make_trees, set_up

from stratalign.training import evaluate
from stratalign.training.proving import _stock_log_probabilities

RUNS = ["full", "mid"]


def engines():
    for packed in (True, False):
        model, bank, engine = set_up(make_runs(dict.fromkeys(RUNS)), packed=packed)
        for run in RUNS:
            for p in bank.parameters(run).values():
                p.data.normal_(std=0.2, generator=torch.Generator().manual_seed(3))
        yield model, bank, engine


@pytest.mark.parametrize("pack_tokens", [1, 40, 2000])
def test_records_come_in_the_order_of_the_pairs_in_both_layouts(pack_tokens):
    trees = make_trees(13, seed=5)
    (_, _, packed), (_, _, padded) = engines()
    packed.pack_tokens = padded.pack_tokens = pack_tokens
    ours, wanted = (list(evaluate(engine, RUNS, trees)) for engine in (packed, padded))
    for records in (ours, wanted):
        assert [(r.run, r.prompt_id) for r in records] == [(run, t.row_id) for run in RUNS for t in trees]
    for one, other in zip(ours, wanted, strict=True):
        assert (one.chosen, one.rejected) == pytest.approx((other.chosen, other.rejected), rel=1e-6)
        assert (one.base_chosen, one.tokens_rejected) == pytest.approx(
            (other.base_chosen, other.tokens_rejected), rel=1e-6
        )


def test_the_stock_model_gives_the_packed_records_in_the_order_of_the_pairs():
    trees = make_trees(40, seed=6)
    model, bank, engine = next(engines())
    records = list(evaluate(engine, ["full"], trees))
    with bank.active("full"):
        stock = _stock_log_probabilities(model, trees, torch.device("cpu"))
    assert stock.tolist() == [
        [pytest.approx(r.chosen, rel=1e-6), pytest.approx(r.rejected, rel=1e-6)] for r in records
    ]


def test_nothing_held_out_gives_no_record():
    _, _, engine = next(engines())
    assert list(evaluate(engine, RUNS, [])) == []
