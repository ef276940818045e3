"""Reads a whole source into preferences, keeping account of every row that cannot be used.

A bad row is never dropped in silence: it is listed with its line and a reason, and too many of them stop the
study. Files are read by sources.py, rows by dialogues.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stratalign.errors import UserError, unknown_name
from stratalign.preferences.dialogues import (
    ACCEPTED,
    Asked,
    Preference,
    Refused,
    interpret,
    interpret_prompt,
    row_name,
)
from stratalign.preferences.settings import PreferenceSettings
from stratalign.preferences.sources import read_rows, source_digest
from stratalign.preferences.trees import TOO_LONG

_NO_PAIR = "it has no chosen and rejected, which every loss but training.loss: sft needs"


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: a fixed reason, and what it was in this row."""

    line: int
    row_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Preferences:
    """All that was read from a source. `notes` names oddities of rows that were kept, by their lines.

    `columns` are those that the source has, `unread` those that no kept row was read from. `forms` has by form how many
    rows were kept (`rows`) and which columns they were read from (`columns`).
    """

    rows: tuple[Preference, ...]
    bad: tuple[BadRow, ...]
    notes: Mapping[str, tuple[int, ...]]
    columns: tuple[str, ...]
    source: str
    digest: str
    unread: tuple[str, ...] = ()
    forms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return len(self.rows) + len(self.bad)


def load(settings: PreferenceSettings, *, demonstrations: bool = False) -> Preferences:
    """Read the source that the settings name. Write `bad` where the user finds it, then call `check_bad`.

    Args:
        settings: the source and its form.
        demonstrations: whether rows with nothing rejected are of use; they are bad rows otherwise.

    Raises:
        UserError: the source is missing, damaged, empty or cannot be reached, or has no column that the settings name.
    """
    rows: list[Preference] = []
    bad: list[BadRow] = []
    notes: dict[str, list[int]] = {}
    columns: dict[str, None] = {}
    unread: dict[str, None] = {}
    forms: dict[str, dict[str, Any]] = {}
    for line, row in read_rows(settings):
        if isinstance(row, Mapping):
            columns.update(dict.fromkeys(str(key) for key in row))
        try:
            preference, remarks, form, read = interpret(line, row, settings)
            if preference.rejected is None and not demonstrations:
                raise Refused("demonstration", _NO_PAIR)
        except Refused as refusal:
            bad.append(BadRow(line, row_name(line), refusal.reason, refusal.detail))
            continue
        rows.append(preference)
        for remark in remarks:
            notes.setdefault(remark, []).append(line)
        seen = forms.setdefault(form, {"rows": 0, "columns": {}})
        seen["rows"] += 1
        seen["columns"].update(dict.fromkeys(read))
        if isinstance(row, Mapping):
            unread.update(dict.fromkeys(str(column) for column in row if column not in read))
    _check_columns(settings, columns)
    return Preferences(
        rows=tuple(rows),
        bad=tuple(bad),
        notes={remark: tuple(lines) for remark, lines in notes.items()},
        columns=tuple(columns),
        source=settings.source,
        digest=source_digest(settings),
        unread=tuple(column for column in columns if column in unread),
        forms={form: {**seen, "columns": list(seen["columns"])} for form, seen in forms.items()},
    )


def load_prompts(settings: PreferenceSettings) -> tuple[tuple[Asked, ...], tuple[BadRow, ...]]:
    """The prompts of a source of pairs, demonstrations or prompts alone, each text once; and the rows without one.

    Raises:
        UserError: the source is missing, damaged, empty or cannot be reached.
    """
    found: dict[str, Asked] = {}
    bad: list[BadRow] = []
    for line, row in read_rows(settings):
        try:
            asked = interpret_prompt(line, row, settings)
        except Refused as refusal:
            bad.append(BadRow(line, row_name(line), refusal.reason, refusal.detail))
            continue
        found.setdefault(repr(asked.prompt), asked)
    return tuple(found.values()), tuple(bad)


def check_bad(
    bad: Sequence[BadRow],
    total: int,
    settings: PreferenceSettings,
    where_written: str | Path | None = None,
    columns: Sequence[str] = (),
) -> None:
    """Stop when more rows are bad than `max_bad` allows, at least half are too long, or none is left.

    `where_written` is the file that lists the bad rows; `columns` are those that the source has.

    Raises:
        UserError: with the counts by reason, the first lines of each, and what to do.
    """
    long = [row for row in bad if row.reason == TOO_LONG]
    others = [row for row in bad if row.reason != TOO_LONG]
    if not bad or (len(bad) < total and len(others) / total <= settings.max_bad and 2 * len(long) < total):
        return
    listed = f" They are listed in {where_written}." if where_written else ""
    if 2 * len(long) >= total:
        raise UserError(
            f"{len(long)} of {total} rows of {settings.source} are longer than training.max_length allows: "
            f"{_counted(TOO_LONG, long)}.{listed} Raise training.max_length, or set training.on_long: truncate."
        )
    if settings.template == "chat" and any("chat template" in row.reason for row in others):
        listed += " With preferences.template: raw, plain text and transcripts are used as they are written."
    reasons = "; ".join(_counted(reason, rows) for reason, rows in by_reason(others).items())
    if len(bad) >= total and {row.reason for row in others} == {"missing column"}:
        found = ", ".join(columns) or "none"
        raise UserError(
            f"No row of {settings.source} can be used: every one misses a column ({reasons}). Columns found: {found}. "
            f"Accepted forms: {ACCEPTED}. {_mapping(columns)}{listed}"
        )
    if len(bad) >= total:
        raise UserError(
            f"None of the {total} rows of {settings.source} can be used: {reasons}. Correct the source or choose "
            f"another preferences.format.{listed}"
        )
    raise UserError(
        f"{len(others)} of {total} rows of {settings.source} cannot be used ({len(others) / total:.1%}; "
        f"preferences.max_bad allows {settings.max_bad:.1%}): {reasons}.{listed} Correct or remove them, or raise "
        "preferences.max_bad."
    )


_SYNONYMS = {
    "prompt": ("query", "question", "instruction", "input", "user", "text", "post"),
    "chosen": ("good", "better", "accepted", "preferred", "positive", "winner", "chosen_response", "choice"),
    "rejected": ("bad", "worse", "dispreferred", "negative", "loser", "rejected_response", "reject"),
}
"""What columns are often called: for a suggestion only."""


def _mapping(columns: Sequence[str]) -> str:
    """How to name columns that are called otherwise."""
    left = [column for column in columns if column not in _SYNONYMS]
    guessed = {
        ours: ours
        if ours in columns
        else next((one for one in left if one.casefold() in names), "YOUR_COLUMN")
        for ours, names in _SYNONYMS.items()
    }
    wanted = ", ".join(f"{ours}: {theirs}" for ours, theirs in guessed.items() if ours != theirs)
    return (
        f"Rename the columns, or say which is which with preferences.columns, for example {{{wanted}}}."
        if wanted
        else "Give a source in one of these forms."
    )


def _check_columns(settings: PreferenceSettings, columns: Mapping[str, None]) -> None:
    for ours, theirs in settings.columns.items():
        if theirs is not None and theirs not in columns:
            raise unknown_name(f"column in preferences.columns.{ours}:", theirs, columns)


def by_reason(bad: Sequence[BadRow]) -> dict[str, list[BadRow]]:
    """Bad rows grouped by their reason, the most frequent first."""
    counts = Counter(row.reason for row in bad)
    return {reason: [row for row in bad if row.reason == reason] for reason, _ in counts.most_common()}


def _counted(reason: str, rows: Sequence[BadRow]) -> str:
    lines = ", ".join(str(row.line) for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
    details = {row.detail for row in rows if row.detail}
    detail = f": {details.pop()}" if len(details) == 1 else ""
    return f"{len(rows)} {reason}{detail} (line{'s' if len(rows) > 1 else ''} {lines})"
