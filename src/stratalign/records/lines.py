"""Line files: appended to and synced, so that an interruption tears at most the last line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from stratalign.errors import UserError
from stratalign.records.files import told, write_text
from stratalign.records.replacing import open_own


def append_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Append records (dataclasses or mappings) to a line file and sync it to disk."""
    lines = "".join(
        json.dumps(row if isinstance(row, Mapping) else asdict(row), ensure_ascii=False, allow_nan=False)
        + "\n"
        for row in rows
    )
    if not lines:
        return
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_own(path) as file:
            _drop_torn_line(file)
            file.write(lines.encode())
            file.flush()
            os.fsync(file.fileno())


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a line file; a last line without its newline was torn by an interruption and is skipped.

    Raises:
        UserError: a line in the middle is damaged, which no interruption of ours does.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return
            try:
                yield json.loads(line)
            except ValueError:
                raise UserError(
                    f"Line {number} of {path} is damaged. Restore the file, or delete that line: what it recorded "
                    "is then made again."
                ) from None


def keep_jsonl(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Rewrite a line file with the records that `keep` accepts; also removes a torn last line."""
    if not path.exists():
        return
    kept = [row for row in read_jsonl(path) if keep(row)]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in kept))


def _drop_torn_line(file: BinaryIO) -> None:
    """Cut a last line that has no newline, so that the next record does not grow onto it."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
