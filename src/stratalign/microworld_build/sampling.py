"""Samples answers of the base model, and makes the shipped preference sets from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stratalign.generation import GenerationSettings, Prompt, answer, batches
from stratalign.microworld import (
    PREFERENCE_SETS,
    REQUESTS_SEED,
    Part,
    Person,
    Request,
    people,
)
from stratalign.microworld_build.pairing import Pair, best_pair, minimal_pair
from stratalign.models import ModelSettings, load_model, load_tokenizer
from stratalign.records import Progress, silent

SAMPLES = 8
KEPT: dict[Part, int] = {"train": 12, "validation": 6, "held_out": 6}
"""Pairs of each person in a set, at most."""
TRAIN = 600
"""Pairs to train on in each set."""
MOST_TOKENS = 160


def sample(
    base: Path, asked: Mapping[str, Request], seed: int = REQUESTS_SEED, progress: Progress = silent
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

    The held-out and validation prompts are the same in all sets: the first requests about a person whose answers
    differ in every objective. Each set takes its own training prompts: those whose pairs are worth most.
    """
    known = people()
    sampled = {name: one for name, one in PREFERENCE_SETS.items() if name != "minimal"}
    pairs: dict[str, dict[str, Pair]] = {}
    for done, (name, one) in enumerate(sampled.items(), start=1):
        best = {key: best_pair(asked[key], answers[key], one.objective, known) for key in asked}
        pairs[name] = {key: pair for key, pair in best.items() if pair is not None}
        progress("labelling", done, len(sampled))
    pairs["minimal"] = {key: minimal_pair(request, known, key) for key, request in asked.items()}
    by_person: dict[str, list[str]] = {}
    for key, request in asked.items():
        by_person.setdefault(request.person, []).append(key)
    sets: dict[str, list[dict[str, Any]]] = {}
    for name, found in pairs.items():
        train = _for_training(found, by_person, known)
        sets[name] = [_row(pair, known[pair.request.person]) for pair in train]
        for person in known.values():
            if person.part != "train":
                common = [key for key in by_person[person.name] if all(key in one for one in pairs.values())]
                sets[name] += [_row(found[key], person) for key in common[: KEPT[person.part]]]
    return sets


def _for_training(
    found: Mapping[str, Pair], by_person: Mapping[str, Sequence[str]], known: Mapping[str, Person]
) -> list[Pair]:
    """The pairs that are worth most: so many of each person, and of all people together."""
    most: list[Pair] = []
    for name, keys in by_person.items():
        if known[name].part == "train":
            own = [found[key] for key in keys if key in found and found[key].worth > 0]
            most += sorted(own, key=lambda pair: -pair.worth)[: KEPT["train"]]
    return sorted(most, key=lambda pair: -pair.worth)[:TRAIN]


def _row(pair: Pair, person: Person) -> dict[str, Any]:
    return {
        "prompt": pair.request.text,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "cluster": person.name,
        "part": person.part,
    }
