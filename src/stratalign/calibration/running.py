"""Many worlds one after the other, each recorded when it is done: a killed run goes on with the next.

Knows nothing of what instruments do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from stratalign.calibration.instruments import InstrumentSettings, look
from stratalign.calibration.worlds import Kind, WorldSettings, make_world
from stratalign.errors import UserError
from stratalign.generation import Prompt
from stratalign.microworld import NAME, people, requests
from stratalign.models import ModelSettings, base_files, list_sites, load_model, load_tokenizer
from stratalign.records import SCHEMA, WORLD, Progress, digest, locked, read_record, silent, write_json

FIRST_SEED = {"planted": 1, "null": 1, "null, damaged": 1}
"""Seeds of the worlds that are reported. Rules and sizes were chosen on seeds from 1001 on."""


def calibrate(
    out: Path,
    asked: Sequence[tuple[Kind, int]],
    worlds: WorldSettings,
    instruments: InstrumentSettings,
    model: str = NAME,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """The record of every world asked for, in that order; those that are there already stand.

    Args:
        out: folder of the records, one file for each world.
        asked: kinds and seeds.
        model: the micro-world's, or a folder with a model that answers its requests.

    Raises:
        UserError: a record there was made with other settings or another model; another process works there.
    """
    made_from = digest(
        {
            "worlds": worlds.model_dump(),
            "instruments": instruments.model_dump(),
            "files": base_files(ModelSettings(base=model)),
        }
    )
    found = []
    with locked(out):
        for number, (kind, seed) in enumerate(asked):
            path = out / f"{kind.replace(', ', '-')}-{seed}.json"
            record = read_record(path, WORLD)
            if not record:
                record = _measure(kind, seed, worlds, instruments, model) | {"made_from": made_from}
                write_json(path, record)
            elif record.get("made_from") != made_from:
                raise UserError(
                    f"{path} was made with other settings or another model. Name another folder with --out, or remove "
                    "that one."
                )
            found.append(record)
            progress("worlds", number + 1, len(asked))
    return found


def spread_seeds(planted: int, nulls: int) -> list[tuple[Kind, int]]:
    """So many planted worlds and null worlds; every second null world has a damaged model."""
    even = nulls - nulls // 2
    return [
        *(("planted", FIRST_SEED["planted"] + i) for i in range(planted)),
        *(("null", FIRST_SEED["null"] + i) for i in range(even)),
        *(("null, damaged", FIRST_SEED["null, damaged"] + i) for i in range(nulls - even)),
    ]


def _measure(
    kind: Kind, seed: int, worlds: WorldSettings, instruments: InstrumentSettings, model: str
) -> dict[str, Any]:
    settings = ModelSettings(base=model)
    loaded = load_model(settings, dtype=torch.float32, device=torch.device("cpu"))
    tokenizer = load_tokenizer(settings)
    sites = [site for site in list_sites(loaded.model) if site.frozen is None]
    world = make_world(kind, seed, loaded, sites, tokenizer, training_prompts(tokenizer), worlds)
    return {
        "schema": SCHEMA,
        "kind": kind,
        "seed": seed,
        "layers": sorted({site.layer for site in sites}),
        "damaged": world.layer,
        "planted": world.planted,
        "strength": world.strength,
        "pairs": {
            "train": len(world.train),
            "held_back": len(world.held_back),
            "left_out": world.left_out,
        },
        "instruments": look(loaded, sites, world, instruments),
    }


def training_prompts(tokenizer: PreTrainedTokenizerBase) -> list[Prompt]:
    """The micro-world's requests about people to train on; no other people are asked about."""
    known = people()
    return [
        Prompt(name, request.person, request.text, tuple(tokenizer(request.text)["input_ids"]))
        for name, request in requests().items()
        if known[request.person].part == "train"
    ]
