"""Whole files, replaced atomically: a reader sees the old content or the new one, never a part."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stratalign.errors import UserError
from stratalign.records.replacing import open_own, replace_file
from stratalign.records.shapes import Kind, strict_json

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically: a reader sees the old text or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Like `write_text`, for bytes."""
    with told(path):
        replace_file(path, data)


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file atomically. Not-a-number is refused: a record says null or says why."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        UserError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Run the stage of the study that writes it first.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not JSON ({error}). It was not written by this version, or was damaged."
        ) from None


def read_record(path: Path, kind: Kind) -> dict[str, Any]:
    """A JSON record of a study; empty where it is not there.

    Raises:
        UserError: it is damaged: no such record, or of another version.
    """
    if not path.is_file():
        return {}
    try:
        return kind.checked(strict_json(path.read_text(encoding="utf-8")), str(path))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from None
    except (ValueError, RecursionError) as error:
        raise kind.damaged(str(path), f"it is not JSON ({error})") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Within the block no other process works in `folder`; the system lifts the lock even after a SIGKILL.

    Raises:
        UserError: another process holds it.
    """
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open_own(folder / ".lock")
    with file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another process is working in {folder}. Wait until it ends, or name another folder with --out."
            ) from None
        yield


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns an operating system's refusal to write below `path` into a message that says what to do."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> UserError:
    """The message for a path that cannot be written: no right to, no space, or something else in its place."""
    reason = error.strerror or str(error)
    if error.errno == errno.ELOOP:
        reason = "it is a link, and stratalign does not write through links"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        parent = next(p for p in path.absolute().parents if p.exists())
        reason += f" ({shutil.disk_usage(parent).free / 2**20:.0f} MiB are free)"
        todo = (
            "Free space there or name another folder with --out, then run the same command again to continue."
        )
    else:
        todo = "Name another place, one that you can write to."
    return UserError(f"Cannot write {path}: {reason}. Nothing that was already there was changed. {todo}")
