"""Reads a file of rows: JSON Lines, a JSON array or a table of texts, each also compressed by gzip."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from stratalign.errors import UserError

TEXTS = (".jsonl", ".json", ".csv", ".tsv")
SUFFIXES = (*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS))

Rows = Iterator[tuple[int, object]]


@dataclass(frozen=True)
class Unreadable:
    """Stands for a row that could not be decoded; `detail` says why."""

    detail: str
    reason: str = "not JSON"


def read_file(path: Path) -> Rows:
    """The rows of a file of one of `SUFFIXES`, each with its line, or its number where rows are not lines.

    A JSON array is read whatever its suffix, and JSON Lines in a .json file; text is UTF-8, or UTF-16 that begins with
    its byte order mark. A row that cannot be decoded comes as `Unreadable`; an empty cell of a table is None.

    Raises:
        UserError: the file is damaged, cannot be read, or holds no rows.
    """
    seen = 0
    try:
        with _opened(path) as file:
            table = {".csv": ",", ".tsv": "\t"}.get(Path(path.name.removesuffix(".gz")).suffix)
            rows = _array_or_lines(file, path) if table is None else _cells(file, table)
            for seen, row in rows:
                yield seen, row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} is damaged or incomplete: after line {seen} it no longer decompresses ({error}). "
            "Download or copy it again."
        ) from error
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror or error}. Check the path and your right to read it."
        ) from error
    except (UnicodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read after line {seen}: {error}. Save it as UTF-8.") from error


def _opened(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if path.name.endswith(".gz") else path.open("rb")


def _array_or_lines(file: BinaryIO, path: Path) -> Rows:
    start = file.read(64)
    file.seek(0)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = file.read().decode("utf-16")
        return _parsed(text, path) if _may_be_one_value(text, path) else _lines(text.encode().splitlines())
    if _may_be_one_value(start.decode("utf-8-sig", errors="ignore"), path):
        whole = file.read()
        try:
            return _parsed(whole.decode("utf-8-sig"), path)
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
            return _lines(whole.splitlines())
    return _lines(file)


def _may_be_one_value(start: str, path: Path) -> bool:
    """Whether the file may be one JSON value: an array, or what stands in a .json file."""
    return start.lstrip().startswith("[") or path.name.removesuffix(".gz").endswith(".json")


def _parsed(text: str, path: Path) -> Rows:
    found = json.loads(text)
    if isinstance(found, list):
        return iter(enumerate(found, start=1))
    if isinstance(found, dict):
        inside = next((key for key, value in found.items() if isinstance(value, list)), None)
        if inside is None:
            return iter([(1, found)])
        if {"chosen", "rejected", "prompt", "messages"}.isdisjoint(found):
            raise UserError(
                f"{path} holds one object, not an array of rows. If its rows stand under {inside!r}, write that array "
                "alone into a file."
            )
    return iter([(1, found)])


def _lines(lines: object) -> Rows:
    for number, raw in enumerate(cast("Iterator[bytes]", lines), start=1):
        if raw.strip():
            yield number, _decoded(raw)


def _decoded(raw: bytes) -> object:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return Unreadable("not UTF-8")
    except RecursionError:
        return Unreadable("nested too deeply")
    except ValueError as error:
        return Unreadable(str(error))


def _cells(file: BinaryIO, delimiter: str) -> Rows:
    start = file.read(2)
    file.seek(0)
    encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(file, encoding, newline="") as text:
        reader = csv.DictReader(text, delimiter=delimiter)
        for row in reader:
            if None in row or None in row.values():
                yield (
                    reader.line_num,
                    Unreadable("its cells are not those of the header", "not a row of the table"),
                )
            else:
                yield reader.line_num, {key: cell if cell.strip() else None for key, cell in row.items()}
