"""Whether a judge and the model that it judges are relatives, by their names.

A judge tends to prefer texts like its own (arXiv 2410.21819, 2604.22891). A name is a hint and no proof: a model
under a name of its own is of no family that is known here. Knows nothing of scores.
"""

from __future__ import annotations

import re

FAMILIES: dict[str, str] = {
    "Qwen": r"qwen|qwq|qvq|tongyi",
    "Llama": r"llama|vicuna|alpaca|tulu",
    "Mistral": r"mi[sx]tral|ministral|codestral|magistral|devstral|pixtral|zephyr",
    "Gemma and Gemini": r"gemma|gemini",
    "Phi": r"(?<![a-z])phi(?![a-z])",
    "GPT": r"(?<![a-z])(chat)?gpt-?[2-9o]|gpt-oss|chatgpt|davinci|(?<![a-z0-9])o[134](?![a-z0-9])",
    "Claude": r"claude",
    "DeepSeek": r"deepseek",
    "GLM": r"(?<![a-z])(chat)?glm(?![a-z])",
    "Yi": r"(?<![a-z])yi(?![a-z])",
    "Command": r"command-?(r|a)(?![a-z])|(?<![a-z])aya(?![a-z])",
    "Grok": r"(?<![a-z])grok(?![a-z])",
    "Kimi": r"kimi|moonshot",
    "InternLM": r"internlm",
    "OLMo": r"olmo",
    "Pythia and GPT-NeoX": r"pythia|gpt-?neo|gpt-j",
    "Falcon": r"falcon",
    "Granite": r"granite",
    "SmolLM": r"smollm",
    "Nemotron": r"nemotron",
}
"""Family -> what its models' names hold, in lower case. A name may hold two: a distilled model has two families."""


def families(name: str) -> list[str]:
    """The families that a model's name speaks of; of a path, its last part alone.

    >>> families("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
    ['Qwen', 'DeepSeek']
    """
    is_path = name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1
    said = (re.split(r"[/\\]", name.rstrip("/\\"))[-1] if is_path else name).casefold()
    return [family for family, pattern in FAMILIES.items() if re.search(pattern, said)]


def kinship_warning(judge: str, model: str) -> str | None:
    """A sentence for the report where judge and studied model share a family, else None."""
    shared = [family for family in families(judge) if family in families(model)]
    if not shared:
        return None
    return (
        f"The judge {judge} and the studied model {model} are of one family ({', '.join(shared)}). Judges tend to "
        "prefer texts like their own: compare conditions of this model with each other, not with other models, and "
        "let a judge of another family score a part."
    )
