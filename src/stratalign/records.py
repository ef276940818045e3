"""What each stage of a study leaves on disk: the folder, its files, and how they are written and read.

Every stage communicates with the next through these records alone, so that a study can be interrupted at any
byte, inspected with ordinary tools and reported on a machine without a model. Knows nothing of models,
statistics or pages.

Writing is crash-safe: whole files are replaced atomically, and line files are appended to and synced, so that
at most the last line is torn. `read_jsonl` ignores a torn last line and `trim_jsonl` removes it.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from stratalign.errors import UserError

SCHEMA = 1
"""Version of everything in a study's folder; raised when a reader of the old form would be misled."""

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")
"""What the name of a condition may be: it names folders on every file system."""

ScoreState = Literal["ok", "undefined", "missing"]

Progress = Callable[[str, int, int], None]
"""How a stage tells how far it is: what it does, how many are done, how many there are."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class StudyFolder:
    """The layout of a study's folder; `path` is the folder that `--out` names."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def execution(self) -> Path:
        return self.path / "execution.json"

    @property
    def fingerprints(self) -> Path:
        return self.path / "fingerprints.json"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    @property
    def preferences(self) -> Path:
        """How the preference rows were read and split (counts, clusters, bad rows by reason)."""
        return self.path / "preferences.json"

    @property
    def bad_rows(self) -> Path:
        return self.path / "bad_rows.jsonl"

    @property
    def adapters(self) -> Path:
        return self.path / "adapters"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "training.safetensors"

    @property
    def training(self) -> Path:
        return self.path / "training.jsonl"

    @property
    def logprobs(self) -> Path:
        """Held-out log-probabilities of every run, as recorded before the proof reloads the adapters."""
        return self.path / "logprobs.jsonl"

    @property
    def responses(self) -> Path:
        return self.path / "responses.jsonl"

    @property
    def judges(self) -> Path:
        """Every judge's protocol: its dimensions with unit, direction and meaning."""
        return self.path / "judges.json"

    @property
    def scores(self) -> Path:
        return self.path / "scores.csv"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    @property
    def timings(self) -> Path:
        return self.path / "timings.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"


@dataclass(frozen=True)
class StepRecord:
    """One line of training.jsonl: one run after one optimizer step.

    Rewards are beta x (log pi - log pi_ref), in nats, summed over a response's tokens and averaged over the
    step's pairs with the step's pair weights. `grad_norm` is the run's own norm before clipping.
    """

    run: str
    step: int
    loss: float
    reward_chosen: float
    reward_rejected: float
    margin: float
    accuracy: float
    grad_norm: float
    learning_rate: float
    tokens: int


@dataclass(frozen=True)
class LogProbRecord:
    """One line of logprobs.jsonl: log-probabilities of one held-out pair under one run, and under the base.

    Summed over the tokens of the response, in nats.
    """

    run: str
    prompt_id: str
    cluster: str
    chosen: float
    rejected: float
    base_chosen: float
    base_rejected: float
    tokens_chosen: int
    tokens_rejected: int


@dataclass(frozen=True)
class Response:
    """One line of responses.jsonl: the answer of one run to one held-out prompt.

    `finish` is "stop" (the model ended its answer) or "length" (it was cut at max_new_tokens). `kl_to_base` is
    KL(run || base) along the answer in nats, None for an empty one.
    """

    run: str
    prompt_id: str
    cluster: str
    prompt: str
    response: str
    tokens: int
    finish: str
    sampling_seed: int
    kl_to_base: float | None


@dataclass(frozen=True)
class Score:
    """One row of the long table of scores. `value` is None unless `state` is "ok"."""

    prompt_id: str
    cluster: str
    run: str
    seed: int
    judge: str
    protocol: str
    dimension: str
    repeat: int
    value: float | None
    state: str


@dataclass(frozen=True)
class Dimension:
    """What a judge scores: its unit, which direction is better (None: neither), and what it means."""

    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    about: str


def digest(value: object) -> str:
    """SHA-256 of the canonical JSON of `value` (keys sorted, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _sha256(file)
        )


def keyed_seed(*parts: object) -> int:
    """A 63-bit seed drawn from `parts`: the same on every machine, process and version of Python."""
    raw = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(raw[:8], "big") >> 1


def write_text(path: Path, text: str) -> None:
    """Replace a file atomically: a reader sees the old text or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Like `write_text`, for bytes."""
    with _replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
    except ValueError as error:
        raise UserError(
            f"{path} is not JSON ({error}). It was not written by this version, or was damaged."
        ) from None


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
        _drop_torn_line(path)
        with path.open("a", encoding="utf-8") as file:
            file.write(lines)
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


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Replace the long table of scores; a null value is an empty cell."""
    buffer = io.StringIO()
    names = [field.name for field in fields(Score)]
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(names)
    for score in scores:
        row = asdict(score)
        writer.writerow(["" if row[name] is None else row[name] for name in names])
    write_text(path, buffer.getvalue())


def read_scores(path: Path) -> list[Score]:
    """The long table of scores; an absent file has no scores."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Score(
                prompt_id=row["prompt_id"],
                cluster=row["cluster"],
                run=row["run"],
                seed=int(row["seed"]),
                judge=row["judge"],
                protocol=row["protocol"],
                dimension=row["dimension"],
                repeat=int(row["repeat"]),
                value=float(row["value"]) if row["value"] != "" else None,
                state=row["state"],
            )
            for row in csv.DictReader(file)
        ]


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` and moves it into place when the block ends well."""
    temporary = path.with_name(f".{path.name}.tmp")
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


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
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        parent = next(p for p in path.absolute().parents if p.exists())
        reason += f" ({shutil.disk_usage(parent).free / 2**20:.0f} MiB are free)"
        todo = (
            "Free space there or name another folder with --out, then run the same command again to continue."
        )
    else:
        todo = "Name another place, one that you can write to."
    return UserError(f"Cannot write {path}: {reason}. Nothing that was already there was changed. {todo}")


def _drop_torn_line(path: Path) -> None:
    """Cut a last line that has no newline, so that the next record does not grow onto it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def _sha256(file: Any) -> str:
    """For Python 3.10, which has no hashlib.file_digest."""
    state = hashlib.sha256()
    while chunk := file.read(1 << 20):
        state.update(chunk)
    return state.hexdigest()
