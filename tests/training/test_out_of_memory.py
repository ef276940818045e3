"""Where memory runs out: packs are halved, results stay, and one row that does not fit is named."""

import pytest
import torch
from joint_setups import SETTINGS, make_runs, make_trees, set_up

from stratalign.engine import fits
from stratalign.errors import UserError
from stratalign.models import is_out_of_memory, packed_length
from stratalign.records import read_jsonl
from stratalign.training import compute_references, evaluate, plan_steps, stored_references, train

RUNS = {"full": None, "mid": None, "global": None}


def of_cpu():
    torch.empty(2**60, dtype=torch.float32)


def of_cuda():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def of_apple():
    raise RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, max allowed: 9.07 GB).")


@pytest.mark.parametrize("run_out", [of_cpu, of_cuda, of_apple])
def test_every_device_says_so_in_its_own_way(run_out):
    assert not fits(run_out)


def test_other_errors_go_on_and_work_that_fits_does():
    done = []
    assert fits(lambda: done.append(1))
    assert done == [1]
    with pytest.raises(RuntimeError, match="shape"):
        fits(lambda: torch.zeros(2).view(3))
    assert not is_out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))


def running_out(engine, beyond, where, run_out=of_cpu, run="mid"):
    """Let memory run out wherever a batch of a run has more tokens than `beyond`; the sizes that were tried."""
    stock, tried = engine.forward, []

    def forward(batch, name, passed):
        size = batch.ids.numel()
        tried.append(size)
        out = stock(batch, name, passed)
        if name == run and size > beyond:
            if where == "forward":
                run_out()
            else:  # in the middle of the backward pass, when some gradients have been added already
                *_, last = engine.bank.parameters(name).values()
                last.register_post_accumulate_grad_hook(lambda _p: run_out() if tried[-1] > beyond else None)
        return out

    engine.forward = forward
    return tried


def trained(folder, beyond=None, where="forward", run_out=of_cpu, dropout=0.0, beside=None):
    runs = make_runs(beside or RUNS, settings=SETTINGS.model_copy(update={"dropout": dropout}))
    _, bank, engine = set_up(runs)
    halved, engine.halved = [], lambda *sizes: halved.append(sizes)
    tried = [] if beyond is None else running_out(engine, beyond, where, run_out)
    trees = make_trees()
    train(
        engine,
        runs,
        trees,
        plan_steps(len(trees), SETTINGS, seed=1),
        log=folder / "training.jsonl",
        checkpoint=folder / "checkpoint.safetensors",
    )
    tensors = {run.id: bank.tensors(run.id) for run in runs}
    return tensors, list(read_jsonl(folder / "training.jsonl")), halved, tried


def largest_difference(ours, wanted):
    pairs = [(ours[run][name], wanted[run][name]) for run in wanted for name in wanted[run]]
    return max((one - other).abs().max().item() for one, other in pairs)


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("run_out", [of_cpu, of_cuda])
def test_a_step_that_does_not_fit_is_done_again_in_smaller_packs_with_the_same_result(
    tmp_path, where, run_out
):
    """A step of 4 pairs is one pack; `full` has added its gradient when memory runs out in `mid`."""
    wanted, rows, _, _ = trained(tmp_path / "plain")
    ours, found, halved, tried = trained(tmp_path / "short", 40, where, run_out)
    assert largest_difference(ours, wanted) <= 1e-10
    for one, other in zip(found, rows, strict=True):
        assert one == {
            key: value if isinstance(value, (str, int)) else pytest.approx(value, rel=1e-9)
            for key, value in other.items()
        }
    # said once for each halving, and no pack of a later step is as large as the one that failed
    ((failed, smaller),) = halved
    assert failed == max(tried)
    assert smaller == failed // 2
    assert sum(size > 40 for size in tried) == 2  # full's and mid's of the first try


def test_with_dropout_a_step_that_is_cut_otherwise_trains_as_well_on_other_noise(tmp_path):
    wanted, rows, _, _ = trained(tmp_path / "plain", dropout=0.3)
    ours, found, _, _ = trained(tmp_path / "short", 40, dropout=0.3)
    assert 1e-6 < largest_difference(ours, wanted) < 1e-2
    assert [row["tokens"] for row in found] == [row["tokens"] for row in rows]


def test_one_row_that_does_not_fit_is_named_and_nothing_is_trained(tmp_path):
    tokens = {tree.row_id: packed_length(tree) for tree in make_trees()}
    with pytest.raises(UserError) as raised:
        trained(tmp_path, 0)
    name = str(raised.value).split("'")[1]
    assert f"row {name!r} alone, which has {tokens[name]} tokens" in str(raised.value)
    assert "Lower training.max_length, set training.checkpointing: true" in str(raised.value)
    assert not (tmp_path / "training.jsonl").exists()


def test_held_out_rows_and_references_come_out_the_same_in_smaller_packs():
    trees = make_trees(13, seed=5)
    _, _, engine = set_up(make_runs(RUNS))
    wanted, reference = list(evaluate(engine, list(RUNS), trees)), compute_references(engine, trees)
    halved, engine.halved = [], lambda *sizes: halved.append(sizes)
    running_out(engine, 50, "forward")
    found = list(evaluate(engine, list(RUNS), trees))
    assert [(row.run, row.prompt_id) for row in found] == [(row.run, row.prompt_id) for row in wanted]
    assert [row.chosen for row in found] == pytest.approx([row.chosen for row in wanted], rel=1e-12)
    total = sum(map(packed_length, trees))
    assert halved[0] == (total, total // 2)
    assert torch.allclose(compute_references(engine, trees), reference, rtol=1e-12)


def test_references_of_packs_that_were_halved_are_not_stored_under_the_larger_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATALIGN_CACHE", str(tmp_path))
    trees = make_trees(13, seed=5)
    _, _, engine = set_up(make_runs(RUNS))
    stock = engine.base
    engine.base = lambda batch, *a: of_cpu() if batch.ids.numel() > 50 else stock(batch, *a)
    found = stored_references(engine, trees, {})
    assert len(found) == 13
    assert not list(tmp_path.rglob("*.safetensors"))
    stored_references(engine, trees, {})  # with the smaller packs it is stored
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
