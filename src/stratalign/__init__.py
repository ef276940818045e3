"""stratalign: which layers should preference training touch? One pass, every candidate, error bars.

Every verb of the command line is a function here. Importing this package loads no torch; a verb loads what it
needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stratalign.blocks import partition
    from stratalign.companions import BlockCallback, axolotl_config, lora_config
    from stratalign.errors import StudyFailure, UserError
    from stratalign.listing import catalogues
    from stratalign.models import audit, merge
    from stratalign.pipeline import (
        calibrate_judge,
        diagnose,
        estimate_judging,
        generate,
        judge,
        label_template,
        pairs,
        plan,
        study,
        train,
        verify,
    )
    from stratalign.recipe import Recipe, load_recipe
    from stratalign.reporting import power, report
    from stratalign.showcase import demo
    from stratalign.starting import init

__version__ = "0.1.0"

_HOMES = {
    "BlockCallback": "companions",
    "Recipe": "recipe",
    "StudyFailure": "errors",
    "UserError": "errors",
    "audit": "models",
    "axolotl_config": "companions",
    "calibrate_judge": "pipeline",
    "catalogues": "listing",
    "demo": "showcase",
    "diagnose": "pipeline",
    "estimate_judging": "pipeline",
    "generate": "pipeline",
    "init": "starting",
    "judge": "pipeline",
    "label_template": "pipeline",
    "list": "listing:catalogues",  # the verb; a module cannot call its function so without losing the built-in
    "load_recipe": "recipe",
    "lora_config": "companions",
    "merge": "models",
    "pairs": "pipeline",
    "partition": "blocks",
    "plan": "pipeline",
    "power": "reporting",
    "report": "reporting",
    "study": "pipeline",
    "train": "pipeline",
    "verify": "pipeline",
}

__all__ = [
    "BlockCallback",
    "Recipe",
    "StudyFailure",
    "UserError",
    "audit",
    "axolotl_config",
    "calibrate_judge",
    "catalogues",
    "demo",
    "diagnose",
    "estimate_judging",
    "generate",
    "init",
    "judge",
    "label_template",
    "load_recipe",
    "lora_config",
    "merge",
    "pairs",
    "partition",
    "plan",
    "power",
    "report",
    "study",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, function = _HOMES[name].partition(":")
        found = getattr(importlib.import_module(f"stratalign.{module}"), function or name)
        globals()[name] = found  # asked for once, found at once
        return found
    raise AttributeError(f"module 'stratalign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
