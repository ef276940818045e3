"""The layout of a study's folder, and what may name a run in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCHEMA = 1
"""Version of everything in a study's folder; raised when a reader of the old form would be misled."""

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]{0,99}")
"""What the name of a condition may be: it names folders on every file system."""


@dataclass(frozen=True)
class StudyFolder:
    """The layout of a study's folder; `path` is the folder that `--out` names."""

    path: Path

    def places(self) -> Iterator[tuple[Path, bool]]:
        """Every file and folder at the top of a study that stratalign reads or writes, and whether it is a folder."""
        properties = [name for name, value in vars(StudyFolder).items() if isinstance(value, property)]
        parts = [getattr(self, name).relative_to(self.path).parts for name in properties]
        for name in dict.fromkeys(first for first, *_ in parts):
            yield self.path / name, not Path(name).suffix
        yield self.path / ".lock", False
        for beside in ("-wal", "-shm", "-journal"):
            yield self.judgements.with_name(f"{self.judgements.name}{beside}"), False

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
    def diagnostics(self) -> Path:
        return self.path / "diagnostics"

    @property
    def adapters(self) -> Path:
        return self.path / "adapters"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoints" / "training.safetensors"

    @property
    def batches(self) -> Path:
        """Which answers are made together; there while generation is under way."""
        return self.path / "checkpoints" / "generation.json"

    @property
    def training(self) -> Path:
        return self.path / "training.jsonl"

    @property
    def logprobs(self) -> Path:
        """Held-out log-probabilities of every run, as recorded before the proof reloads the adapters."""
        return self.path / "logprobs.jsonl"

    @property
    def validation(self) -> Path:
        """Validation log-probabilities of the candidates of tuned conditions; lines as in `logprobs`."""
        return self.path / "validation.jsonl"

    @property
    def tuning(self) -> Path:
        """Which candidate each tuned condition became, and by how much."""
        return self.path / "tuning.json"

    @property
    def responses(self) -> Path:
        return self.path / "responses.jsonl"

    @property
    def judges(self) -> Path:
        """Every judge's protocol: its dimensions with unit, direction and meaning."""
        return self.path / "judges.json"

    @property
    def judgements(self) -> Path:
        """Every judgement of a language model and its raw reply; only valid ones count as done."""
        return self.path / "judgements.sqlite"

    @property
    def labels(self) -> Path:
        """Tables for people to fill in."""
        return self.path / "labels"

    @property
    def scores(self) -> Path:
        return self.path / "scores.csv"

    @property
    def scorers(self) -> Path:
        """What the recipe's own scorers have scored, a line file each."""
        return self.path / "scorers"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def recommendation(self) -> Path:
        """The answer in short: what to train, or why not."""
        return self.path / "recommendation.json"

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
    def times(self) -> Path:
        """The table and figure of times, which differ between machines."""
        return self.path / "timings"

    @property
    def report(self) -> Path:
        return self.path / "report.html"
