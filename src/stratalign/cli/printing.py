"""What the smaller verbs print: proofs, an audit, parity with TRL, pairs, catalogues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stratalign.blocks import describe_layers
from stratalign.cli.tabling import table
from stratalign.cli.terminal import console, say
from stratalign.records import (
    MANIFEST,
    STANDINGS,
    Outcome,
    StudyFolder,
    changed_files,
    outcome_of,
    read_record,
    standing_of,
)
from stratalign.reporting.judge_replies import judge_replies

if TYPE_CHECKING:
    from stratalign.pipeline import PairsMade


MARKS: dict[Outcome | None, str] = {"holds": "yes", "fails": "NO ", "cannot tell": " ? ", None: " - "}


def proofs(folder: StudyFolder) -> None:
    """Which runs are proven, and how; of an adapter that has changed since, that it has."""
    for name, run in read_record(folder.manifest, MANIFEST)["runs"].items():
        if "candidate_of" in run:
            continue
        proof = run.get("proof")
        standing = standing_of(proof, changed=bool(changed_files(folder, name, run)))
        if standing is None:
            say(f"{name}: not trained yet")
            continue
        say(f"{name}: {STANDINGS[standing]}")
        for check, found in proof["checks"].items() if standing != "changed" else ():
            say(f"  {MARKS[outcome_of(found)]}  {check}: {found['detail']}")
    say(f"Manifest: {folder.manifest}")


KINDS = {
    "lora": "",
    "embedding": "LoRA on an embedding",
    "tokens": "rows of some tokens",
    "whole": "saved whole",
}
"""What stands behind a module that is changed in another way than by plain LoRA."""


def audit(found: Mapping[str, Any]) -> None:
    """What an adapter touches: layers in which it is on the same modules stand together."""
    by_layer: dict[int, list[str]] = {}
    elsewhere: list[str] = []
    for module in found["modules"]:
        idle = "" if module["trained"] else "B = 0"
        notes = [note for note in (KINDS[module["kind"]], idle) if note]
        mark = f" ({', '.join(notes)})" if notes else ""
        if module["layer"] is None:
            elsewhere.append(f"{module['module']}{mark}")
        else:
            by_layer.setdefault(module["layer"], []).append(f"{module['module'].rsplit('.', 1)[-1]}{mark}")
    alike: dict[tuple[str, ...], list[int]] = {}
    for layer, names in by_layer.items():
        alike.setdefault(tuple(names), []).append(layer)
    for shown, layers in alike.items():
        say(f"layer{'s' if len(layers) > 1 else ''} {describe_layers(layers)}: {', '.join(shown)}")
    if elsewhere:
        say(f"outside of the layers: {', '.join(elsewhere)}")
    ranks = sorted({module["rank"] for module in found["modules"] if module["rank"]})
    say(
        f"{len(found['modules'])} modules in {len(found['layers'])} layers ({describe_layers(found['layers'])}), "
        f"rank {', '.join(map(str, ranks)) or 'none'}, {found['parameters']:,} parameters; "
        + (f"checked against {found['base']}" if found["base"] else "not checked against a base (--base)")
    )
    for name in found["other_tensors"]:
        say(f"also holds: {name}")
    for problem in found["problems"]:
        say(f"problem: {problem}")


def parity(found: Mapping[str, Any]) -> None:
    """Differences between TRL's training and ours."""
    keys = ("max_loss_difference", "max_log_ratio_difference", "relative_update_difference", "loss_moved")
    shown = table(
        "condition", *(key.replace("_", " ") for key in keys), "same modules", "same tokens", "outcome"
    )
    for name, row in found["conditions"].items():
        flags = ["yes" if row[key] else "NO" for key in ("same_modules", "same_tokens")]
        shown.add_row(name, *(f"{row[key]:.1e}" for key in keys), *flags, row["outcome"])
    console.print(shown)
    for name, row in found["conditions"].items():
        _tolerances(name, row)
    for name, why in found["skipped"].items():
        say(f"{name}: not compared, {why}")
    verdict = {
        "agrees": "Both trainings agree",
        "differs": "The trainings DIFFER",
        "rounding too large to tell": "Cannot tell whether the trainings agree: rounding may explain large differences",
        "moved too little to tell": "Cannot tell whether the trainings agree: some moved too little",
    }[found["outcome"]]
    say(f"{verdict} over {found['steps']} steps at learning rate {found['learning_rate']:g}.")
    if found["outcome"] == "moved too little to tell":
        say(f"Try more: --learning-rate {10 * found['learning_rate']:g} or --steps {4 * found['steps']}.")
    if found["outcome"] == "rounding too large to tell" and found["steps"] > FEWEST_STEPS:
        say(f"Try fewer steps: --steps {max(FEWEST_STEPS, found['steps'] // 4)}.")


MEASURES = {
    "max_loss_difference": ("loss", "{:.1e}"),
    "max_log_ratio_difference": ("log-ratio", "{:.1e} nats"),
    "relative_update_difference": ("update", "{:.2g} %"),
}
"""What verify compares, by the key of its record: its name and the form of its value."""

FEWEST_STEPS = 2
"""The least that verify takes."""


def _tolerances(name: str, row: Mapping[str, Any]) -> None:
    """What was tolerated in a condition, what rounding to float32 changes, and which measure is beyond."""

    def value(key: str, number: float) -> str:
        return MEASURES[key][1].format(100 * number if key == "relative_update_difference" else number)

    def listed(numbers: Mapping[str, float]) -> str:
        return ", ".join(f"{word} {value(key, numbers[key])}" for key, (word, _) in MEASURES.items())

    say(f"{name}: tolerances: {listed(row['tolerances'])}")
    if row["noise"] is not None:
        say(f"{name}: ours in float32 and ours in float64 differ by: {listed(row['noise'])}")
    for key in row["beyond"]:
        allowed = value(key, row["tolerances"][key])
        say(f"{name}: {MEASURES[key][0]} differs by {value(key, row[key])}, more than {allowed}")


def pairs(made: PairsMade) -> None:
    """How many pairs came of how many answers, and in what chosen and rejected differ."""
    say(
        f"{made.pairs} pairs for {made.target}, from {made.answers} answers to {made.prompts} prompts "
        f"({made.usable} usable: ended, not blank, not said twice)"
    )
    shown = table("dimension", "chosen", "rejected", "gap")
    for name, (chosen, rejected) in made.gaps.items():
        role = " (target)" if name == made.target else ""
        shown.add_row(f"{name}{role}", f"{chosen:.3f}", f"{rejected:.3f}", f"{chosen - rejected:+.3f}")
    console.print(shown)
    for one in judge_replies(made.judges):
        say(f"Judge: {one.words}")
    say(f"Pairs: {made.file}")


def catalogues(found: Mapping[str, Mapping[str, str]]) -> None:
    """Every name with its meaning."""
    for catalogue, entries in found.items():
        say(f"{catalogue}:")
        for name, about in entries.items():
            say(f"  {name:<20} {about}")
