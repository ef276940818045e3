"""Gradients seen by taps against autograd's own, on weights that are not frozen."""

import pytest
import torch
from peft.tuners.lora import LoraLayer

from models.whole_models import KINDS, set_up
from stratalign.losses import Objective, preference_loss
from stratalign.models import tapped, weight_norm
from training.joint_setups import make_trees


def seen(engine, names, trees):
    """The gradient of the summed DPO loss by each module's weight, from taps."""
    found = {}

    def receive(name, inputs, slopes):
        found[name] = found.get(name, 0) + slopes.t() @ inputs

    batch = engine.collate(trees)
    passed = engine.base(batch)
    passed.captured.hidden[0].requires_grad_()
    with tapped(engine.model, names, receive), engine.active("r", frozenset()):
        policy = engine.forward(batch, "r", passed)
        preference_loss(
            policy, passed.reference - 1, batch.lengths(), Objective(beta=0.5)
        ).loss.sum().backward()
    return found, passed.reference


def by_autograd(model, trees, reference):
    """The same by autograd on the stock model's own weights, one sequence at a time."""
    for module in model.modules():
        base = module.get_base_layer() if isinstance(module, LoraLayer) else module
        if getattr(base, "weight", None) is not None and base.weight.dim() == 2:
            base.weight.requires_grad_()
    total = 0.0
    for tree, own in zip(trees, reference, strict=True):
        sums = []
        for branch in tree.branches:
            ids = [*tree.prefix, *branch.ids]
            first = len(tree.prefix) + branch.first_label
            logp = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].log_softmax(-1)
            sums.append(sum(logp[i - 1, ids[i]] for i in range(first, len(ids))))
        margin = (sums[0] - own[0] + 1) - (sums[1] - own[1] + 1)
        total = total - torch.nn.functional.logsigmoid(0.5 * margin)
    total.backward()
    found = {}
    for name, module in model.named_modules():
        base = module.get_base_layer() if isinstance(module, LoraLayer) else module
        grad = getattr(getattr(base, "weight", None), "grad", None)
        if grad is not None:
            found[name] = grad.t() if type(base).__name__ == "Conv1D" else grad
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_taps_see_autograds_gradient_of_every_frozen_weight(kind):
    model, sites, engine = set_up(kind)
    trees = make_trees(3)
    names = [site.name for site in sites]
    ours, reference = seen(engine, names, trees)
    assert set(ours) == set(names)
    stock = by_autograd(model, trees, reference)
    for site in sites:
        assert ours[site.name].shape == (site.out_features, site.in_features)
        difference = (ours[site.name] - stock[site.name]).norm() / stock[site.name].norm()
        assert difference < 1e-5, site.name  # norms are computed in float32 inside some models


def test_with_an_adapter_the_gradient_is_that_of_the_merged_weight():
    """W + scale B A in place of W: the same outputs, so the same gradient, by the chain rule's first factor."""
    _model, sites, engine = set_up("llama", lambda name: name.endswith(("q_proj", "down_proj")))
    trees = make_trees(3)
    names = [site.name for site in sites]
    ours, reference = seen(engine, names, trees)
    merged, _, _ = set_up("llama")
    with torch.no_grad(), engine.active("r"):
        norms = {name: weight_norm(engine.model, name) for name in names}
        for name in names:
            module = engine.model.get_submodule(name)
            if isinstance(module, LoraLayer):
                merged.get_submodule(name).weight += module.get_delta_weight("run:r")
    stock = by_autograd(merged, trees, reference)
    for name in names:
        assert (ours[name] - stock[name]).norm() < 1e-5 * stock[name].norm(), name
        assert norms[name] == pytest.approx(merged.get_submodule(name).weight.norm().item(), rel=1e-12)
