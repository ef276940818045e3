"""Run names when the number of seeds changes: `mid` becomes `mid@0` once a second seed joins, and back.

Every step can be repeated: after an interruption the next start finishes what is left.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from stratalign.records import (
    ADAPTER_NOTES,
    BATCHES,
    LOGPROBS,
    MANIFEST,
    RESPONSES,
    STEPS,
    TIMINGS,
    StudyFolder,
    read_jsonl,
    read_record,
    told,
    write_json,
    write_text,
)
from stratalign.training import Checkpoint, read_checkpoint, write_checkpoint


def rename_runs(folder: StudyFolder, wanted: Sequence[tuple[str, int]]) -> None:
    """Rename stored runs to the ids that a study of these (condition, seed) pairs uses."""
    several = len({seed for _, seed in wanted}) > 1
    names = {
        (condition if several else f"{condition}@{seed}"): (f"{condition}@{seed}" if several else condition)
        for condition, seed in wanted
    }
    if several:
        names = _of_stored_seeds(folder, names, wanted)
    if not names:
        return
    for old, new in names.items():
        source, target = folder.adapters / old, folder.adapters / new
        if source.is_dir() and not target.exists():
            with told(target):
                os.replace(source, target)
            notes = read_record(target / "stratalign.json", ADAPTER_NOTES)
            write_json(target / "stratalign.json", notes | {"run": new})
    for file, kind in {
        folder.training: STEPS,
        folder.logprobs: LOGPROBS,
        folder.validation: LOGPROBS,
        folder.responses: RESPONSES,
    }.items():
        rows = list(read_jsonl(file, kind))
        if any(row["run"] in names for row in rows):
            renamed = [row | {"run": names.get(row["run"], row["run"])} for row in rows]
            write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in renamed))
    _rename_checkpoint(folder, names)
    _rename_batches(folder, names)
    # the manifest last: it tells whether all is renamed
    for file, kind in {folder.timings: TIMINGS, folder.manifest: MANIFEST}.items():
        content = read_record(file, kind)
        runs = content.get("runs", {})
        if any(run in names for run in runs):
            content["runs"] = {names.get(run, run): entry for run, entry in runs.items()}
            write_json(file, content)


def _of_stored_seeds(
    folder: StudyFolder, names: dict[str, str], wanted: Sequence[tuple[str, int]]
) -> dict[str, str]:
    """Of names without a seed, only those stored; each becomes condition@seed with the seed that it was run at."""
    stored = read_record(folder.manifest, MANIFEST).get("runs", {})
    return {old: f"{old}@{stored[old]['seed']}" for old in names if old in stored}


def _rename_checkpoint(folder: StudyFolder, names: dict[str, str]) -> None:
    found = read_checkpoint(folder.checkpoint)
    if found is None or not any(run in names for run in found.states):
        return
    write_checkpoint(
        folder.checkpoint,
        Checkpoint(
            found.step,
            {names.get(run, run): state for run, state in found.states.items()},
            {names.get(run, run): seen for run, seen in found.seen.items()},
            {names.get(run, run): seconds for run, seconds in found.seconds.items()},
        ),
    )


def _rename_batches(folder: StudyFolder, names: dict[str, str]) -> None:
    content = read_record(folder.batches, BATCHES)
    if content:
        for batch in content["batches"]:
            batch["runs"] = [names.get(run, run) for run in batch["runs"]]
        write_json(folder.batches, content)
