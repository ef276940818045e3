"""The difference of two checkpoints as gated updates, held against the checkpoint itself."""

import numpy as np
import pytest
import torch

from models.whole_models import KINDS, set_up
from stratalign.diagnostics import gate_slopes, gated_losses
from stratalign.engine import JointEngine
from stratalign.errors import UserError
from stratalign.losses import Objective, preference_loss
from stratalign.models import AdapterBank, read_difference
from training.joint_setups import make_trees

DPO = Objective(beta=0.5)


def two_checkpoints(kind, tmp_path, beside=False):
    """A model, its sites and engine; and a folder with another checkpoint, every second linear module changed."""
    model, sites, engine = set_up(kind)
    names = [site.name for site in sites][::2]
    before = {name: p.clone() for name, p in model.named_parameters()}
    torch.manual_seed(5)
    with torch.no_grad():
        for name in names:
            model.get_submodule(name).weight += 0.1 * torch.randn_like(model.get_submodule(name).weight)
        if beside:
            model.get_input_embeddings().weight *= 1.5
    folder = tmp_path / "tuned"
    model.save_pretrained(folder)
    merged = engine.base(engine.collate(make_trees(4))).reference
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(before[name])
    return model, sites, engine, names, folder, merged


@pytest.mark.parametrize("kind", KINDS)
def test_all_gates_open_are_the_other_checkpoint_and_all_closed_the_base(kind, tmp_path):
    model, sites, engine, names, folder, merged = two_checkpoints(kind, tmp_path)
    found = read_difference(model, [site.name for site in sites], str(folder))
    assert list(found.updates) == names
    assert found.others == {}
    engine.bank.attach_whole("tuned", found.updates)
    engine = JointEngine(engine.anatomy, engine.bank, {"tuned": 0})
    trees = make_trees(4)
    masks = {"open": {}, "closed": dict.fromkeys(names, 0.0), "half": {names[0]: 0.5}}
    losses = gated_losses(engine, "tuned", masks, trees, DPO)
    batch = engine.collate(trees)
    expected = preference_loss(merged, engine.base(batch).reference, batch.lengths(), DPO).loss
    assert np.allclose(losses["open"], expected, atol=1e-6)
    assert np.allclose(losses["closed"], np.log(2), atol=1e-9)
    assert not np.allclose(losses["half"], losses["open"], atol=1e-5)
    after = gated_losses(engine, "tuned", {"open": {}}, trees, DPO)
    assert after["open"] == losses["open"]  # gates are put back


def test_slopes_of_whole_updates_are_the_losss_slopes(tmp_path):
    """By central differences; norms are in float32, so that losses are good to 1e-7 and these to about 1e-7 / h."""
    model, sites, engine, names, folder, _ = two_checkpoints("llama", tmp_path)
    updates = read_difference(model, [site.name for site in sites], str(folder)).updates
    engine.bank.attach_whole("tuned", updates)
    engine = JointEngine(engine.anatomy, engine.bank, {"tuned": 0})
    trees, h = make_trees(4), 3e-3
    gates = torch.full((len(names),), 0.7, dtype=torch.float64)
    slopes = gate_slopes(engine, "tuned", names, gates, trees, DPO)
    at = dict.fromkeys(names, 0.7)
    for i in (0, len(names) - 1):
        shifted = {sign: at | {names[i]: 0.7 + sign * h} for sign in (1, -1)}
        mean = {
            s: np.mean(gated_losses(engine, "tuned", {"x": own}, trees, DPO)["x"])
            for s, own in shifted.items()
        }
        assert slopes[i].item() == pytest.approx((mean[1] - mean[-1]) / (2 * h), rel=1e-3)


def test_other_tensors_that_differ_are_told_by_how_much(tmp_path):
    model, sites, _, _, folder, _ = two_checkpoints("llama", tmp_path, beside=True)
    found = read_difference(model, [site.name for site in sites], str(folder))
    assert found.others["model.embed_tokens.weight"] == pytest.approx(0.5)  # 1.5 times as large
    assert not any("embed" in name for name in found.updates)


def test_the_same_checkpoint_and_one_of_another_model_are_refused(tmp_path):
    model, sites, _ = set_up("llama")
    names = [site.name for site in sites]
    model.save_pretrained(tmp_path / "same")
    with pytest.raises(UserError, match="No linear module of"):
        read_difference(model, names, str(tmp_path / "same"))
    other, _, _ = set_up("qwen3")
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="no checkpoint of this study's model"):
        read_difference(model, names, str(tmp_path / "other"))


def test_a_run_of_whole_updates_takes_no_part_in_another_run():
    model, sites, _ = set_up("llama", lambda name: True)
    bank = AdapterBank(model)
    name = sites[0].name
    x = torch.randn(3, sites[0].in_features, dtype=torch.float64)
    bank.attach_whole("tuned", {name: torch.ones(sites[0].out_features, sites[0].in_features).double()})
    module = model.get_submodule(name)
    plain = module(x)
    with bank.active("tuned"), bank.gated("tuned", {name: 0.5}):
        assert torch.allclose(module(x), plain + 0.5 * x.sum(dim=1, keepdim=True))
    assert torch.equal(module(x), plain)
