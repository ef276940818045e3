"""The recipe: the settings that the rooms own, assembled into one strict YAML file.

Unknown keys are errors with their path. Knows how a recipe is written and checked, not what is done with it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from stratalign.blocks import (
    Blocks,
    BoundarySettings,
    ConditionSpec,
    PartitionSettings,
    ProfileSettings,
    SelectorsSettings,
    added_conditions,
    expand_conditions,
    selector_conditions,
)
from stratalign.diagnostics import DiagnosticsSettings
from stratalign.errors import UserError, shortened, unknown_name
from stratalign.generation import GenerationSettings
from stratalign.judging import JudgeSettings
from stratalign.models import ModelSettings
from stratalign.numbers import unsound_numbers
from stratalign.preferences import PairsSettings, PreferenceSettings
from stratalign.records import SEEDS_VARY, VARIES, StrictLoader, read_mapping
from stratalign.scorers import ScorerSettings
from stratalign.training import OVERRIDE_KEYS, TrainingSettings
from stratalign.words import PLACES, in_our_words

MOST_RUNS = 2_000
_MOST_MISTAKES = 5
"""Mistakes that one message names."""
PAPER_CONDITIONS = ("base", "full", "local", "mid", "global")


class Recipe(BaseModel):
    """One model x one preference set x conditions x seeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelSettings
    preferences: PreferenceSettings
    conditions: list[Any] | dict[str, Any] = Field(list(PAPER_CONDITIONS))
    tune: dict[str, Any] | None = Field(
        None,
        description="conditions whose learning rate or rank is chosen on validation: {conditions: [full, mid], "
        "learning_rate: [5e-6, 1e-5], rank: [8, 16], by: loss}",
    )
    selectors: SelectorsSettings = SelectorsSettings()
    seeds: list[int] = Field([0], description="each trains and samples every condition once more")
    seeds_vary: list[str] = Field(
        list(SEEDS_VARY),
        description="what differs between seeds; the rest is shared: init (the adapters' A, LoRA dropout, the coin of "
        "shuffled labels), order (of the pairs; every seed then trains in a pass of its own), sampling (the noise of "
        "the answers)",
    )
    partition: PartitionSettings = PartitionSettings()
    profile: ProfileSettings | None = Field(
        None,
        description="the layer profile: {window: 3, stride: 1, random: 5, seed: 0} makes every window of layers a "
        "condition, and random draws of as many layers",
    )
    boundaries: BoundarySettings | None = Field(
        None,
        description="{shift: [1, 2]} trains each block once more for every shift of the partition's inner boundaries",
    )
    training: TrainingSettings = TrainingSettings()
    generation: GenerationSettings = GenerationSettings()
    judge: JudgeSettings = JudgeSettings()
    diagnostics: DiagnosticsSettings = DiagnosticsSettings()
    scorers: list[ScorerSettings] = Field(
        [],
        description="scorers of your own beside the judge: {reward: MODEL}, {function: module:function}, "
        "{tasks: [NAME]}",
    )
    pairs: PairsSettings = PairsSettings()
    _notes: tuple[str, ...] = PrivateAttr(())

    @property
    def notes(self) -> tuple[str, ...]:
        """How words of other tools were read."""
        return self._notes

    @field_validator("model", mode="before")
    @classmethod
    def _short_model(cls, value: Any) -> Any:
        return {"base": value} if isinstance(value, str) else value

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, value: list[int]) -> list[int]:
        if not value or len(set(value)) != len(value) or min(value) < 0:
            raise ValueError(
                f"seeds must be distinct whole numbers from 0, at least one, got {shortened(value)}"
            )
        return value

    @field_validator("seeds_vary")
    @classmethod
    def _known_once(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in VARIES:
                raise ValueError(str(unknown_name("name", name, VARIES)))
        if len(set(value)) != len(value):
            raise ValueError(f"each name may be listed once, got {value}")
        return [name for name in VARIES if name in value]

    @field_validator("scorers")
    @classmethod
    def _distinct_scorers(cls, value: list[ScorerSettings]) -> list[ScorerSettings]:
        names = [one.called for one in value if one.tasks is None]
        names += [f"the task {task}" for one in value for task in one.tasks or ()]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two scorers are called {twice}; give one another `name`, or leave it out")
        return value

    @model_validator(mode="after")
    def _seeds_differ(self) -> Recipe:
        if len(self.seeds) > 1 and not self.seeds_vary:
            raise ValueError(
                f"the {len(self.seeds)} seeds would all give the same results, since seeds_vary is empty; list at "
                f"least one of {', '.join(VARIES)}"
            )
        return self

    @model_validator(mode="after")
    def _with_selectors(self) -> Recipe:
        """The conditions of `selectors` stand among `conditions`, so that a stored recipe says all that is trained."""
        made = selector_conditions(self.selectors, list(self.training.targets))
        own = self.conditions
        listed = [own] if isinstance(own, dict) else [one for one in own if isinstance(one, dict)]
        written = {name: settings for one in listed for name, settings in one.items()}
        named = {*written, *(name for name in own if isinstance(name, str))}
        for name, settings in made.items():
            if settings is not None and name in named and written.get(name) != settings:
                raise ValueError(
                    f"the condition {name} has the name of one that `selectors` makes and is another; rename yours"
                )
        new = {name: settings for name, settings in made.items() if name not in named}
        if new:
            joined = {**own, **new} if isinstance(own, dict) else [*own, *({k: v} for k, v in new.items())]
            object.__setattr__(self, "conditions", joined)
        return self

    def specs(self) -> list[ConditionSpec]:
        """The conditions that are written out, lists of values expanded; how many `profile` and `boundaries` add is
        known with the model's depth (`all_specs`)."""
        return expand_conditions(self.conditions, OVERRIDE_KEYS, self.tune)

    def all_specs(self, n_layers: int, blocks: Blocks | None) -> list[ConditionSpec]:
        """The written conditions, and those that `profile` and `boundaries` add for a model of this depth; shifted
        boundaries wait where the partition waits for a record (None).

        Raises:
            UserError: an added condition has the name of a written one, `full` is written and does not train every
                layer, or the model has too few layers.
        """
        written = self.specs()
        shifted = None if blocks is None else self.boundaries
        taken = {spec.name.casefold(): spec for spec in written}
        first: list[ConditionSpec] = []
        last: list[ConditionSpec] = []
        for one in added_conditions(self.profile, shifted, n_layers, blocks or {}):
            other = taken.get(one.name.casefold())
            if other is None:
                (first if one.kind == "needed" else last).extend(
                    expand_conditions({one.name: one.settings}, OVERRIDE_KEYS)
                )
            elif one.kind != "needed":
                raise UserError(
                    f"Condition {other.name!r} has the name of one that "
                    f"{'boundaries' if one.kind == 'shifted' else 'profile'} adds. Rename yours."
                )
            elif other.selection.get("block") != one.settings["block"] or other.labels != "given":
                raise UserError(
                    f"Condition {other.name!r} must be {{block: {one.settings['block']}}} where the recipe has "
                    "`profile` or `boundaries`: what it gains is what all others have a share of. Rename yours."
                )
        return [*first, *written, *last]

    def settings_of(self, spec: ConditionSpec) -> TrainingSettings:
        """The training settings of one condition, its overrides applied.

        Raises:
            UserError: an override has a value that is not allowed.
        """
        refuse_numbers(TrainingSettings, spec.overrides, f"conditions.{spec.name}")
        try:
            return self.training.overridden(spec.overrides)
        except ValidationError as error:
            raise _explained(error, f"conditions.{spec.name}") from None

    def to_yaml(self) -> str:
        """The recipe with every default written out, without the sections that are not used, and without `pairs`, which
        no stage of a study reads."""
        left_out = {"pairs"}
        left_out |= {key for key in ("scorers", "tune", "profile", "boundaries") if not getattr(self, key)}
        if not self.selectors.by:
            left_out.add("selectors")
        written = self.model_dump(mode="json", exclude=left_out)
        if self.scorers:
            written["scorers"] = [one.as_written() for one in self.scorers]
        return yaml.safe_dump(written, sort_keys=False, allow_unicode=True)


def load_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.path=value` changes.

    Paths in a recipe are relative to the working directory or, if nothing is there, to the recipe's folder.

    Raises:
        UserError: the file is missing, is no YAML mapping, has an unknown key or a value that is not allowed.
    """
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{file} is a folder. Give the recipe file, such as {file / 'recipe.yaml'}.")
    written = read_mapping(
        file,
        "recipe",
        keys="model and preferences",
        missing=f"`stratalign init {file}` writes one to start from.",
    )
    written, notes = in_our_words(written, _own_keys())
    for change in changes:
        notes += change_key(written, change)
    return parse_recipe(written, file.parent, notes)


def parse_recipe(written: Mapping[str, Any], beside: Path = Path(), notes: tuple[str, ...] = ()) -> Recipe:
    """Check a recipe that is already a mapping.

    Args:
        written: the recipe.
        beside: where paths are looked for that are not in the working directory.
        notes: on words that were read as ours already.

    Raises:
        UserError: see `load_recipe`.
    """
    written, more = in_our_words(written, _own_keys())
    refuse_numbers(Recipe, written)
    try:
        recipe = Recipe.model_validate(written)
    except ValidationError as error:
        raise _explained(error) from None
    runs = len(recipe.specs()) * len(recipe.seeds)
    if runs > MOST_RUNS:
        raise UserError(
            f"The recipe asks for {runs:,} runs (conditions x seeds); a study has at most {MOST_RUNS:,}. Take fewer."
        )
    model = recipe.model.model_copy(
        update={
            "base": _found(recipe.model.base, beside),
            "adapter": recipe.model.adapter and _found(recipe.model.adapter, beside),
        }
    )
    template = recipe.preferences.chat_template
    preferences = recipe.preferences.model_copy(
        update={
            "source": _found(recipe.preferences.source, beside),
            "chat_template": template and _found(template, beside),
        }
    )
    scorers = [
        one.model_copy(
            update={
                key: _found(value, beside)
                for key in ("reward", "include_path")
                if (value := getattr(one, key))
            }
        )
        for one in recipe.scorers
    ]
    pairs = recipe.pairs.model_copy(
        update={"prompts": recipe.pairs.prompts and _found(recipe.pairs.prompts, beside)}
    )
    labels = [
        one.model_copy(update={"table": _found(one.table, beside), "key": _found(one.key, beside)})
        for one in recipe.judge.labels
    ]
    judge = recipe.judge.model_copy(
        update={"protocol": _found(recipe.judge.protocol, beside), "labels": labels}
    )
    changed = {"model": model, "preferences": preferences, "scorers": scorers, "pairs": pairs, "judge": judge}
    recipe = recipe.model_copy(update=changed)
    recipe._notes = tuple(dict.fromkeys((*notes, *more)))
    return recipe


def refuse_numbers(settings: type[BaseModel], written: Mapping[str, Any], path: str = "") -> None:
    """Raise a UserError where a number is wanted and true, false, nan, infinity or more than 64 bits stand."""
    found = next(unsound_numbers(settings, written, path), None)
    if found is not None:
        raise UserError(f"The recipe has a mistake. {found}")


def _own_keys() -> dict[str, list[str]]:
    """The keys of the top level ("") and of the sections in which words of other tools are looked for."""
    return {"": list(Recipe.model_fields), **{place: _keys_at([place]) for place in PLACES}}


def change_key(written: dict[str, Any], change: str) -> tuple[str, ...]:
    """Apply one `key.path=value` change to a recipe that is still a mapping; the value is read as YAML.

    Returns:
        Notes on words of other tools that were read as ours.

    Raises:
        UserError: there is no "=", or the path leads through something that has no keys.
    """
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise UserError(
            f"--set takes key.path=value, got {change!r}. Example: --set training.learning_rate=5e-6"
        )
    try:
        value = yaml.load(text, Loader=StrictLoader)
    except yaml.YAMLError:
        raise UserError(f"--set {path}: {text!r} is not a YAML value.") from None
    names = path.split(".")
    nested: Any = value
    for name in reversed(names):
        nested = {name: nested}
    nested, notes = in_our_words(nested, _own_keys())
    if notes and not nested.get(names[0]) and len(nested) > 1:  # the word's value belongs to another section
        del nested[names[0]]
    depth = len(names) if names[0] in nested else 2
    names = []
    for _ in range(depth):
        name, nested = next(iter(nested.items()))
        names.append(name)
    *parents, last = names
    place: Any = written
    for name in parents:
        below = place.get(name)
        if name == "model" and isinstance(below, str):
            below = {"base": below}
        if below is None:
            below = {}
        if not isinstance(below, dict):
            raise UserError(f"--set {path}: {name} is {below!r} in the recipe, which has no keys below it.")
        place[name] = below
        place = below
    place[last] = nested
    return notes


def _found(name: str, beside: Path) -> str:
    """`name` as it is, unless it exists only beside the recipe."""
    try:
        if not Path(name).expanduser().exists() and (beside / name).exists():
            return str(beside / name)
    except (OSError, RuntimeError) as error:  # too long for a path, or the home of a user that is not there
        raise UserError(f"{name!r} cannot be a path: {error}. Correct it in the recipe.") from None
    return name


def _explained(error: ValidationError, prefix: str = "") -> UserError:
    """Pydantic's findings in our words: the path, what we got, what is allowed."""
    lines: list[str] = []
    for found in error.errors()[:_MOST_MISTAKES]:
        *above, last = found["loc"] or ("",)
        own = [part for part in above if not _is_type_name(part)]
        if found["type"] == "extra_forbidden" or not _is_type_name(last):
            own.append(last)
        place = ".".join(map(str, filter(lambda part: part != "", [prefix, *own])))
        if found["type"] == "extra_forbidden":
            known = _keys_at(found["loc"][:-1])
            near = difflib.get_close_matches(str(found["loc"][-1])[:100], known, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            lines.append(f"Unknown key {shortened(place)}.{guess} Known: {', '.join(known)}.")
        elif found["type"] == "missing":
            needed = "" if "." in place else " Every recipe needs model and preferences.source."
            lines.append(f"{place} is missing.{needed}")
        else:
            got = "" if found["type"] == "value_error" else f", got {shortened(found['input'])}"
            said = f"{found['msg'].removeprefix('Value error, ').rstrip('.')}{got}."
            lines.append(f"{place}: {said}" if place else f"{said[0].upper()}{said[1:]}")
    return UserError("The recipe has a mistake. " + " ".join(dict.fromkeys(lines)))


def _keys_at(path: Iterable[Any]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in path:
        field = model.model_fields.get(str(part))
        kind = None if field is None else next(iter(get_args(field.annotation)), field.annotation)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
    return list(model.model_fields)


def _is_type_name(part: object) -> bool:
    """Pydantic adds the branch of a union to a location; a user never wrote it."""
    return isinstance(part, str) and (
        part in ("int", "str", "float", "bool", "constrained-int") or re.match(r"[a-z-]+\[", part) is not None
    )
