"""Reads rows from text files: JSON Lines, a JSON array, or a table with commas or tabs; plain or gzip.

JSON Lines are told from an array by their first character, whatever the file is called. A byte order mark says UTF-8,
UTF-16 or UTF-32; without one a file is UTF-8.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from stratalign.errors import UserError

_KINDS = (".jsonl", ".json", ".csv", ".tsv")
SUFFIXES = (*_KINDS, *(f"{kind}.gz" for kind in _KINDS))

_MARKS = {  # UTF-32's mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF8 = "utf-8-sig"
"""UTF-8, with a byte order mark or without."""

_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True)
class Unreadable:
    """Stands for a row that could not be decoded; `detail` says why."""

    detail: str
    reason: str = "not JSON"


def read_file(path: Path) -> Iterator[tuple[int, object]]:
    """The rows of a file, each with its line number; those of an array with their own number.

    A line that cannot be decoded comes as `Unreadable`. Blank lines are passed over, and empty cells are None.

    Raises:
        UserError: the file cannot be read, or as a whole does not hold rows.
    """
    number = 0
    try:
        for number, row in _rows(path):
            yield number, row
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"{path} is damaged or incomplete: after line {number} it no longer decompresses ({error}). "
            "Download or copy it again."
        ) from error
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror or error}. Check the path and your right to read it."
        ) from error


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    table = {".csv": ",", ".tsv": "\t"}.get(Path(path.name.removesuffix(".gz")).suffix)
    with _opened(path) as file:
        encoding = _encoding(path, file)
        if table is not None:
            yield from _cells(path, file, encoding, table)
        elif _first(file, encoding) == "[":
            yield from _array(path, file, encoding)
        elif encoding != _UTF8:
            yield from _decoded_lines(path, file, encoding)
        elif path.name.removesuffix(".gz").endswith(".json"):
            yield from _objects(path, file)
        else:
            yield from _lines(file)


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb"))


def _encoding(path: Path, file: BinaryIO) -> str:
    """What a byte order mark says; the file is rewound."""
    begins = file.read(4)
    file.seek(0)
    encoding = next((name for mark, name in _MARKS.items() if begins.startswith(mark)), _UTF8)
    if encoding == _UTF8 and b"\0" in begins:
        raise UserError(
            f"{path} looks like UTF-16 without a byte order mark, or is not a text file. Save it as UTF-8."
        )
    return encoding


def _first(file: BinaryIO, encoding: str) -> str:
    """The first character that is not white space; the file is rewound."""
    found = ""
    text = io.TextIOWrapper(file, encoding, errors="replace")
    try:
        while not found and (some := text.read(4096)):
            found = some.lstrip()[:1]
    finally:
        text.detach()
    file.seek(0)
    return found


def _lines(file: BinaryIO) -> Iterator[tuple[int, object]]:
    for number, raw in enumerate(file, start=1):
        if raw.strip():
            yield number, _decoded(raw)


def _decoded_lines(path: Path, file: BinaryIO, encoding: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(_text(path, file, encoding), start=1):
        if line.strip():
            yield number, _decoded(line.encode("utf-8", "surrogatepass"))


def _decoded(raw: bytes) -> object:
    try:
        return json.loads(raw.decode(_UTF8))
    except UnicodeDecodeError:
        return Unreadable("not UTF-8")
    except RecursionError:
        return Unreadable("nested too deeply")
    except ValueError as error:
        return Unreadable(str(error))


def _objects(path: Path, file: BinaryIO) -> Iterator[tuple[int, object]]:
    """A .json file that does not begin with "[": often JSON Lines, else one object, which is refused."""
    filled = (raw for raw in file if raw.strip())
    first, several = _decoded(next(filled, b"")), next(filled, None) is not None
    file.seek(0)
    if isinstance(first, dict) and (several or not any(isinstance(value, list) for value in first.values())):
        yield from _lines(file)
        return
    whole = _whole(path, file, _UTF8)
    lists = (
        [key for key, value in whole.items() if isinstance(value, list)] if isinstance(whole, dict) else []
    )
    found = f", whose only list is under {lists[0]!r}" if len(lists) == 1 else ""
    raise UserError(
        f"{path} holds one object{found}. A .json file must hold an array of rows, "
        "[{...}, {...}]. Save the array alone."
    )


def _array(path: Path, file: BinaryIO, encoding: str) -> Iterator[tuple[int, object]]:
    rows = _whole(path, file, encoding)
    yield from enumerate(rows, start=1)


def _whole(path: Path, file: BinaryIO, encoding: str) -> Any:
    try:
        return json.loads("".join(_text(path, file, encoding)))
    except RecursionError:
        raise UserError(f"{path} is nested too deeply to be read.") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}. Correct it there, or save it again.") from None


def _cells(path: Path, file: BinaryIO, encoding: str, delimiter: str) -> Iterator[tuple[int, object]]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    table = csv.reader(_text(path, file, encoding), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(table, [])]
        _check_header(path, header, delimiter)
        line = table.line_num + 1
        for cells in table:
            if len(cells) > len(header):
                detail = f"{len(cells)} cells, but the header has {len(header)}"
                yield line, Unreadable(detail, "not a row of the table")
            elif any(cells):
                yield line, _row(header, cells)
            line = table.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"Line {table.line_num} of {path} is not a line of a table: {error}. Correct it there."
        ) from None


def _row(header: list[str], cells: list[str]) -> dict[str, str | None]:
    return dict.fromkeys(header) | {name: cell or None for name, cell in zip(header, cells, strict=False)}


def _check_header(path: Path, header: list[str], delimiter: str) -> None:
    if header and header[0].startswith(("{", "[")):
        raise UserError(f"{path} holds JSON, not a table. Give it the suffix .jsonl or .json.")
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"The header of {path} names the column {twice!r} twice. Rename one.")
    other = next((mark for mark in (";", "\t", ",") if mark != delimiter and mark in "".join(header)), None)
    if len(header) == 1 and other is not None:
        raise UserError(
            f"The header of {path} is one column, {header[0]!r}, so its cells seem to be separated by {other!r}. "
            "Save it with commas as .csv, or with tabs as .tsv."
        )


def _text(path: Path, file: BinaryIO, encoding: str) -> Iterator[str]:
    """Lines of text; what cannot be decoded is the user's error."""
    try:
        with io.TextIOWrapper(file, encoding, newline="") as text:
            yield from text
    except UnicodeError as error:
        raise UserError(f"{path} is not all {encoding.upper()} text: {error}. Save it as UTF-8.") from None
