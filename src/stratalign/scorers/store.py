"""What scorers have scored already, in line files, so that an interruption or a second look costs nothing.

A value is kept under a digest of the scorer's identity and the texts: it cannot become stale, and identical texts are
scored once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stratalign.records import SCORED, Progress, append_jsonl, digest, read_jsonl, silent
from stratalign.scorers.scorer import Exchange, Scorer, Values

AT_ONCE = 256
"""Texts that are handed to a scorer, and then kept, together."""


def score_stored(
    scorer: Scorer, exchanges: Sequence[Exchange], folder: Path, progress: Progress = silent
) -> Values:
    """One value for each exchange in each dimension; only what `folder` does not hold yet is scored.

    Raises:
        UserError: see the scorer's own.
    """
    file = folder / f"{scorer.name}.jsonl"
    keys = [digest([scorer.hash, list(one)]) for one in exchanges]
    there = {row["key"]: row["scores"] for row in read_jsonl(file, SCORED)}
    declared = {dimension.name for dimension in scorer.dimensions or ()}
    wrong = [key for key in keys if declared and key in there and set(there[key]) != declared]
    if wrong:
        raise SCORED.damaged(
            str(file), f"the line of the key {wrong[0]} has other scores than {scorer.name} gives"
        )
    missing = {key: one for key, one in zip(keys, exchanges, strict=True) if key not in there}
    todo = list(missing.items())
    for start in range(0, len(todo), AT_ONCE):
        part = todo[start : start + AT_ONCE]
        values = scorer.score([one for _, one in part])
        rows = [
            {"key": key, "scores": {name: column[i] for name, column in values.items()}}
            for i, (key, _) in enumerate(part)
        ]
        append_jsonl(file, rows)
        there |= {row["key"]: row["scores"] for row in rows}
        progress(scorer.name, start + len(part), len(todo))
    names = list(dict.fromkeys(name for key in keys for name in there[key]))
    return {name: [there[key].get(name) for key in keys] for name in names}
