"""The next command to type, spelt as the command line takes it. Knows nothing of when to type it.

A command speaks of the study's folder as `{study}`, because results do not know where they lie; `located` fills it in.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

STUDY = "{study}"


def study_command(changes: Mapping[str, object], out: str = "", verb: str = "study") -> str:
    """`stratalign study` on the recipe in the study's folder, with these changes.

    Args:
        changes: key path -> value.
        out: what is added to the folder's name where the changes would make stored results stale; empty where the
            study itself continues.
        verb: any verb that takes a recipe.
    """
    settings = [f"--set {shlex.quote(f'{key}={_yaml(value)}')}" for key, value in changes.items()]
    return " ".join(["stratalign", verb, f"{STUDY}/recipe.yaml", *settings, "--out", f"{STUDY}{out}"])


def located(command: str, study: str) -> str:
    """The command, or a sentence with one in it, with the study's folder in it."""
    return re.sub(
        re.escape(STUDY) + r"[\w./@+=-]*", lambda path: shlex.quote(path[0].replace(STUDY, study)), command
    )


def with_conditions(
    recipe: Mapping[str, Any], added: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """The changes that add conditions, whichever way the recipe writes its conditions; each under its name, or one like
    it where that one is taken."""
    written = recipe.get("conditions") or ["base"]
    listed = written if isinstance(written, Sequence) else ()
    taken = {*(written if isinstance(written, Mapping) else ()), *(str(one) for one in listed)}
    taken |= {str(key) for one in listed if isinstance(one, Mapping) for key in one}
    new: dict[str, dict[str, object]] = {}
    for name, settings in added.items():
        own = name.replace(".", "_")  # a dot would read as a key within a key
        while own in taken or own in new:
            own += "_2"
        new[own] = dict(settings)
    if isinstance(written, Mapping):
        return {f"conditions.{own}": settings for own, settings in new.items()}
    return {"conditions": [*listed, *({own: settings} for own, settings in new.items())]}


def rates_of(recipe: Mapping[str, Any], name: str) -> tuple[dict[str, Any], float]:
    """The settings of a condition that the recipe writes, without its learning rate, and that rate: the highest where
    blocks have their own. No settings of one that it does not write (one of a list of values) or that has phases."""
    written = recipe.get("conditions") or ()
    listed = (
        [written] if isinstance(written, Mapping) else [one for one in written if not isinstance(one, str)]
    )
    names = {str(one): None for one in written if isinstance(one, str)}
    settings = {**names, **{str(key): value for one in listed for key, value in one.items()}}
    own = dict(settings.get(name) or ({"block": name} if name in settings else {}))
    own.pop("tune", None)
    if "phases" in own:
        own = {}
    rate = own.pop("learning_rate", training(recipe).get("learning_rate", 1e-5))
    return own, max(rate.values()) if isinstance(rate, Mapping) else float(rate)


def scaled_rate(recipe: Mapping[str, Any], factor: float) -> dict[str, object]:
    """The changes that multiply every learning rate of the recipe: its own, a condition's, and those to be tuned."""
    found: dict[str, object] = {
        "training.learning_rate": _scaled(training(recipe).get("learning_rate", 1e-5), factor)
    }
    written = recipe.get("conditions")
    named = written.items() if isinstance(written, Mapping) else ()
    places = [("tune", recipe.get("tune"))]
    for name, settings in named:
        if isinstance(settings, Mapping) and "." not in str(name):
            places += [(f"conditions.{name}", settings), (f"conditions.{name}.tune", settings.get("tune"))]
    for path, settings in places:
        if isinstance(settings, Mapping) and settings.get("learning_rate") is not None:
            found[f"{path}.learning_rate"] = _scaled(settings["learning_rate"], factor)
    return found


def training(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """The recipe's training section, empty where it is not written out."""
    return recipe.get("training") or {}


def _scaled(rate: Any, factor: float) -> Any:
    """A rate, a list of rates or rates of blocks, to three digits."""
    if isinstance(rate, Mapping):
        return {name: _scaled(one, factor) for name, one in rate.items()}
    if isinstance(rate, Sequence) and not isinstance(rate, str):
        return [_scaled(one, factor) for one in rate]
    return float(f"{float(rate) * factor:.3g}")


def _yaml(value: object) -> str:
    """A value on one line, as YAML reads it: JSON is YAML, and a short number stays short."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
