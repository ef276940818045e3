"""Tiny models whose every layer is replayed, with a run on some of their modules: what diagnoses look at."""

import torch

from stratalign.engine import JointEngine
from stratalign.models import AdapterBank, AdapterSpec, can_stop, check_packing, find_anatomy, list_sites
from stratalign.models.packing import fuses
from tiny_models import random_model

KINDS = ["llama", "qwen3", "gemma3_text", "phi3", "gpt_neox", "gpt2"]


def set_up(kind, modules=lambda name: False):
    """A float64 model, packed and fused where it can be, and a run `r` on some modules whose B is not zero."""
    torch.manual_seed(0)
    model = random_model(kind, 4, 101).double().eval().requires_grad_(False)
    anatomy = find_anatomy(model)
    sites = list_sites(model)
    anatomy = anatomy._replace(packs=bool(check_packing(model, anatomy)), stops=can_stop(model, anatomy))
    anatomy = anatomy._replace(fused=fuses(model, anatomy))
    bank = AdapterBank(model)
    bank.attach(AdapterSpec("r", tuple(s.name for s in sites if modules(s.name)), 3, 6))
    for p in bank.parameters("r").values():
        p.data.normal_(std=0.2)
    return model, sites, JointEngine(anatomy, bank, {"r": 0})
