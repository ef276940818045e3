"""The joint loop: equal to separate runs, its own clipping and labels, stops on what is not finite, resumes."""

import json

import pytest
import torch
from joint_setups import SETTINGS, make_runs, make_trees, set_up, train_jointly

from stratalign.errors import StudyFailure, UserError
from stratalign.records import read_jsonl
from stratalign.training import loop, phase_bounds, plan_steps, read_checkpoint, train

CONDITIONS = {
    "full": None,
    "local": None,
    "mid": None,
    "global": None,
    "joint": {"blocks": ["local", "global"], "learning_rate": {"local": 1e-3, "global": 5e-4}},
    "shuffled": {"block": "full", "labels": "shuffled"},
    "staged": {"phases": [{"block": "local", "steps": 2}, {"block": "mid"}]},
    "thin": {"block": "full", "parameters_like": "mid", "clip": 0.01},
}


def largest_difference(one, other):
    assert set(one) == set(other)
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_a_joint_run_equals_separate_runs_to_1e_8_in_float64(tmp_path):
    together, _, _ = train_jointly(make_runs(CONDITIONS), tmp_path / "joint")
    for name, settings in CONDITIONS.items():
        alone, _, _ = train_jointly(make_runs({name: settings}), tmp_path / name)
        assert largest_difference(together[name], alone[name]) <= 1e-8
        moved = max(t.abs().max().item() for key, t in together[name].items() if "lora_B" in key)
        assert moved > 1e-4  # it trained


def test_checkpointing_changes_nothing(tmp_path):
    runs = make_runs({"full": None, "mid": None, "global": None})
    plain, _, _ = train_jointly(runs, tmp_path / "plain")
    recomputed, _, _ = train_jointly(runs, tmp_path / "recomputed", checkpointing=True)
    assert max(largest_difference(plain[run.id], recomputed[run.id]) for run in runs) <= 1e-10


def test_packed_and_padded_rows_train_the_same(tmp_path):
    runs = make_runs({"full": None, "mid": None, "global": None})
    packed, _, _ = train_jointly(runs, tmp_path / "packed")
    padded, _, _ = train_jointly(runs, tmp_path / "padded", packed=False)
    # norms cast to float32 inside the model, and AdamW divides by the size of the gradient
    assert max(largest_difference(packed[run.id], padded[run.id]) for run in runs) <= 3e-6
    logs = [list(read_jsonl(tmp_path / name / "training.jsonl")) for name in ("packed", "padded")]
    assert [row["tokens"] for row in logs[0]] == [row["tokens"] for row in logs[1]]


def test_dropout_of_one_run_is_the_same_whatever_else_trains(tmp_path):
    dropping = {"full": {"block": "full", "dropout": 0.3}}
    together, _, _ = train_jointly(make_runs({**dropping, "mid": None}), tmp_path / "joint")
    alone, _, _ = train_jointly(make_runs(dropping), tmp_path / "alone")
    without, _, _ = train_jointly(make_runs({"full": None}), tmp_path / "without")
    assert largest_difference(together["full"], alone["full"]) <= 1e-8
    assert largest_difference(together["full"], without["full"]) > 1e-4


def test_each_run_is_clipped_by_its_own_norm(tmp_path):
    train_jointly(make_runs({"full": None, "thin": CONDITIONS["thin"]}), tmp_path)
    rows = list(read_jsonl(tmp_path / "training.jsonl"))
    # both have the same layers; thin's limit of 0.01 must not touch full's recorded norm or step
    train_jointly(make_runs({"full": None}), tmp_path / "alone")
    single = list(read_jsonl(tmp_path / "alone" / "training.jsonl"))
    full = [row for row in rows if row["run"] == "full"]
    assert [row["grad_norm"] for row in full] == pytest.approx([row["grad_norm"] for row in single], rel=1e-9)
    assert len({round(row["grad_norm"], 6) for row in rows if row["step"] == 2}) == 2


def test_shuffled_labels_exchange_about_half_and_start_from_the_same_loss(tmp_path):
    (run,) = make_runs({"shuffled": {"block": "full", "labels": "shuffled"}})
    swapped = [run.swaps(f"r{i}") for i in range(1000)]
    assert 430 < sum(swapped) < 570  # a fair coin: 500, standard deviation 16
    assert swapped == [run.swaps(f"r{i}") for i in range(1000)]
    assert not any(make_runs({"full": None})[0].swaps(f"r{i}") for i in range(50))


def test_phases_train_their_block_only_while_they_last(tmp_path):
    (run,) = make_runs({"staged": CONDITIONS["staged"]})
    trees = make_trees(8)  # 8 pairs, windows of 4: two steps, which is the first phase alone
    with pytest.raises(UserError, match="take 2, 0 steps of 2 in all"):
        phase_bounds(run.condition, 2)
    tensors, trained, _ = train_jointly([run], tmp_path, trees=make_trees(16))  # four steps: two and two
    assert phase_bounds(run.condition, 4) == [0, 2, 4]
    assert trained.witness.unseen("staged") == []
    local = [t for name, t in tensors["staged"].items() if "layers.0." in name and "lora_B" in name]
    only_local, _, _ = train_jointly(
        make_runs({"staged": {"block": "local"}}), tmp_path / "local", trees=trees
    )
    assert all(t.abs().max() > 0 for t in local)
    assert set(only_local["staged"]) < set(tensors["staged"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_run_step_and_pair(
    tmp_path, monkeypatch, value
):
    runs = make_runs({"full": None, "mid": None})
    _, bank, engine = set_up(runs)
    trees = make_trees()
    steps = plan_steps(len(trees), SETTINGS, seed=1)
    victim = trees[steps[1][0].pairs[1]].row_id  # the second pair of the second step's first micro-batch
    stock = engine.forward

    def poisoned(batch, run, passed):
        found = stock(batch, run, passed)
        if run == "mid" and victim in batch.items:
            row = batch.items.index(victim)
            mask = torch.zeros_like(found)
            mask[row, 0] = 1
            found = torch.where(mask.bool(), found * value, found)
        return found

    monkeypatch.setattr(engine, "forward", poisoned)
    with pytest.raises(StudyFailure, match=rf"Run 'mid': the loss of pair {victim} in step 2 is"):
        train(engine, runs, trees, steps, log=tmp_path / "log.jsonl", checkpoint=tmp_path / "c")
    assert {row["step"] for row in read_jsonl(tmp_path / "log.jsonl")} == {1}
    # after one step of AdamW no entry has moved by more than the learning rate, so step 2 was not applied to full
    assert all(p.abs().max() <= 1.001e-3 for name, p in bank.parameters("full").items() if "lora_B" in name)


def test_an_interrupted_training_continues_to_the_same_bits(tmp_path, monkeypatch):
    settings = SETTINGS.model_copy(update={"checkpoint_every": 1})
    runs = make_runs(CONDITIONS)
    whole, _, _ = train_jointly(runs, tmp_path / "whole", dtype=torch.float32)

    class Killed(BaseException):
        pass

    def killed_at(step):
        def progress(_what, done, _total):
            if done == step:
                raise Killed

        return progress

    trees = make_trees()
    steps = plan_steps(len(trees), settings, seed=1)
    files = {"log": tmp_path / "log.jsonl", "checkpoint": tmp_path / "c.safetensors", "checkpoint_every": 1}
    for step in (2, 3):  # interrupted twice, each time after the log was written and before the checkpoint
        _, _, engine = set_up(runs, dtype=torch.float32)
        with pytest.raises(Killed):
            train(engine, runs, trees, steps, progress=killed_at(step), **files)
    assert read_checkpoint(files["checkpoint"]).step == 2
    _, bank, engine = set_up(runs, dtype=torch.float32)
    trained = train(engine, runs, trees, steps, **files)
    for run in runs:
        assert all(torch.equal(t, whole[run.id][name]) for name, t in bank.tensors(run.id).items()), run.id
        assert trained.witness.unseen(run.id) == []
    log, reference = ((tmp_path / name).read_text() for name in ("log.jsonl", "whole/training.jsonl"))
    assert sorted(log.splitlines()) == sorted(reference.splitlines())


def test_a_damaged_checkpoint_is_named_and_not_used(tmp_path):
    (tmp_path / "c.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match=r"checkpoint .*c\.safetensors is damaged.*Delete it"):
        read_checkpoint(tmp_path / "c.safetensors")


def test_golden_first_losses_and_norms_of_a_fixed_seed(tmp_path):
    """Kept to guard refactors: recorded once in float64; a change that touches no maths must not move them."""
    train_jointly(make_runs({"full": None, "mid": None}), tmp_path)
    rows = [(row["run"], row["loss"], row["grad_norm"]) for row in read_jsonl(tmp_path / "training.jsonl")]
    golden = json.loads((__import__("pathlib").Path(__file__).parent / "golden.json").read_text())
    assert [run for run, _, _ in rows] == [run for run, _, _ in golden]
    for (_, loss, norm), (_, kept_loss, kept_norm) in zip(rows, golden, strict=True):
        assert loss == pytest.approx(kept_loss, rel=1e-6)
        assert norm == pytest.approx(kept_norm, rel=1e-4)


def test_checkpoints_keep_under_one_percent_of_the_time():
    clock = loop.CheckpointClock("auto", expected_cost=0.001)
    assert not clock.due(1)  # a checkpoint that costs 1 ms waits for 100 ms
    clock._last -= 0.11
    assert clock.due(2)
    clock.wrote(0.01)
    clock._last -= 0.9
    assert not clock.due(3)  # 10 ms were measured: one second must pass
    clock._last -= 0.2
    assert clock.due(4)
