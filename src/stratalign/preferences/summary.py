"""What preferences.json says: how the rows were read and split. Knows nothing of files or tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from stratalign.preferences.dialogues import Preference
from stratalign.preferences.reading import BadRow, Preferences, by_reason
from stratalign.preferences.splits import Split, parts_are_given

_LISTED = 20
"""Lines listed for each reason and note; the files themselves list all."""


def describe(parts: Split, preferences: Preferences, bad: Sequence[BadRow] = ()) -> dict[str, Any]:
    """Counts, clusters, bad rows by reason, notes, columns and the source's digest.

    `bad` are rows that tokenising refused, after reading and splitting; they still count in their part.
    """
    refused = [*preferences.bad, *bad]
    return {
        "source": preferences.source,
        "digest": preferences.digest,
        "columns": list(preferences.columns),
        "columns_not_read": list(preferences.unread),
        "forms": dict(preferences.forms),
        "rows": {"read": preferences.total, "kept": len(preferences.rows), "bad": len(preferences.bad)},
        "refused_by_tokenising": len(bad),
        "kinds": dict(sorted(Counter(row.kind for row in preferences.rows).items())),
        "demonstrations": sum(row.rejected is None for row in preferences.rows),
        "clusters": len({row.cluster for row in preferences.rows}),
        "split": "given by the rows" if parts_are_given(preferences.rows) else "drawn",
        "parts": {
            "train": _part(parts.train),
            "validation": _part(parts.validation),
            "held_out": _part(parts.held_out),
            "unused": _part(parts.unused),
        },
        "bad": {reason: _lines([row.line for row in rows]) for reason, rows in by_reason(refused).items()},
        "notes": {note: _lines(lines) for note, lines in preferences.notes.items()},
    }


def _part(rows: Sequence[Preference]) -> dict[str, int]:
    return {"rows": len(rows), "clusters": len({row.cluster for row in rows})}


def _lines(lines: Sequence[int]) -> dict[str, Any]:
    return {"count": len(lines), "first_lines": list(lines[:_LISTED])}
