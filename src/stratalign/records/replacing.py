"""Writing that stays in its folder: temporary names that nobody can foresee, and no file opened through a link.

The maker of a temporary file or folder holds a lock on it, which the system lifts when the process ends. So what a
killed run left behind is told from what another process is writing, and removed by the next write in that folder.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # no such locks on Windows
    fcntl = None  # type: ignore[assignment]

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW
_LEFT = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.DOTALL)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file with these bytes in the place of `path`: a reader sees the old content or the new one, never a part.

    A link at `path` is replaced, and what it points to stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, descriptor = _begin(path, lambda name: os.open(name, _NEW, 0o666))
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
            if fcntl is None:
                file.close()  # Windows does not rename open files
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path, *, over: bool = True) -> Iterator[Path]:
    """Gives an empty folder beside `path`, and puts it in the place of `path` when the block ends well.

    Args:
        over: whether a folder that is there is removed; else it has to be empty.
    """
    path.parent.mkdir(parents=True, exist_ok=True)

    def make(name: Path) -> int:
        name.mkdir()
        return -1 if fcntl is None else os.open(name, os.O_RDONLY | _NOFOLLOW)

    temporary, descriptor = _begin(path, make)
    try:
        yield temporary
        if over:
            shutil.rmtree(path, ignore_errors=True)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def open_own(path: Path) -> BinaryIO:
    """A file opened to read it and to add to it, made if it is not there; never another than the one at `path`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _NOFOLLOW, 0o666)
    about = os.fstat(descriptor)
    if stat.S_ISREG(about.st_mode) and about.st_nlink <= 1:
        return os.fdopen(descriptor, "a+b")
    with os.fdopen(descriptor, "rb", closefd=True) as file:
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is not an ordinary file")
        content = file.read()
    replace_file(path, content)  # the file has a second name (a hard link), under which it must not change
    return open_own(path)


def _begin(path: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """A new temporary beside `path`, and the descriptor that holds its lock (-1 where there are no locks)."""
    _sweep(path.parent)
    while True:
        temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.tmp")
        descriptor = make(temporary)
        if fcntl is None:
            return temporary, descriptor
        with suppress(OSError):  # a file system without locks: nothing is swept there either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # swept by another process before it was locked


def _sweep(folder: Path) -> None:
    """Remove the temporaries of processes that have ended."""
    if fcntl is None:
        return
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if _LEFT.fullmatch(entry.name)]
    for entry in left:
        with suppress(OSError):
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK | _NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
            finally:
                os.close(descriptor)
