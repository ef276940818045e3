"""Fingerprints: what each stored result depends on, so that a change which would make it stale is refused.

A fingerprint is a small mapping of names to values, stored in full, so that a refusal can show the difference.
Additions (a condition, a seed) bring new fingerprints and leave the stored ones alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stratalign.blocks import describe_layers
from stratalign.errors import UserError
from stratalign.losses import LOSSES
from stratalign.models import ModelShape
from stratalign.pipeline.tuning import Tuned
from stratalign.preferences import Preference, Split
from stratalign.recipe import Recipe
from stratalign.records import (
    FINGERPRINTS,
    SEEDS_VARY,
    VARIES,
    StudyFolder,
    digest,
    read_record,
    write_json,
)
from stratalign.training import LOSS_KEYS, SHARED_KEYS, Run, TrainingSettings

Fingerprints = dict[str, dict[str, Any]]

_BY_DEFAULT = {f"seeds_vary.{what}": "listed" if what in SEEDS_VARY else "not listed" for what in VARIES}
"""What a run without such an entry was made with."""


def fingerprints_of(
    recipe: Recipe,
    shape: ModelShape,
    runs: Sequence[Run],
    tuned: Sequence[Tuned],
    data_digest: str,
    *,
    turn_end: str | None = None,
    tokenizer_of_adapter: bool = False,
) -> Fingerprints:
    """What each stored result depends on. Of a tuned condition the values do not count: they are chosen, and may be
    chosen anew when the grid grows."""
    grids = {one.condition: one.grid for one in tuned}
    training = recipe.training.model_dump(mode="json")
    free = ("checkpoint_every", "checkpointing", "reference")  # change no result beyond rounding
    shared = {key: training[key] for key in SHARED_KEYS if key not in free}
    data = recipe.preferences.model_dump(mode="json", exclude={"objective", "max_bad", "source"})
    if data["template"] == "auto":
        data["template"] = (
            "raw"  # left unsettled where every row is messages: the default of studies made before it
        )
    for key in ("chat_template", "chat_template_kwargs", "date", "columns"):
        if not data[key]:
            del data[key]  # so that studies made before these keys stay fresh
    prints: Fingerprints = {
        "model": {
            **recipe.model.model_dump(mode="json"),
            "type": shape.model_type,
            "layers": shape.n_layers,
            **({"tokenizer": "of the adapter"} if tokenizer_of_adapter else {}),
        },
        "preferences": {
            **data,
            "digest": data_digest,
            **{k: training[k] for k in ("max_length", "on_long")},
        },
        "training": shared,
        "generation": {
            **recipe.generation.model_dump(mode="json"),
            **({} if turn_end is None else {"turn_end": turn_end}),
        },
    }
    for run in (*runs, *(run for one in tuned for each in one.candidates for run in each.runs)):
        if run.condition.name in grids:
            prints[f"run {run.condition.name}@{run.seed}"] = {
                "layers": describe_layers(run.condition.layers),
                "tuned by": grids[run.condition.name].by,
                **_drawn_otherwise(run),
            }
            continue
        prints[f"run {run.condition.name}@{run.seed}"] = {
            "layers": describe_layers(run.condition.layers),
            "phases": [{"steps": p.steps, "learning_rate": dict(p.modules)} for p in run.condition.phases],
            "rank": run.condition.rank,
            "labels": run.condition.labels,
            "sampling_seed": run.condition.sampling_seed,
            "training": {
                key: value
                for key, value in run.settings.model_dump(mode="json").items()
                if key
                not in (*SHARED_KEYS, "learning_rate", "targets", "rank", *_without_effect(run.settings))
            },
            **_drawn_otherwise(run),
        }
    return prints


def diagnosed_from(preferences: Mapping[str, Any], parts: Split) -> dict[str, Any]:
    """What a record depends on of the preferences: how they are read, and the rows to train and to validate on. Not
    which others are held out: where rows name their part, more of them change nothing.

    Args:
        preferences: the fingerprint of that name.
    """
    rows = {
        "train": [_as_stored_row(row) for row in parts.train],
        "validation": [_as_stored_row(row) for row in parts.validation],
    }
    kept = {key: value for key, value in preferences.items() if key not in ("held_out", "digest")}
    return {**kept, "rows": digest(rows)}


def _as_stored_row(row: Preference) -> dict[str, Any]:
    """The row's values; without tools, which few rows have, as records were made before rows could have them."""
    return {key: value for key, value in asdict(row).items() if key != "tools" or value}


def check_fresh(folder: StudyFolder, wanted: Fingerprints) -> None:
    """Compare what is asked with what the stored results were made from.

    Raises:
        UserError: a stored result would be stale; nothing was changed.
    """
    if folder.manifest.is_file() and not folder.fingerprints.is_file():
        raise UserError(
            f"{folder.fingerprints} is missing, so nobody can tell what the results in that folder were made from. "
            "Restore it, or name a new folder with --out."
        )
    stored: Fingerprints = read_record(folder.fingerprints, FINGERPRINTS)
    alike: dict[tuple[str, str], list[str]] = {}  # a learning rate changes in every module at once
    for stage, values in wanted.items():
        if stage not in stored:
            continue
        for key, before, now in _changes(_BY_DEFAULT | stored[stage], _BY_DEFAULT | as_stored(values)):
            alike.setdefault((stage, f"was {_short(before)}, now {_short(now)}"), []).append(key)
    differences = [
        f"{stage}: {keys[0]}{f' (and {len(keys) - 1} more)' if len(keys) > 1 else ''} {change}"
        for (stage, change), keys in alike.items()
    ]
    if differences:
        shown = "\n  ".join(differences[:10]) + (
            f"\n  and {len(differences) - 10} more" if len(differences) > 10 else ""
        )
        raise UserError(
            f"{folder.path} holds results that this change would make stale. Nothing was touched.\n  {shown}\n"
            "Name a new folder with --out, or take the change back. Adding conditions or seeds is always possible. "
            f"What the results were made from stands in {folder.fingerprints}."
        )


def add_fingerprints(folder: StudyFolder, new: Fingerprints) -> None:
    """Store the fingerprints of results that are about to be made."""
    stored: Fingerprints = read_record(folder.fingerprints, FINGERPRINTS)
    merged = stored | {stage: as_stored(values) for stage, values in new.items()}
    if merged != stored:
        write_json(folder.fingerprints, dict(sorted(merged.items())))


def _drawn_otherwise(run: Run) -> dict[str, str]:
    """What the run's seed draws and would not by default, or the other way round; nothing of seed 0, which is what all
    seeds share, and of a run that does not train nothing but the sampling."""
    return {
        f"seeds_vary.{what}": "listed" if what in run.varies else "not listed"
        for what in (VARIES if run.condition.trains else ("sampling",))
        if run.seed and (what in run.varies) != (what in SEEDS_VARY)
    }


def _without_effect(settings: TrainingSettings) -> list[str]:
    """Settings of losses that the run's own does not read, or that are 0, which is as if there were no such setting."""
    reads = LOSSES[settings.loss].reads
    return [key for key in LOSS_KEYS if key not in reads or not getattr(settings, key)]


def _changes(
    before: Mapping[str, Any], now: Mapping[str, Any], path: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    for key in dict.fromkeys([*before, *now]):
        place = f"{path}.{key}" if path else str(key)
        old, new = before.get(key, "not set"), now.get(key, "not set")
        if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            old, new = dict(enumerate(old)), dict(enumerate(new))
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, place)
        elif old != new:
            yield place, old, new


def as_stored(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists, keys strings."""
    if isinstance(value, Mapping):
        return {str(key): as_stored(item) for key, item in value.items()}
    return [as_stored(item) for item in value] if isinstance(value, (list, tuple)) else value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
