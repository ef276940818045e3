"""Reads a whole source into preferences, keeping account of every row that cannot be used.

A bad row is never dropped in silence: it is listed with its line and a reason, and too many of them stop the
study. File formats are files.py's, forms of rows forms.py's and dialogues.py's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from stratalign.preferences.forms import holds
from stratalign.preferences.settings import PreferenceSettings
from stratalign.preferences.sources import read_rows, source_digest

TOO_LONG = "too long"
SOUND = (TOO_LONG, "marked as undesirable", "no preference")
"""Reasons of rows that are left out and have nothing wrong with them; they do not count against `max_bad`."""

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
    """All that was read from a source. `notes` names oddities of rows that were kept, by their lines; `unread` are the
    columns that no row was read from, `forms` the forms of the rows and how many have each."""

    rows: tuple[Preference, ...]
    bad: tuple[BadRow, ...]
    notes: Mapping[str, tuple[int, ...]]
    columns: tuple[str, ...]
    unread: tuple[str, ...]
    forms: Mapping[str, int]
    source: str
    digest: str

    @property
    def total(self) -> int:
        return len(self.rows) + len(self.bad)


def load(settings: PreferenceSettings, *, demonstrations: bool = False) -> Preferences:
    """Read the source that the settings name. Write `bad` where the user finds it, then call `check_bad`.

    Args:
        settings: the source and its form.
        demonstrations: whether rows with nothing rejected are of use; they are bad rows otherwise.

    Raises:
        UserError: the source is missing, damaged, empty or cannot be reached.
    """
    rows: list[Preference] = []
    bad: list[BadRow] = []
    notes: dict[str, list[int]] = {}
    columns: dict[str, None] = {}
    looked: set[str] = set()
    forms: Counter[str] = Counter()
    for line, row in read_rows(settings):
        if isinstance(row, Mapping):
            columns.update(dict.fromkeys(str(key) for key, value in row.items() if holds(value)))
        try:
            preference, remarks, form, read = interpret(line, row, settings)
            if preference.rejected is None and not demonstrations:
                raise Refused("demonstration", _NO_PAIR)
        except Refused as refusal:
            bad.append(BadRow(line, row_name(line), refusal.reason, refusal.detail))
            continue
        rows.append(preference)
        forms[form] += 1
        looked.update(read)
        for remark in remarks:
            notes.setdefault(remark, []).append(line)
    _check_columns(settings, columns)
    return Preferences(
        rows=tuple(rows),
        bad=tuple(bad),
        notes={remark: tuple(lines) for remark, lines in notes.items()},
        columns=tuple(columns),
        unread=tuple(column for column in columns if column not in looked) if rows else (),
        forms=dict(forms),
        source=settings.source,
        digest=source_digest(settings),
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


def too_many_bad(bad: Sequence[BadRow], total: int, settings: PreferenceSettings) -> bool:
    """Whether no row is left, more of those that fit are bad than `max_bad` allows, or half of all are too long."""
    long = sum(row.reason == TOO_LONG for row in bad)
    return bool(bad) and (len(bad) >= total or _too_many_unsound(bad, total, settings) or 2 * long >= total)


def check_bad(
    bad: Sequence[BadRow],
    total: int,
    settings: PreferenceSettings,
    where_written: str | Path | None = None,
    columns: Sequence[str] = (),
) -> None:
    """Stop where there are too many bad rows.

    `where_written` is the file that lists the bad rows; `columns` are those that the source has.

    Raises:
        UserError: with the counts by reason, the first lines of each, and what to do.
    """
    if not too_many_bad(bad, total, settings):
        return
    long = [row for row in bad if row.reason == TOO_LONG]
    unsound = sum(row.reason not in SOUND for row in bad)
    listed = f" They are listed in {where_written}." if where_written else ""
    if settings.template == "chat" and any("chat template" in row.reason for row in bad):
        listed += " With preferences.template: raw, plain text and transcripts are used as they are written."
    reasons = "; ".join(_counted(reason, rows) for reason, rows in by_reason(bad).items())
    if len(bad) >= total and {row.reason for row in bad} == {"missing column"}:
        found = ", ".join(columns) or "none"
        raise UserError(
            f"No row of {settings.source} can be used: every one misses a column ({reasons}). Columns found: {found}. "
            f"Accepted forms: {ACCEPTED}. {_mapping(columns)}{listed}"
        )
    if len(bad) >= total:
        raise UserError(
            f"None of the {total} rows of {settings.source} can be used: {reasons}. Accepted forms: {ACCEPTED}. "
            f"Correct the source or choose another preferences.format.{listed}"
        )
    if not _too_many_unsound(bad, total, settings):
        raise UserError(
            f"{len(long)} of {total} rows of {settings.source}, half of them or more, are too long "
            f"({_counted(TOO_LONG, long)}).{listed} Raise training.max_length, or cut them with "
            "training.on_long: truncate."
        )
    raise UserError(
        f"{unsound} of {total} rows of {settings.source} cannot be used ({unsound / total:.1%}; preferences.max_bad "
        f"allows {settings.max_bad:.1%}): {reasons}.{listed} Correct or remove them, or raise preferences.max_bad."
    )


def _too_many_unsound(bad: Sequence[BadRow], total: int, settings: PreferenceSettings) -> bool:
    unsound = sum(row.reason not in SOUND for row in bad)
    return unsound > settings.max_bad * (total - len(bad) + unsound)


def left_out(bad: Sequence[BadRow], total: int) -> str:
    """A sentence that says how many rows are left out, and why; empty where none is."""
    if not bad:
        return ""
    reasons = "; ".join(_counted(reason, rows) for reason, rows in by_reason(bad).items())
    return f" Of {total} rows, {len(bad)} are left out: {reasons}."


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


def _check_columns(settings: PreferenceSettings, columns: Iterable[str]) -> None:
    """A column that is mapped and that no row has is a mistake."""
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
