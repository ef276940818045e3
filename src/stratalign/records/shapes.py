"""What each record of a study must look like, and what is said of one that does not.

Every reader of a record goes through a `Kind`, so that a file that was damaged or edited is named, with the line or key
and the way out, and never read as something else. Keys that older studies lack may be missing. Unknown keys of a
mapping are read by nobody and pass; those of a line do not.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model, model_validator

from stratalign.errors import UserError
from stratalign.records.folder import SCHEMA
from stratalign.records.kinds import LogProbRecord, Response, StepRecord

REMADE = "Restore it from a copy, or delete it and run the study again, which makes it anew."
RETRAINED = "Restore it from a copy, or delete it and run the study again, which then trains its runs anew."
NEEDED = "Restore it from a copy, or name a new folder with --out."
UNDER_WAY = "Restore it from a copy, or delete it: what it keeps of an interrupted run is then made again."
LINE = "Restore the file, or delete that line: what it recorded is then made again."
STEP = "Restore the file, or delete that line: the curves of the report then lack that step."


class Shape(BaseModel):
    """A mapping in a record."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class Exact(Shape):
    """A mapping in which every key is read, so that an unknown one is a mistake."""

    model_config = ConfigDict(extra="forbid")


def absent() -> Any:
    """The default of a key that may be missing, though not null."""
    return Field(default=None)


def shape_of(record: type[Any]) -> type[BaseModel]:
    """The shape of a dataclass: all of its fields and no others; those with a default may be missing."""
    hints = get_type_hints(record)
    given: dict[str, Any] = {
        field.name: (
            hints[field.name],
            ... if field.default is MISSING and field.default_factory is MISSING else None,
        )
        for field in fields(record)
    }
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    return create_model(record.__name__, __config__=config, **given)


class _Model(Shape):
    name: str
    model_type: str
    layers: int
    parameters: int
    files: dict[str, str] = absent()
    batches: str | None = None


class Check(Shape):
    holds: bool | None
    detail: str


class _Proof(Shape):
    proven: bool
    checks: dict[str, Check]


class _Trained(Shape):
    adapter_sha256: str
    config_sha256: str = absent()
    witnessed: dict[str, Check]


class _Became(Shape):
    candidate: str
    by: str
    values: dict[str, Any]


class _Run(Shape):
    condition: str
    seed: int
    labels: Literal["given", "shuffled"]
    layers: list[int]
    targets: list[str]
    rank: int | None
    alpha: float | None
    parameters: int
    sampling_seed: int = absent()
    modules: list[str] = absent()
    phases: list[dict[str, Any]] = absent()
    of_full: dict[str, float] = absent()
    training: dict[str, Any] = absent()
    trained: _Trained = absent()
    proof: _Proof = absent()
    candidate_of: str = absent()
    values: dict[str, Any] = absent()
    tuned: _Became = absent()


class _Manifest(Shape):
    model: _Model
    partition: dict[str, list[int]]
    runs: dict[str, _Run]
    seeds_vary: list[str] = absent()


class _Counts(Shape):
    rows: int
    clusters: int


class _Reason(Shape):
    count: int
    first_lines: list[int]


class _Rows(Shape):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]

    read: int
    kept: int
    bad: int


class _Parts(Shape):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Counts]

    train: _Counts
    validation: _Counts
    held_out: _Counts
    unused: _Counts


class _Preferences(Shape):
    rows: _Rows
    parts: _Parts
    clusters: int = absent()
    bad: dict[str, _Reason] = absent()
    notes: dict[str, _Reason] = absent()
    kinds: dict[str, int] = absent()
    template: dict[str, Any] = absent()
    digest: str = absent()


class _Dimension(Shape):
    name: str
    unit: str
    better: Literal["higher", "lower"] | None
    about: str
    category: str | None = None


class _Answered(Shape):
    model: str | None
    replies: int


class _Judge(Shape):
    judge: str
    protocol: str
    hash: str = absent()
    kind: str = absent()
    model: str = absent()
    host: str = absent()
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] = absent()
    anchor: float | None = None
    second: bool = absent()
    answered: list[_Answered] = absent()
    dimensions: list[_Dimension]

    @model_validator(mode="after")
    def _a_model_has_a_scale(self) -> _Judge:
        if self.kind == "judge" and not self.scale:
            raise ValueError("scale is missing")
        return self


class _Judges(Shape):
    judges: list[_Judge]


class _Timings(Shape):
    host: str = absent()
    stages: dict[str, float] = absent()
    runs: dict[str, dict[str, float]] = absent()
    checkpoint_seconds: float = absent()


class _Environment(Shape):
    python: str = absent()
    platform: str = absent()
    processor: str = absent()
    gpu: str | None = None
    packages: dict[str, str] = absent()


class _MadeFrom(Exact):
    by: str
    candidates: list[str]
    seeds: list[int]


class _Difference(Exact):
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


class _Candidate(Shape):
    """A candidate; beside these keys it has those that are tuned, see `_Chosen`."""

    model_config = ConfigDict(extra="allow")

    candidate: str
    rank: int
    parameters: int
    mean: float | None
    low: float | None
    high: float | None
    seeds: dict[str, str]
    behind_best: _Difference | None


class _Second(_Difference):
    candidate: str


class _Edge(Exact):
    key: str
    block: str | None
    value: float
    end: Literal["lowest", "highest"]


class _Chosen(Exact):
    by: str
    measured: str
    loss: str
    better: Literal["higher", "lower"]
    made_from: _MadeFrom
    candidates: list[_Candidate]
    best: str
    second: _Second | None
    tied: list[str]
    chosen: str
    values: dict[str, Any]
    edges: list[_Edge]

    @model_validator(mode="after")
    def _candidates_have_what_is_tuned(self) -> _Chosen:
        for one in self.candidates:
            wrong = set(one.model_extra or {}) ^ (set(self.values) - {"rank"})
            if wrong:
                raise ValueError(f"the candidates do not all have {', '.join(sorted(wrong))}")
            if set(one.seeds) != {str(seed) for seed in self.made_from.seeds}:
                raise ValueError("the candidates do not all have its seeds")
        return self


class _Mean(Exact):
    condition: str
    mean: float


class _Ahead(_Difference):
    ahead: str
    of: str


class _Order(Exact):
    order: list[_Mean]
    pairs: list[_Ahead]


class _AtOne(_Order):
    values: dict[str, Any]


class _Orders(Exact):
    by: str
    tuned: _Order
    at_one: list[_AtOne]


class _Tuning(Exact):
    rows: int
    clusters: int
    rule: str
    conditions: dict[str, _Chosen]
    orders: list[_Orders]


class _Batch(Shape):
    group: int
    runs: list[str]


class _Batches(Shape):
    batches: list[_Batch]


class _AdapterNotes(Shape):
    model: dict[str, Any]


class _Labelled(Shape):
    run: str
    seed: int
    prompt_id: str
    cluster: str


class _LabelKey(Shape):
    protocol: str
    scale: Annotated[list[int], Field(min_length=2, max_length=2)]
    dimensions: list[str]
    items: dict[str, list[_Labelled]]


@dataclass(frozen=True)
class _Scored:
    key: str
    scores: dict[str, float | None]


@dataclass(frozen=True)
class _Asked:
    key: str
    task: str
    items: dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class _Sampled:
    prompt_id: str
    number: int
    text: str
    tokens: int
    finish: str


@dataclass(frozen=True)
class _Looked:
    step: int
    loss: float


class Kind:
    """What a record of one kind must look like; of a line file, which fields tell its lines apart."""

    def __init__(self, shape: Any, advice: str, *key: str) -> None:
        self.key = key
        self.advice = advice
        self._shape: TypeAdapter[Any] | None = None if shape is None else TypeAdapter(shape)

    def checked(self, value: Any, place: str) -> dict[str, Any]:
        """The value, if it is such a record.

        Args:
            value: what was read.
            place: the file, or "Line 3 of" the file.

        Raises:
            UserError: it is not, or another version of stratalign wrote it.
        """
        if not isinstance(value, dict):
            raise self.damaged(place, f"it must be a mapping, got {_shown(value)}")
        schema = value.get("schema", SCHEMA)
        if type(schema) is not int or schema != SCHEMA:
            raise UserError(
                f"{place} has schema {_shown(schema)}, and this version of stratalign reads schema {SCHEMA}. Use the "
                "version that wrote it, or name a new folder with --out."
            )
        try:
            if self._shape is not None:
                bare = {key: item for key, item in value.items() if key != "schema"}
                self._shape.validate_python(bare, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            raise self.damaged(place, _said(first)) from None
        return value

    def damaged(self, place: str, what: str) -> UserError:
        """The message for a record of this kind that cannot be read."""
        return UserError(f"{place} is damaged: {what}. {self.advice}")


def strict_json(text: str) -> Any:
    """The value that a record's JSON has: without NaN, infinity and integers beyond 64 bits, which no record holds.

    Raises:
        ValueError, RecursionError: it is not such JSON.
    """
    return json.loads(text, parse_int=_integer, parse_constant=_refused)


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"an integer of {len(digits)} digits")
    return int(digits)


def _refused(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _said(error: Any) -> str:
    """One finding of pydantic in our words."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{where} is missing"
    if error["type"] == "extra_forbidden":
        return f"{where} is not a key of such a record"
    if error["type"] == "value_error":
        return f"{where}: {error['msg'].removeprefix('Value error, ')}"
    must = error["msg"].replace("Input should be", "must be").replace("a valid dictionary", "a mapping")
    return f"{where} {must}, got {_shown(error['input'])}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Settings(Shape):
    """A recipe as a study keeps it, as far as its report reads it: whether the settings fit each other is no question
    of a report."""

    model: Any = absent()
    preferences: dict[str, Any] = absent()
    conditions: list[str | dict[str, Any]] | dict[str, dict[str, Any] | None] = absent()
    seeds: list[int] = absent()
    seeds_vary: list[str] = absent()
    tune: dict[str, Any] | None = None
    profile: dict[str, Any] | None = None
    boundaries: dict[str, Any] | None = None
    selectors: dict[str, Any] | None = None
    training: dict[str, Any] = absent()
    generation: dict[str, Any] = absent()
    judge: dict[str, Any] = absent()
    pairs: dict[str, Any] = absent()
    scorers: list[dict[str, Any]] = absent()


WORLD = Kind(None, "Restore it from a copy, or delete it: that world is then measured again.")
RECIPE = Kind(
    _Settings, "Restore it from a copy, or run the study again with your own recipe, which writes it anew."
)
MAPPING = Kind(None, NEEDED)
"""Any mapping: a record of which only its reader knows more."""

ANY_LINE = Kind(None, LINE)
MANIFEST = Kind(_Manifest, RETRAINED)
FINGERPRINTS = Kind(dict[str, dict[str, Any]], NEEDED)
PREFERENCES = Kind(_Preferences, REMADE)
JUDGES = Kind(_Judges, REMADE)
TUNING = Kind(_Tuning, REMADE)
TIMINGS = Kind(_Timings, "Restore it from a copy, or delete it: times are then counted anew.")
ENVIRONMENT = Kind(_Environment, REMADE)
BATCHES = Kind(_Batches, UNDER_WAY)
ADAPTER_NOTES = Kind(_AdapterNotes, "Restore the adapter's folder from a copy.")
LABEL_KEY = Kind(_LabelKey, "Give the .key.json that was written with the table of labels.")
DIAGNOSIS = Kind(None, "Restore it from a copy, or delete it and run `stratalign diagnose` again.")
STEPS = Kind(shape_of(StepRecord), STEP, "run", "step")
LOGPROBS = Kind(shape_of(LogProbRecord), LINE, "run", "prompt_id")
RESPONSES = Kind(shape_of(Response), LINE, "run", "prompt_id")
SAMPLED = Kind(shape_of(_Sampled), LINE, "prompt_id", "number")
SCORED = Kind(shape_of(_Scored), LINE, "key")
ASKED = Kind(shape_of(_Asked), LINE, "key")
LOOKED = Kind(shape_of(_Looked), LINE)
