"""Samples answers of the base model, and makes the shipped preference sets from them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from stratalign.generation import GenerationSettings, Prompt, answer, batches
from stratalign.microworld import (
    PREFERENCE_SETS,
    Part,
    Person,
    Request,
    draw_request,
    people,
)
from stratalign.microworld.pairing import Pair, best_pair, minimal_pair
from stratalign.models import ModelSettings, load_model, load_tokenizer
from stratalign.records import Progress, silent

SAMPLES = 8
ASKED = {"train": 12, "validation": 10, "held_out": 10}
"""Requests about each person, from which a set takes those that have a pair."""
KEPT: dict[Part, int] = {"train": 10, "validation": 6, "held_out": 6}
"""Pairs of each person in a set."""
MOST_TOKENS = 160
SEED = 11


def requests(seed: int = SEED) -> dict[str, Request]:
    """Every request that answers are sampled for, by its id; about each person as many as `ASKED` says."""
    found: dict[str, Request] = {}
    for person in people().values():
        draw = random.Random(f"requests {seed} {person.name}")
        own: list[Request] = []
        while len(own) < ASKED[person.part]:
            request = draw_request(person.name, draw)
            if request not in own:
                own.append(request)
        found |= {f"{person.name} {i}": request for i, request in enumerate(own)}
    return found


def sample(
    base: Path, asked: Mapping[str, Request], seed: int = SEED, progress: Progress = silent
) -> dict[str, list[str]]:
    """`SAMPLES` answers of the base model to every request, at temperature 1. One thread, so that bits stay."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = ModelSettings(base=str(base))
        loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
        tokenizer = load_tokenizer(settings)
        generation = GenerationSettings(max_new_tokens=MOST_TOKENS, temperature=1.0, batch_size=256)
        prompts = [
            Prompt(name, name, request.text, tuple(tokenizer(request.text)["input_ids"]))
            for name, request in asked.items()
        ]
        groups = batches(prompts, generation.batch_size)
        found: dict[str, list[str]] = {name: [] for name in asked}
        for number in range(SAMPLES):
            for group in groups:
                answers = answer(loaded.model, tokenizer, group, generation, key=("pool", seed, number))
                for prompt, own in zip(group, answers, strict=True):
                    # One that never ended was cut here, not by the model: it is no answer.
                    found[prompt.prompt_id].append(own.text if own.finish == "stop" else "")
            progress("sampling", number + 1, SAMPLES)
    finally:
        torch.set_num_threads(threads)
    return found


def preference_sets(
    asked: Mapping[str, Request], answers: Mapping[str, list[str]], progress: Progress = silent
) -> dict[str, list[dict[str, Any]]]:
    """The rows of every shipped set: prompt, chosen, rejected, cluster (the person) and part.

    The held-out and validation prompts are the same in all sets: the first requests about a person that have a
    pair for every objective. Each set takes its own training prompts: those whose pairs are worth most.
    """
    known = people()
    sampled = {name: one for name, one in PREFERENCE_SETS.items() if name != "minimal"}
    pairs: dict[str, dict[str, Pair | None]] = {}
    for done, (name, one) in enumerate(sampled.items(), start=1):
        pairs[name] = {key: best_pair(asked[key], answers[key], one.objective, known) for key in asked}
        progress("labelling", done, len(sampled))
    pairs["minimal"] = {key: minimal_pair(request, known, key) for key, request in asked.items()}
    sets: dict[str, list[dict[str, Any]]] = {name: [] for name in pairs}
    for person in known.values():
        own = [key for key, request in asked.items() if request.person == person.name]
        common = [key for key in own if all(found[key] is not None for found in pairs.values())]
        for name, found in pairs.items():
            if person.part == "train":
                there = [key for key in own if found[key] is not None]
                keys = sorted(there, key=lambda key: -_worth(found[key]))
            else:
                keys = common
            sets[name] += [_row(found[key], person) for key in keys[: KEPT[person.part]]]
    return sets


def _worth(pair: Pair | None) -> float:
    return pair.worth if pair is not None else 0.0


def _row(pair: Pair | None, person: Person) -> dict[str, Any]:
    assert pair is not None
    return {
        "prompt": pair.request.text,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "cluster": person.name,
        "part": person.part,
    }
