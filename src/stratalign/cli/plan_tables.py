"""What `stratalign plan` prints: what would be trained, on what, at what cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from stratalign.blocks import describe_layers, diagnose_command
from stratalign.cli.tabling import table
from stratalign.cli.terminal import console, paragraph, say
from stratalign.reporting.numbers import by_kind


def plan(planned: Mapping[str, Any]) -> None:
    """What would be trained."""
    model, data = planned["model"], planned["preferences"]
    say(
        f"{model['name']}: {model['model_type']}, {model['layers']} layers, {model['parameters']:,} parameters"
    )
    blocks = ", ".join(f"{name} {layers[0]}-{layers[-1]}" for name, layers in planned["partition"].items())
    by, out = planned["partition_by"], planned["out"]
    say(
        f"Blocks: {blocks}"
        if by is None
        else f"Blocks: by record {by}, which is not there yet: {diagnose_command(by, out)}"
    )
    parts = ", ".join(f"{name} {part['rows']}" for name, part in data["parts"].items())
    rows = data["rows"]
    say(f"Rows: {rows['read']} read, {rows['kept']} usable ({parts}); {data['clusters']} clusters")
    forms = ", ".join(data["forms"])
    if forms not in ("", "pairs", "pairs of whole conversations"):
        paragraph(f"Form of the rows: {forms}")
    for reason, found in data["bad"].items():
        paragraph(f"  left out, {reason}: {_where(found)}", indent="    ")
    for note, found in data["notes"].items():
        paragraph(f"  {note}: {_where(found)}", indent="    ")
    if data["columns_not_read"]:
        paragraph(f"Columns not read: {', '.join(data['columns_not_read'])}")
    paragraph(f"Template: {_template(data)}")
    for line in _habits(data["template"]):
        paragraph(f"  {line}")
    if not model["proven"]:
        say(
            f"{model['model_type']} is not among the tested families: it is checked when loaded, its rows are padded."
        )
    trained = [run["targets"] for run in planned["runs"].values() if run["modules"]]
    as_written = {frozenset(names): ", ".join(names) for names in reversed(trained)}
    each = Counter(as_written[frozenset(names)] for names in trained)
    for targets, runs in each.items():
        several = f" ({runs} run{'s' if runs > 1 else ''})" if len(each) > 1 else ""
        say(f"Adapters: on {targets}{several}")
    ends = [f"{text!r} ({why})" for text, why in planned["answers_end_at"].items()]
    paragraph(f"Answers end at {', '.join(ends)}")
    if planned["tokenizer_of_adapter"]:
        paragraph(
            f"Tokenizer and chat template are those of the SFT adapter {model['adapter']}, which differ from the base's"
        )
    if model["positions"] is not None and model["positions"] < planned["max_length"]:
        paragraph(
            f"Rows may have {model['positions']:,} tokens: the model has no more positions (training.max_length is "
            f"{planned['max_length']:,})"
        )
    execution = planned["execution"]
    say(f"Steps: {planned['steps']} on {execution['device']} in {execution['precision']}")
    if planned["passes"] > 1:
        paragraph(
            f"Passes: {planned['passes']}, one for each seed, since the seeds vary the order of the pairs. Base and "
            "prompts are computed once in each pass, not once for all runs."
        )
    if execution["pack_tokens"]:
        say(
            f"Memory: up to {execution['pack_tokens']:,} tokens in a pass, activations "
            f"{'recomputed' if execution['checkpointing'] else 'kept'} ({execution['bytes_per_token']:,} bytes a token)"
        )
    shown = table("run", "layers", "modules", "rank", "parameters", "arithmetic", "labels")
    for name, run in planned["runs"].items():
        layers = describe_layers(run["layers"])
        rank, parameters = run["rank"], run["parameters"]
        shown.add_row(
            name,
            layers,
            str(run["modules"]),
            "tuned" if rank is None else str(rank),
            "tuned" if parameters is None else f"{parameters:,}",
            f"{100 * run['of_full']['arithmetic']:.0f} %",
            run["labels"],
        )
    console.print(shown)
    say("Arithmetic: the operations inside layers of one training step, as a share of full's.")
    single = {run["condition"]: run for run in planned["runs"].values() if run["by_kind"]}
    for condition, run in single.items():
        paragraph(f"{condition}: {run['modules']} modules: {by_kind(run['by_kind'])}")
    _candidates(planned)
    for names in planned["alike"]:
        say(f"Trained {len(names)} times, with the same modules and settings: {', '.join(names)}.")
    for name, selection in planned["unresolved"].items():
        record = selection["by"] if selection.get("by") else by
        say(f"{name}: by record {record}, which is not there yet: {diagnose_command(record, out)}")
    if "base" not in {run["condition"] for run in planned["runs"].values()}:
        say("Without a condition named base nothing will be compared.")
    _shown(planned["shown"])
    for warning in planned["warnings"]:
        paragraph(f"Note: {warning}")
    say(f"Folder: {planned['out']}")


def _template(data: Mapping[str, Any]) -> str:
    """Which chat template the rows get, and why."""
    template, kinds = data["template"], data["kinds"]
    if kinds.keys() <= {"messages"}:
        return "the tokenizer's chat template, as always for rows of messages"
    become = {
        "text": "plain-text rows become one user and one assistant turn",
        "transcript": "the turns of Human/Assistant transcripts become messages",
    }
    if template["used"] == "chat":
        how = ", ".join(words for kind, words in become.items() if kind in kinds)
        return f"the tokenizer's chat template ({how}; preferences.template: raw turns it off)"
    if not template["available"]:
        return "none, rows are used as they are written (the tokenizer has no chat template)"
    if template["rendered_by"]:
        return (
            f"none, rows are used as they are written (prompts already contain {template['rendered_by']} of the "
            "tokenizer's chat template; preferences.template: chat renders them all the same)"
        )
    messages = ", rows of messages are rendered" if "messages" in kinds else ""
    return f"none, texts are used as they are written (preferences.template: raw){messages}"


def _shown(found: Mapping[str, Any]) -> None:
    """Rows and prompts as the model reads them, between marks that say where labels begin and end."""
    for row in found["rows"]:
        say(
            f"Line {row['line']}, as the model reads it. Labels, which enter the loss, stand between [[ and ]]."
        )
        say(row["shared"])
        for name in ("chosen", "rejected"):
            if name in row:
                say(f"  {name} ({row[name]['tokens']} labels):")
                say(f"{row[name]['before']}[[{row[name]['labels']}]]")
    for prompt in found["prompts"]:
        say(f"Generation for {prompt['row']} starts from:")
        say(prompt["prompt"])


def _where(found: Mapping[str, Any]) -> str:
    """'12 rows (lines 1, 2, 3, 4, 5, ...)'."""
    lines, count = found["first_lines"][:5], found["count"]
    shown = ", ".join(map(str, lines)) + (", ..." if count > len(lines) else "")
    return f"{count} row{'s' * (count > 1)} (line{'s' * (count > 1)} {shown})"


def _habits(template: Mapping[str, Any]) -> Iterator[str]:
    """What the chat template does that a reader of the rows would not expect."""
    if template["date"]:
        yield (
            f"It writes a date: {template['date']} throughout this study (the day on which it began, or "
            "preferences.date)."
        )
    if template["begun"]:
        yield f"{template['begun']} prompts begin with {template['begin_token']}; it is not added to them again."
    habits = template["habits"]
    if habits is None:
        return
    asked, trained = (json.dumps(habits[key], ensure_ascii=False) for key in ("asked", "trained"))
    if habits["added"]:
        yield (
            "It does not open the assistant's turn where generation starts (it ignores add_generation_prompt): "
            f"stratalign adds {json.dumps(habits['added'], ensure_ascii=False)}."
        )
    elif habits["asked"] and habits["trained"]:
        yield f"Generation starts after {asked}, but trained answers follow {trained}. {_ARGUMENTS}"
    elif habits["asked"]:
        yield f"Generation starts after {asked}, which trained answers do not follow. {_ARGUMENTS}"
    elif habits["trained"]:
        yield (
            f"Trained answers begin with {trained}, which is part of the loss and not of the prompt that generation "
            f"starts from. {_ARGUMENTS}"
        )


_ARGUMENTS = (
    "An argument of the template may make them alike, such as preferences.chat_template_kwargs: "
    "{enable_thinking: false}."
)


def _candidates(planned: Mapping[str, Any]) -> None:
    """What is tried for tuned conditions, and what was chosen."""
    if not planned["candidates"]:
        return
    rows = planned["preferences"]["parts"]["validation"]["rows"]
    say(
        f"Tuned on {rows} validation rows: {len(planned['candidates'])} more runs, which are trained and measured, and "
        "neither answer nor are judged"
    )
    conditions = {run["condition"]: run["tuned"] for run in planned["runs"].values() if "tuned" in run}
    for condition, about in conditions.items():
        mine = [one for one in planned["candidates"].values() if one["condition"] == condition]
        tried = {
            key: list(dict.fromkeys(_value(one[key]) for one in mine))
            for key in ("learning_rate", "rank")
            if key in mine[0]
        }
        values = "; ".join(f"{key} {', '.join(found)}" for key, found in tried.items() if len(found) > 1)
        chosen = f"chosen {about['chosen']}" if about["chosen"] else "not chosen yet"
        say(f"  {condition}, by {about['by']}: {values or 'one value'}; {chosen}")


def _value(value: object) -> str:
    """A rate or rank, or the rates of blocks."""
    if isinstance(value, Mapping):
        return " + ".join(f"{block} {rate:g}" for block, rate in value.items())
    return f"{value:g}"
