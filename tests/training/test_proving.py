"""A reloaded adapter is proven by being nearest to its own records: in half precision, too, where rounding is coarse.

Adapters here move the log-probabilities of 60 tokens, some 300 nats, by about one nat, unless a test makes them weak:
more than rounding does, and less than the 0.1 nats and 1 % that half precision allows a row.
"""

from __future__ import annotations

import random
import shutil

import pytest
import torch
from joint_setups import make_runs

from stratalign.engine import JointEngine
from stratalign.models import AdapterBank, ModelSettings, load_model
from stratalign.preferences import Branch, Tree
from stratalign.training import Check, Proof, evaluate, reload_and_compare
from stratalign.training.proving import NEARER, compare

CPU = torch.device("cpu")
PRECISIONS = [torch.float32, torch.bfloat16, torch.float16]
RUNS = ("full", "mid", "global")
FIRST_UPDATE = {"full": 11, "mid": 12, "global": 13}


def long_trees(count=12):
    draw = random.Random(2)

    def ids(length):
        return tuple(draw.randrange(1, 300) for _ in range(length))

    return [Tree(f"r{i}", f"c{i}", ids(4), (Branch(ids(60), 0), Branch(ids(60), 0))) for i in range(count)]


class Trained:
    """A base on disk, adapters beside it, and what our engine recorded of them."""

    def __init__(self, base, folder, dtype, strength=0.025, runs=RUNS):
        self.settings, self.dtype, self.trees = ModelSettings(base=str(base)), dtype, long_trees()
        loaded = load_model(self.settings, dtype=dtype, device=CPU)
        bank, made = AdapterBank(loaded.model), make_runs(dict.fromkeys(RUNS))
        for run in made:
            bank.attach(run.adapter)
            drawn = torch.Generator().manual_seed(FIRST_UPDATE[run.id])
            for name, p in bank.parameters(run.id).items():
                if ".lora_B." in name:
                    p.data.normal_(std=strength, generator=drawn)
            bank.save(run.id, folder / run.id, str(base), None, {})
        engine = JointEngine(loaded.anatomy, bank, {run.id: run.first_layer(6) for run in made})
        self.folders = {run: folder / run for run in runs}
        records = list(evaluate(engine, list(runs), self.trees))
        self.records = {run: [one for one in records if one.run == run] for run in runs}
        self.rivals = {run: [other for other in runs if other != run] for run in runs}

    def reloaded(self, **other_folders):
        """The checks, with other folders in the place of some runs' own."""
        folders = self.folders | other_folders
        return reload_and_compare(
            self.settings, folders, self.trees, self.records, self.rivals, dtype=self.dtype, device=CPU
        )


@pytest.fixture(scope="module", params=PRECISIONS, ids=lambda dtype: str(dtype).removeprefix("torch."))
def trained(request, make_model, tmp_path_factory):
    return Trained(make_model("llama"), tmp_path_factory.mktemp("adapters"), request.param)


def test_what_was_trained_is_proven_in_every_precision(trained):
    checks = trained.reloaded()
    assert [check.holds for check in checks.values()] == [True, True, True], checks


def test_an_adapter_whose_b_is_zero_is_not_proven(trained, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(trained.folders["mid"], tmp_path / "zero")
    file = tmp_path / "zero" / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file({k: v * 0 if ".lora_B." in k else v for k, v in tensors.items()}, file, {"format": "pt"})
    checks = trained.reloaded(mid=tmp_path / "zero")
    assert {run: check.holds for run, check in checks.items()} == {"full": True, "mid": False, "global": True}


def test_no_adapter_at_all_is_not_proven(trained):
    assert trained.reloaded(mid=None)["mid"].holds is False


def test_the_adapter_of_another_run_is_not_proven(trained):
    checks = trained.reloaded(**{"global": trained.folders["mid"]})
    assert checks["global"].holds is False
    assert checks["mid"].holds is True


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_adapter_that_moves_less_than_rounding_does_cannot_be_told_and_is_not_proven(
    dtype, make_model, tmp_path
):
    weak = Trained(make_model("llama"), tmp_path, dtype, strength=1e-6, runs=("mid",))
    check = weak.reloaded()["mid"]
    assert check.holds is None
    assert check.detail.startswith(f"cannot be told in {str(dtype).removeprefix('torch.')}: ")
    assert not Proof({"reproduced": check}).proven


def test_two_runs_with_the_same_records_do_not_fail_and_are_not_told_apart(make_model, tmp_path):
    """Both are mid's adapter: whichever was loaded, the numbers are the same."""
    twice = Trained(make_model("llama"), tmp_path, torch.bfloat16)
    twice.records["full"], twice.folders["full"] = twice.records["mid"], twice.folders["mid"]
    checks = twice.reloaded()
    assert [checks[run].holds for run in RUNS] == [None, None, True]
    assert "to those of mid" in checks["full"].detail
    twice.rivals["full"], twice.rivals["mid"] = ["global"], ["global"]  # where their bytes are the same
    assert [check.holds for check in twice.reloaded().values()] == [True, True, True]


def test_an_adapter_that_does_not_fit_the_base_is_a_failed_check(make_model, tmp_path):
    """Its modules have another prefix: PEFT would load nothing, with a warning."""
    from safetensors.torch import load_file, save_file

    here = Trained(make_model("llama"), tmp_path, torch.float32)
    file = here.folders["mid"] / "adapter_model.safetensors"
    tensors = {k.replace("model.layers", "other.layers"): v for k, v in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    checks = here.reloaded()
    assert [checks[run].holds for run in RUNS] == [True, False, True]
    assert "base_model.model.other.layers.2" in checks["mid"].detail


def rows(*values):
    return torch.tensor([values], dtype=torch.float64)


def test_nearer_means_by_the_stated_factor():
    """Own records 1 nat away; the base's 4 are enough, 3.9 are not, and are more than 8 times a noise of 0.1."""
    own = rows(-100.0, -100.0)
    stock = own + 1
    far = {"base": stock - NEARER}
    near = {"base": stock - 3.9}
    assert compare(stock, own, far, 0.1, torch.bfloat16).holds is True
    assert compare(stock, own, near, 0.1, torch.bfloat16).holds is False
    assert compare(stock, own, near, 0.2, torch.bfloat16).holds is None


def test_in_float32_every_row_must_come_out_however_far_others_are():
    """Allowed are 1e-4 and 2e-6 of 100 nats: 3e-4."""
    own, others = rows(-100.0, -100.0), {"base": rows(-50.0, -50.0)}
    assert compare(own + 2.9e-4, own, others, 0.0, torch.float32).holds is True
    missed = compare(own + rows(0.0, 3.1e-4), own, others, 0.0, torch.float32)
    assert missed.holds is False
    assert "differ by up to 3e-04 nats (allowed 3e-04)" in missed.detail


def test_in_float32_a_run_with_the_same_records_up_to_rounding_is_left_out_but_never_the_base():
    """Allowed are 1e-4 and 2e-6 of 100 nats, 3e-4: at 2.9e-4 nothing could be mistaken, at 3.1e-4 it could."""
    own = rows(-100.0, -100.0)
    stock, base = own + 1e-4, rows(-50.0, -50.0)
    found = compare(stock, own, {"base": base, "mid@1": own + 2.9e-4}, 0.0, torch.float32)
    assert found.holds is True
    assert "not compared with mid@1, whose records are the same up to rounding" in found.detail
    assert compare(stock, own, {"base": base, "mid@1": own + 3.1e-4}, 0.0, torch.float32).holds is None
    assert compare(stock, own, {"base": own + 2.9e-4}, 0.0, torch.float32).holds is None


def test_a_check_that_cannot_tell_makes_no_proof_and_a_failed_one_outweighs_it():
    holds, unknown, fails = Check(True, ""), Check(None, ""), Check(False, "")
    assert Proof({"a": holds}).proven
    assert not Proof({"a": holds, "b": unknown}).proven
    assert Proof({"a": unknown}).to_json() == {
        "proven": False,
        "checks": {"a": {"holds": None, "detail": ""}},
    }
    assert not Proof({"a": unknown, "b": fails}).proven
