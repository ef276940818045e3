"""What a run trained, as PEFT writes it: the keys of adapter_config.json, and the Python that makes them. Pure.

Everything comes from the manifest, which names every module in full; PEFT itself is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STORED_TRANSPOSED = ("gpt2", "openai-gpt")
"""Model types whose projections are stored inputs first, which LoRA has to be told."""


@dataclass(frozen=True)
class PeftConfig:
    """`adapter_config` are keys of PEFT's adapter_config.json, `python` a call that makes the same settings."""

    adapter_config: dict[str, Any]
    python: str


def peft_config(entry: Mapping[str, Any], model_type: str | None) -> PeftConfig | None:
    """The settings of one run; None where the manifest does not name its modules.

    Args:
        entry: the run's entry in the manifest.
        model_type: of the base.
    """
    if not entry.get("modules") or not entry.get("rank") or not entry.get("alpha"):
        return None
    alpha = float(entry["alpha"])
    keys: dict[str, Any] = {
        "task_type": "CAUSAL_LM",
        "r": int(entry["rank"]),
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": float((entry.get("training") or {}).get("dropout") or 0.0),
        "bias": "none",
        "target_modules": [str(module) for module in entry["modules"]],
    }
    if model_type in STORED_TRANSPOSED:
        keys["fan_in_fan_out"] = True
    return PeftConfig({"peft_type": "LORA", **keys}, _python(keys))


def _python(keys: Mapping[str, Any]) -> str:
    lines = ["from peft import LoraConfig", "", "config = LoraConfig("]
    for key, value in keys.items():
        if isinstance(value, list):
            lines += [f"    {key}=[", *(f"        {one!r}," for one in value), "    ],"]
        else:
            lines.append(f"    {key}={value!r},")
    return "\n".join([*lines, ")", ""])
