"""Makes what ships with the micro-world: pretrains its base model, samples and labels its preference sets."""

from stratalign.microworld import requests
from stratalign.microworld_build.building import (
    base_scores,
    build_base,
    build_preferences,
    first_steps,
    machine,
)
from stratalign.microworld_build.pretraining import Pretraining, pretrain, save, weights_digest
from stratalign.microworld_build.sampling import preference_sets, sample
from stratalign.microworld_build.tokenizing import make_tokenizer

__all__ = [
    "Pretraining",
    "base_scores",
    "build_base",
    "build_preferences",
    "first_steps",
    "machine",
    "make_tokenizer",
    "preference_sets",
    "pretrain",
    "requests",
    "sample",
    "save",
    "weights_digest",
]
