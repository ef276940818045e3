"""init: a recipe to start from, every key documented. Written from the settings themselves, so it stays true."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from stratalign.errors import UserError
from stratalign.microworld import NAME, STUDY
from stratalign.recipe import PAPER_CONDITIONS, Recipe, change_key, parse_recipe
from stratalign.records import write_text

WIDTH = 110

INTRODUCTION = """\
# A study: one model x one preference set x conditions x seeds.
#
#   stratalign plan  {name}     every check, nothing is trained
#   stratalign study {name}     train, prove, generate, score, compare, report; run again to continue
#
# Every key is shown; one that you leave out has its default. Where Hierarchical Alignment (v2, section 4.1 and
# Table 5) gives a value, it stands beside as (paper: ...); all other defaults are ours.
"""

CONDITIONS = """\
# What is compared (paper: base, full, local, mid, global). The short form names blocks; in the long one every
# training key below may be overridden:
#   tuned: {block: mid, learning_rate: [5e-6, 1e-5, 2e-5]}       a list of values makes one condition each
#   best: {block: mid, tune: {learning_rate: [5e-6, 1e-5, 2e-5], rank: [8, 16]}}   the best of these on validation
#   joint: {blocks: [local, global], learning_rate: {local: 1e-5, global: 5e-6}}
#   chosen: {layers: [3, 4, "17-19"]}
#   random: {random: mid, seed: 1}                                as many layers as mid, drawn at random
#   random_run: {random: mid, seed: 1, contiguous: true}          the same, in one piece
#   thin: {block: full, parameters_like: mid}                     all layers with about as many parameters as mid
#   shuffled: {block: full, labels: shuffled}                     control: a coin decides which response is chosen
#   base_again: {block: none, sampling_seed: 1}                   control: the base, sampled anew
#   significant: {by: diagnostics/significance.json, keep: 0.25}  the modules that `stratalign diagnose` ranks first
#   best: {by: diagnostics/gradients.json, parameters: 0.25}      the best modules with a quarter of full's parameters
#   chance: {by: diagnostics/significance.json, keep: 0.25, ranking: shuffled, seed: [1, 2]}   control: as many, drawn
#   staged: {phases: [{block: local, steps: 50}, {block: mid}]}   one after the other
"""


def init(
    path: str | Path, model: str | None = None, source: str | None = None, changes: Sequence[str] = ()
) -> Path:
    """Write a documented recipe with the paper's five conditions.

    Args:
        path: a file that does not exist yet.
        model: hub id or folder of the model; a placeholder if not given. `microworld` brings the demo's settings.
        source: the preference file or data set; a placeholder if not given.
        changes: `key.path=value` to write instead of a default.

    Raises:
        UserError: the file exists or cannot be written, or a change names a key or value that is not allowed.
    """
    file = Path(path)
    if file.exists():
        raise UserError(f"{file} exists already. Nothing was overwritten; give another name.")
    given: dict[str, Any] = {
        "model": model or "Qwen/Qwen2.5-7B",
        "preferences": {"source": "Anthropic/hh-rlhf"},
    }
    if model == NAME:
        given = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    if source is not None:
        given["preferences"]["source"] = source
    for change in changes:
        change_key(given, change)
    # A set of the micro-world brings sizes of its own: what is written is what will be used.
    given["preferences"] = parse_recipe(given).preferences.model_dump(mode="json")
    write_text(file, documented(file.name, given))
    return file


MICROWORLD_INTRODUCTION = """\
# A study on the micro-world: the settings of `stratalign demo`, which are ours, not the paper's. Where Hierarchical
# Alignment (v2) gives a value, it stands beside as (paper: ...).
#
#   stratalign plan  {name}     every check, nothing is trained
#   stratalign study {name}     train, prove, generate, score, compare, report; run again to continue
"""


def documented(name: str, given: Mapping[str, Any]) -> str:
    """The text of a recipe in which every key stands with its meaning and its value: the given one or the default."""
    about_model = "hub id, local folder or microworld; {base: ..., revision: ..., adapter: ...} for more"
    introduction = MICROWORLD_INTRODUCTION if given["model"] == NAME else INTRODUCTION
    parts = [introduction.format(name=name), _line("model", given["model"], about_model)]
    for key, field in Recipe.model_fields.items():
        if key == "model":
            continue
        if key == "conditions":
            parts.append(f"\n{CONDITIONS}" + _conditions(given.get(key, list(PAPER_CONDITIONS))))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            parts.append(f"\n{key}:\n" + _section(field.annotation, given.get(key, {})))
        else:
            parts.append("\n" + _field(key, field, given.get(key, _default(field))))
    return "".join(parts)


def _conditions(given: Any) -> str:
    """On one line, or one to a line where they are spelled out."""
    if not isinstance(given, Mapping):
        return _line("conditions", given, "")
    lines = [f"  {name}:\n" if own is None else _line(name, own, "", "  ") for name, own in given.items()]
    return "conditions:\n" + "".join(lines)


def _section(settings: type[BaseModel], given: Mapping[str, Any], indent: str = "  ") -> str:
    lines = []
    for key, field in settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner = _section(field.annotation, given.get(key, {}), indent + "  ")
            lines.append(f"{indent}{key}:\n{inner}" if inner else _line(key, {}, "nothing to set", indent))
            continue
        value = given.get(key, _default(field))
        lines.append(_field(key, field, None if value is PydanticUndefined else value, indent=indent))
    return "".join(lines)


def _default(field: FieldInfo) -> Any:
    """A field's default; pydantic 2.10 wants to be told of no other fields before it calls a factory."""
    return field.get_default(call_default_factory=True, validated_data={})


def _field(key: str, field: FieldInfo, value: Any, indent: str = "") -> str:
    return _line(key, value, field.description or "", indent)


def _line(key: str, value: Any, comment: str, indent: str = "") -> str:
    """`key: value  # comment`, the comment above the key where the line would be too long."""
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000)
    text = text.strip().removesuffix("\n...").strip()
    line = f"{indent}{key}: {text}"
    if not comment:
        return f"{line}\n"
    if len(line) + len(comment) + 4 <= WIDTH:
        return f"{line}  # {comment}\n"
    above = textwrap.wrap(comment, WIDTH - len(indent) - 2)
    return "".join(f"{indent}# {part}\n" for part in above) + f"{line}\n"
