"""Opens a source of preference rows: a file, a folder that `datasets` wrote, or a dataset on the hub.

Gives raw rows with the place where each one stands. Knows nothing of what a row must contain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stratalign.errors import UserError, unknown_name
from stratalign.microworld import preference_file, shipped_set
from stratalign.preferences.files import SUFFIXES as TEXT_FILES
from stratalign.preferences.files import read_file
from stratalign.preferences.settings import PreferenceSettings
from stratalign.records import digest, file_digest

SUFFIXES = (*TEXT_FILES, ".parquet")

# The hub's own rule, with the owner required: `load_dataset("json")` would read whatever lies in the current folder.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def read_rows(settings: PreferenceSettings) -> Iterator[tuple[int, object]]:
    """The rows of a source, each with its 1-based line number (its row number where rows are not lines).

    A line that is not JSON comes as `Unreadable`; blank lines are passed over. Empty cells of a .csv file are None.

    Raises:
        UserError: the source is missing, damaged, empty, of an unknown kind, or cannot be reached.
    """
    path = _local(settings)
    rows: Iterator[tuple[int, object]]
    if path is None or path.is_dir():
        rows = enumerate(_dataset(settings, path), start=1)
    elif path.name.endswith(".parquet"):
        rows = enumerate(_parquet(path), start=1)
    else:
        rows = read_file(path)
    empty = True
    for where, row in rows:
        empty = False
        yield where, row
    if empty:
        raise UserError(f"{settings.source} has no rows. Give a source with at least one preference pair.")


def source_digest(settings: PreferenceSettings) -> str:
    """SHA-256 that changes when the source does: of a file's bytes, or of a dataset's fingerprint."""
    path = _local(settings)
    if path is not None and path.is_file():
        try:
            return file_digest(path)
        except OSError as error:
            raise _unreadable_file(path, error) from error
    data = _dataset(settings, path)
    return digest({"fingerprint": data._fingerprint, "split": settings.split})


def _local(settings: PreferenceSettings) -> Path | None:
    """The source as a path, checked; None when it names a dataset on the hub."""
    source = settings.source
    shipped = shipped_set(source)
    path = preference_file(shipped) if shipped is not None else Path(source).expanduser()
    if path.exists():
        if settings.subset or settings.revision:
            raise UserError(
                f"preferences.subset and preferences.revision apply to hub datasets, but {source} is on this machine. "
                "Remove them."
            )
        if path.is_file() and not path.name.endswith(SUFFIXES):
            raise UserError(
                f"Cannot tell what kind of file {source} is. Known: {', '.join(SUFFIXES)}. "
                "Convert it, or rename it if it holds one JSON object a line."
            )
        if path.is_file() and settings.split != "train":
            raise UserError(
                f"preferences.split is {settings.split!r}, but {source} is a file, which has no splits."
            )
        return path
    if _HUB_ID.fullmatch(source) and not source.endswith(SUFFIXES):
        return None
    raise UserError(
        f"There is no file or folder {source} (looked in {Path.cwd()}), and it is not a hub id either, which reads "
        "owner/name. Check preferences.source."
    )


def _parquet(path: Path) -> Iterator[object]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(
            f"{path} is not a readable parquet file ({_first_line(error)}). Download or copy it again, or correct its "
            "suffix."
        ) from error
    except OSError as error:
        raise _unreadable_file(path, error) from error


def _dataset(settings: PreferenceSettings, folder: Path | None) -> Any:
    return _from_hub(settings) if folder is None else _from_folder(settings, folder)


def _from_folder(settings: PreferenceSettings, folder: Path) -> Any:
    import datasets
    import pyarrow

    try:
        data = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{settings.source} is not a folder that datasets' save_to_disk wrote ({_first_line(error)}). "
            f"Give such a folder, or one file ({', '.join(SUFFIXES)})."
        ) from error
    if isinstance(data, datasets.DatasetDict):
        if settings.split not in data:
            raise unknown_name("preferences.split", settings.split, list(data))
        return data[settings.split]
    if settings.split != "train":
        raise UserError(
            f"preferences.split is {settings.split!r}, but {settings.source} holds one dataset. Remove the setting."
        )
    return data


def _from_hub(settings: PreferenceSettings) -> Any:
    import datasets

    try:
        return datasets.load_dataset(
            settings.source, name=settings.subset, split=settings.split, revision=settings.revision
        )
    except Exception as error:  # four libraries raise here; whatever it is, the source failed
        raise UserError(
            f"Cannot load {settings.source} from the hub: {_first_line(error)}. It is not a file or folder on this "
            "machine either. Check the id, subset, split and revision and the network (HF_HUB_OFFLINE allows only "
            "what was downloaded before), or download it and give the file's path."
        ) from error


def _unreadable_file(path: Path, error: OSError) -> UserError:
    return UserError(
        f"Cannot read {path}: {error.strerror or error}. Check the path and your right to read it."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
