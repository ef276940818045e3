"""A model card for every adapter: what it is of, what trained, the proof, and what it gained and lost. Pure.

The front matter is what the Hub and PEFT read. Names that people or models wrote are escaped: Markdown can hold HTML.
A licence is nobody's to guess, so none is named. The card lies beside the adapter and is no part of its proof.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from stratalign.blocks import single_modules
from stratalign.records import STANDINGS, Outcome, Standing, outcome_of
from stratalign.reporting.comparisons.contrasts import Contrast
from stratalign.reporting.findings.evidence import objective_measures
from stratalign.reporting.findings.runs import RunResult
from stratalign.reporting.findings.took_hold import NOT_JUDGED
from stratalign.reporting.inputs import StudyRecords
from stratalign.reporting.numbers import by_kind, interval, p_value, percent, plain, signed, spans
from stratalign.reporting.page.limits import ALWAYS, OF_A_GAIN, OF_TRAINING
from stratalign.reporting.page.reproducing import recipe_hash
from stratalign.reporting.results import Results

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
TAGS = ("lora", "preference-training", "layer-targeted", "stratalign")
LONGEST = 160
OUTCOMES: dict[Outcome, str] = {"holds": "holds", "fails": "**fails**", "cannot tell": "**cannot tell**"}


def model_card(records: StudyRecords, results: Results, run: RunResult) -> str:
    """README.md for one run's adapter."""
    study = results.study
    entry = (records.manifest.get("runs") or {}).get(run.run) or {}
    training = entry.get("training") or {}
    title = f"{inert(run.run)}: LoRA on layers {spans(run.layers)} of {inert(study.model.get('name') or 'a model')}"
    lines = [
        "---",
        yaml.safe_dump(_front(records, training), sort_keys=False, allow_unicode=True).rstrip("\n"),
        "---",
        "",
        f"# {title}",
        "",
        f"Trained by stratalign on {inert(study.source or 'unnamed preferences')}, beside the other conditions of one "
        "study, on the same batches.",
        "",
        "## What trained",
        "",
        *_trained(results, run, entry),
        "",
        "## Proof of targeting",
        "",
        *_proof(entry.get("proof"), run.proof),
        "",
        "## Results against the base",
        "",
        *_results(results, run),
        "",
        "## Reproduce",
        "",
        f"SHA-256 of the recipe's values: `{recipe_hash(records)}`. The study's report has the recipe.",
        "",
        "## Limits",
        "",
        f"{OF_A_GAIN if results.took_hold is None else OF_TRAINING} {ALWAYS}",
        "",
    ]
    return "\n".join(lines)


def inert(text: object) -> str:
    """Text that Markdown and HTML show as it is: on one line, without control characters, at most `LONGEST` long."""
    line = "".join(one for one in " ".join(str(text).split()) if one.isprintable())
    line = line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$:@-])", r"\\\1", line)


def _front(records: StudyRecords, training: Mapping[str, Any]) -> dict[str, Any]:
    """The YAML front matter; what is not known is left out."""
    model = records.manifest.get("model") or {}
    base = str(model.get("base") or model.get("name") or "")
    source = str((records.recipe.get("preferences") or {}).get("source") or "")
    loss = str(training.get("loss") or "")
    found: dict[str, Any] = {}
    if HUB_ID.fullmatch(base):
        found["base_model"] = base
    found |= {"library_name": "peft", "pipeline_tag": "text-generation"}
    found["tags"] = [*TAGS, *(["dpo"] if loss == "sigmoid" else [])]
    if HUB_ID.fullmatch(source):
        found["datasets"] = [source]
    return found


def _trained(results: Results, run: RunResult, entry: Mapping[str, Any]) -> list[str]:
    training = entry.get("training") or {}
    single = {inert(kind): own for kind, own in single_modules(entry.get("modules") or ()).items()}
    names = by_kind(single) or ", ".join(inert(name) for name in run.targets)
    layers = results.study.model.get("layers")
    lines = [
        f"- layers: {spans(run.layers)}" + (f" of {plain(layers)}" if isinstance(layers, int) else ""),
        f"- modules: {names or 'not recorded'}",
        f"- rank {plain(run.rank)}, alpha {plain(run.alpha, 0)}, {plain(run.parameters)} parameters",
        f"- {plain(run.steps)} optimizer steps, seed {run.seed}",
    ]
    for name in ("loss", "beta", "learning_rate"):
        if training.get(name) is not None:
            lines.append(f"- {name.replace('_', ' ')}: {inert(training[name])}")
    if run.labels and run.labels != "given":
        lines.append(f"- labels: {inert(run.labels)}. This is a control, not a model to use.")
    if run.held_out_accuracy:
        lines.append(f"- accuracy on held-out pairs: {percent(run.held_out_accuracy.mean)}")
    if run.kl_to_base:
        lines.append(f"- KL to base: {plain(run.kl_to_base.mean)} nats per answer")
    if run.same_as_base is not None:
        lines.append(f"- answers that equal the base's letter by letter: {percent(run.same_as_base)}")
    return lines


def _proof(proof: object, standing: Standing | None) -> list[str]:
    if standing is None or not isinstance(proof, Mapping):
        return ["Not made yet."]
    words = STANDINGS[standing].capitalize()
    verdict = f"{words}." if standing == "proven" else f"**{words}.**"
    if standing == "changed":
        return [verdict]
    checks = proof.get("checks")
    lines = [
        f"- {inert(str(name).replace('_', ' '))}: {OUTCOMES[outcome_of(one) or 'fails']}"
        + (f" ({inert(one['detail'])})" if one.get("detail") else "")
        for name, one in (checks.items() if isinstance(checks, Mapping) else ())
        if isinstance(one, Mapping)
    ]
    return [verdict, "", *lines]


def _results(results: Results, run: RunResult) -> list[str]:
    if results.took_hold is not None:
        own = [one for one in results.comparisons if one.condition == run.condition and one.seed is None]
        tested = [one for one in own if one.family is not None]
        return [NOT_JUDGED, *(_measured(one) for one in tested)]
    rows = _rows(results, run)
    if not rows:
        return [inert(results.why_no_comparison or "This condition has not been compared with base.")]
    protocol = (
        f"Scored under {inert(results.judged.protocol)} by {inert(results.judged.judge)}. "
        if results.judged
        else ""
    )
    lines = [
        f"{protocol}Net win rate against base on the same prompts, with 95 % intervals by clusters of prompts, "
        f"{results.seeds.scope}.",
        "",
        "| dimension | better | net win rate | 95 % interval | Holm p | mean difference | verdict |",
        "|---|---|---:|---|---:|---:|---|",
    ]
    return lines + [
        f"| {inert(one.dimension)} | {one.better or 'neither'} | {signed(one.net_win_rate)} | "
        f"{interval(one.low, one.high)} | {p_value(one.p_holm)} | {signed(one.mean_difference)} | {_verdict(one)} |"
        for one in rows
    ]


def _verdict(one: Contrast) -> str:
    """By the interval; where correction takes it away, that is said."""
    taken_away = one.family is not None and one.verdict != "cannot tell" and not one.sure
    return f"{one.verdict}, uncorrected" if taken_away else one.verdict


def _measured(one: Contrast) -> str:
    """What was tested without a judge."""
    return (
        f"\n{inert(one.dimension)} against the base's, as a net win rate: {signed(one.net_win_rate)} "
        f"{interval(one.low, one.high)}, Holm p {p_value(one.p_holm)}."
    )


def _rows(results: Results, run: RunResult) -> Sequence[Contrast]:
    """Of the condition, all seeds stacked, under the protocol that decides; the objective first."""
    measures = [one for one in results.measures if one.key[:2] == results.judged]
    meant = {one.key for one in objective_measures(measures, results.objective)}
    rows = [
        one
        for one in results.comparisons
        if one.condition == run.condition and one.seed is None and one.key[:2] == results.judged
    ]
    return sorted(rows, key=lambda one: one.key not in meant)
