"""Labels of prompts that a user brings for probes: a line file, by the pair's id or by the prompt's text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stratalign.diagnostics import Task
from stratalign.errors import UserError
from stratalign.preferences import Preference, as_text

KEYS = ("prompt_id", "text")


def labels_file(path: str) -> Path:
    """The file, if it is there.

    Raises:
        UserError: it is not.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"There is no file {path} of labels. Give a .jsonl file of prompt_id or text, and label."
        )
    return file


def labelled(path: str, rows: Sequence[Preference]) -> Task:
    """The labels of these rows' prompts.

    Raises:
        UserError: there is no such file, a line is no label, or none is of one of the rows.
    """
    file = labels_file(path)
    found: dict[tuple[str, str], str] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip():
            key, label = _entry(line, f"Line {number} of {file}")
            found[key] = label
    labels = [
        found.get(("prompt_id", row.row_id), found.get(("text", as_text(row.prompt).strip()))) for row in rows
    ]
    if all(label is None for label in labels):
        raise UserError(
            f"No label of {file} is of a training prompt. `prompt_id` is the row's id, such as {rows[0].row_id!r}, and "
            "`text` is the whole prompt."
        )
    return Task("labels", f"labels of {file.name}", "prompt", labels)


def _entry(line: str, where: str) -> tuple[tuple[str, str], str]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    keys = [key for key in KEYS if isinstance(row, dict) and key in row]
    if len(keys) != 1 or not isinstance(row.get("label"), (str, int)):
        raise UserError(
            f"{where} is no label. Write one JSON object a line, with prompt_id or text, and label, such as "
            '{"text": "the prompt", "label": "formal"}.'
        )
    return (keys[0], str(row[keys[0]]).strip()), str(row["label"])
