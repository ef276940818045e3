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
from stratalign.records.shapes import ANY_LINE, Kind, strict_json


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


def read_jsonl(path: Path, kind: Kind = ANY_LINE) -> Iterator[dict[str, Any]]:
    """The records of a line file; a last line without its newline was torn by an interruption and is skipped.

    A line that stands there twice counts once.

    Raises:
        UserError: a line is damaged, which no interruption of ours does; or two lines of one key differ.
    """
    if not path.exists():
        return
    seen: dict[int, tuple[int, int]] = {}
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            place = f"Line {number} of {path}"
            try:
                row = kind.checked(strict_json(line.decode("utf-8")), place)
            except (ValueError, RecursionError) as error:
                raise kind.damaged(place, f"it is not JSON ({error})") from None
            if kind.key:
                key = tuple(row[name] for name in kind.key)
                first, content = seen.setdefault(hash(key), (number, hash(line)))
                if first != number and content == hash(line):
                    continue
                if first != number:
                    about = ", ".join(f"{name} {value}" for name, value in zip(kind.key, key, strict=True))
                    raise kind.damaged(place, f"line {first} is of the same {about}, and differs")
            yield row


def keep_jsonl(path: Path, keep: Callable[[dict[str, Any]], bool], kind: Kind = ANY_LINE) -> None:
    """Rewrite a line file with the records that `keep` accepts; also removes a torn last line."""
    if not path.exists():
        return
    kept = [row for row in read_jsonl(path, kind) if keep(row)]
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in kept))


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from None


def _drop_torn_line(file: BinaryIO) -> None:
    """Cut a last line that has no newline, so that the next record does not grow onto it."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
