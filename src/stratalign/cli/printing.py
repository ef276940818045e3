"""What the command line prints: short tables, progress bars, JSON. Everything comes from records and functions."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from stratalign.blocks import diagnose_command
from stratalign.records import Progress as Report
from stratalign.records import silent
from stratalign.reporting.commands import located
from stratalign.reporting.tuned import tuned_in_words

if TYPE_CHECKING:
    from stratalign.pipeline import PairsMade
    from stratalign.showcase import Showcase, Shown

WIDTH = 100
"""Columns of running text, and of tables that no terminal shows."""

ACROSS = 8
"""With more dimensions than this beside the objective, each has a line and each condition a column."""

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=WIDTH)


def say(text: str) -> None:
    """One line of plain text; nothing in it is read as markup."""
    console.print(text, markup=False, soft_wrap=True)


def json_out(value: object) -> None:
    """JSON alone, for programs."""
    text_out(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def text_out(text: str) -> None:
    """Text that goes into a file as it is."""
    sys.stdout.write(text)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """Progress bars on a terminal, one line for each stage elsewhere."""
    if quiet:
        yield silent
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, TaskID] = {}

            def show(what: str, done: int, total: int) -> None:
                stage = what.partition(": ")[0]  # what follows is how it goes, and changes
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total)
                bars.update(tasks[stage], description=what, completed=done, total=total)

            yield show
    else:

        def tell(what: str, done: int, total: int) -> None:
            if done == total:
                say(f"{what}: {done} of {total}")

        yield tell


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
    for reason, found in data["bad"].items():
        lines = ", ".join(map(str, found["first_lines"][:5]))
        say(f"  left out, {reason}: {found['count']} (line {lines}{', ...' if found['count'] > 5 else ''})")
    if not model["proven"]:
        say(
            f"{model['model_type']} is not among the tested families: it is checked when loaded, its rows are padded."
        )
    trained = [run["targets"] for run in planned["runs"].values() if run["modules"]]
    each = (
        Counter(", ".join(sorted(names)) for names in trained)
        if len(set(map(frozenset, trained))) > 1
        else {}
    )
    for targets, runs in each.items():
        say(f"Adapters: on {targets} ({runs} run{'s' if runs > 1 else ''})")
    if trained and not each:
        say(f"Adapters: on {', '.join(trained[0])}")
    execution = planned["execution"]
    say(f"Steps: {planned['steps']} on {execution['device']} in {execution['precision']}")
    if execution["pack_tokens"]:
        say(
            f"Memory: up to {execution['pack_tokens']:,} tokens in a pass, activations "
            f"{'recomputed' if execution['checkpointing'] else 'kept'} ({execution['bytes_per_token']:,} bytes a token)"
        )
    table = Table(box=None, pad_edge=False)
    for name in ("run", "layers", "modules", "rank", "parameters", "arithmetic", "labels"):
        table.add_column(name, justify="left" if name in ("run", "layers", "labels") else "right")
    for name, run in planned["runs"].items():
        layers = _ranges(run["layers"])
        rank, parameters = run["rank"], run["parameters"]
        table.add_row(
            name,
            layers,
            str(run["modules"]),
            "tuned" if rank is None else str(rank),
            "tuned" if parameters is None else f"{parameters:,}",
            f"{100 * run['of_full']['arithmetic']:.0f} %",
            run["labels"],
        )
    console.print(table)
    say("Arithmetic: the operations inside layers of one training step, as a share of full's.")
    _candidates(planned)
    for name, selection in planned["unresolved"].items():
        record = selection["by"] if selection.get("by") else by
        say(f"{name}: by record {record}, which is not there yet: {diagnose_command(record, out)}")
    if "base" not in {run["condition"] for run in planned["runs"].values()}:
        say("Without a condition named base nothing will be compared.")
    say(f"Folder: {planned['out']}")


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


def proofs(manifest: Mapping[str, Any], path: Path) -> None:
    """Which runs are proven, and how."""
    for name, run in manifest["runs"].items():
        if "candidate_of" in run:
            continue
        proof = run.get("proof")
        if proof is None:
            say(f"{name}: not trained yet")
            continue
        say(f"{name}: {'proven' if proof['proven'] else 'NOT proven'}")
        for check, found in proof["checks"].items():
            say(f"  {'yes' if found['holds'] else 'NO '}  {check}: {found['detail']}")
    say(f"Manifest: {path}")


def recommendation(found: Mapping[str, Any], study: Path, name: str = "") -> None:
    """The answer in a line, why, and what to type next; `name` where it is one of several studies."""
    paragraph(f"{name}: {found['line']}" if name else found["line"])
    for sentence in found["words"]:
        paragraph(f"  {sentence}", "    ")
    for command in found["next"]:
        say(f"  Next: {located(command, str(study))}")


def signatures(found: Sequence[Mapping[str, Any]], study: Path) -> None:
    """What went wrong as it is known to go wrong: what was seen, what it may come from, and what to do."""
    for one in found:
        paragraph(f"Seen: {one['title']}. {one['seen']}")
        paragraph(f"  Cause: {one['cause']}", "    ")
        paragraph(f"  Check: {located(one['check'], str(study))}", "    ")
        say(f"  Next: {located(one['next'], str(study))}")


def results(found: Mapping[str, Any]) -> None:
    """Net win rates of the judged protocol against the base, the objective's with intervals; then what they say."""
    judged = found["judged"] or {}
    rows = [
        row
        for row in found["comparisons"]
        if row["better"] is not None
        and row["seed"] is None
        and (row["judge"], row["protocol"]) == (judged.get("judge"), judged.get("protocol"))
    ]
    tied = [row for row in rows if row["n"] and row["wins"] == row["losses"] == 0]
    shown = [row for row in rows if row not in tied]
    objective = {name.casefold() for name in found["study"]["objective"]}
    if not objective & {row["dimension"].casefold() for row in rows}:
        objective = {row["dimension"].casefold() for row in rows}
    if shown:
        say(f"Against base, judged by {judged['protocol']}, paired by prompt, clustered:")
        _intervals([row for row in shown if row["dimension"].casefold() in objective])
        _elsewhere([row for row in shown if row["dimension"].casefold() not in objective])
    for dimension in dict.fromkeys(row["dimension"] for row in tied):
        names = [row["condition"] for row in tied if row["dimension"] == dimension]
        paragraph(f"{dimension}: every prompt ties for {', '.join(names)}")
    conclusions(found)
    for words in (found.get("profile") or {}).get("words", ()):
        paragraph(f"Profile: {words}")
    for name, one in (found.get("tuning") or {}).get("conditions", {}).items():
        paragraph(f"Tuned on validation: {tuned_in_words(name, one)}")


def _intervals(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line for each contrast."""
    table = Table(box=None, pad_edge=False)
    for name in ("condition", "dimension", "net win rate", "95 % interval", "Holm p", "verdict"):
        table.add_column(name, justify="left" if name in ("condition", "dimension", "verdict") else "right")
    for row in rows:
        low, high = row["low"], row["high"]
        interval = "undefined" if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]"
        p_value = "undefined" if row["p_holm"] is None else f"{row['p_holm']:.3f}"
        p_value = "<0.001" if p_value == "0.000" else p_value
        table.add_row(row["condition"], row["dimension"], _rate(row), interval, p_value, row["verdict"])
    console.print(table)


def _elsewhere(rows: Sequence[Mapping[str, Any]]) -> None:
    """All other dimensions, one line for each condition: net win rates, marked by how sure they are."""
    if not rows:
        return
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    lower = {row["dimension"] for row in rows if row["better"] == "lower"}
    dimensions = {
        name: name.replace("_", " ") + (" (lower is better)" if name in lower else "")
        for name in dict.fromkeys(row["dimension"] for row in rows)
    }
    cells = {(row["condition"], row["dimension"]): _marked(row) for row in rows}
    table = Table(box=None, pad_edge=False)
    table.add_column("elsewhere")
    if len(dimensions) <= ACROSS:
        for said in dimensions.values():
            table.add_column(said, justify="right")
        for condition in conditions:
            table.add_row(condition, *(cells.get((condition, name), "") for name in dimensions))
    else:  # too many to stand beside each other
        for condition in conditions:
            table.add_column(condition, justify="right")
        for name, said in dimensions.items():
            table.add_row(said, *(cells.get((condition, name), "") for condition in conditions))
    console.print(table)
    say("* survives Holm's correction; ~ only the uncorrected interval excludes 0")


def _rate(row: Mapping[str, Any]) -> str:
    return "undefined" if row["net_win_rate"] is None else f"{row['net_win_rate']:+.2f}"


def _marked(row: Mapping[str, Any]) -> str:
    sure = row["p_holm"] is not None and row["p_holm"] <= 0.05
    return _rate(row) + ("*" if sure else " " if row["verdict"] == "cannot tell" else "~")


def showcase(found: Showcase) -> None:
    """The demo's studies one after the other, and where the report over all of them is."""
    for name, one in found.exhibits.items():
        paragraph(f"{name}: {one.recommendation['line']}")
    for name, one in found.exhibits.items():
        say("")
        say(f"== {name} preferences, meant to move {one.dimension} ==")
        say(f"{len(one.answers)} held-out prompts, drawn at random; base and {one.condition}:")
        answers(one.answers, one.condition, one.dimension)
        results(one.results)
    say("")
    for record in found.calibration:
        paragraph(world(record))
    say(f"Report: {found.page}")


def world(record: Mapping[str, Any]) -> str:
    """What each instrument said in a world in which the truth is known, in one line."""
    instruments = record["instruments"].items()
    told = ", ".join(f"{name} {_pointed(one)}" for name, one in instruments)
    names = [one["named"] for _, one in instruments]
    if record["planted"] is None:
        spoke = sum(named is not None for named in names)
        verdict = (
            "As it should be, none names a layer"
            if not spoke
            else f"{spoke} of {len(names)} wrongly name one"
        )
        return f"Calibration, no layer carries the preference: {told}. {verdict}."
    sure = sum(named == record["planted"] for named in names)
    near = sum(
        one["reading"] != "no signal" and one["largest"] == record["planted"] for _, one in instruments
    )
    return (
        f"Calibration, layer {record['planted']} is known to carry it: {told}. {near} of {len(names)} point at it, "
        f"{sure} for certain."
    )


def _pointed(one: Mapping[str, Any]) -> str:
    """Names a layer, points at one that is not surely the largest, or sees nothing."""
    if one["named"] is not None:
        return f"names layer {one['named']}"
    return "sees nothing" if one["reading"] == "no signal" else f"points at layer {one['largest']}"


def answers(shown: Sequence[Shown], condition: str, dimension: str) -> None:
    """Answers of the base and of a trained condition to the same prompts, with their scores in one dimension."""
    for one in shown:
        paragraph(f"> {one.prompt}")
        for who, text, score in (
            ("base", one.base, one.base_score),
            (condition, one.trained, one.trained_score),
        ):
            paragraph(f"  {who:<8} {dimension} {score:.2f}  {text or '(empty)'}", "                      ")


def conclusions(found: Mapping[str, Any]) -> None:
    """The winner, the tax and the controls, a paragraph each."""
    said = found["conclusions"]
    if said["note"]:
        paragraph(said["note"])
    for one in said["winner"]:
        paragraph(f"Winner: {one['words']}")
    for words in found["tax_in_words"]:
        paragraph(f"Tax: {words}")
    for one in said["controls"]:
        paragraph(f"Control: {one['words']}")


def paragraph(text: str, indent: str = "  ") -> None:
    """Plain text in lines that fit, later ones set in; an interval stays whole, a true minus becomes a hyphen."""
    whole = re.sub(
        r"\[[^\]]*\]", lambda interval: interval[0].replace(" ", "\0"), text.replace("\u2212", "-")
    )
    lines = textwrap.wrap(
        whole, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for line in lines:
        say(line.replace("\0", " "))


def pairs(made: PairsMade) -> None:
    """How many pairs came of how many answers, and in what chosen and rejected differ."""
    say(
        f"{made.pairs} pairs for {made.target}, from {made.answers} answers to {made.prompts} prompts "
        f"({made.usable} usable: ended, not blank, not said twice)"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("dimension", "chosen", "rejected", "gap"):
        table.add_column(name, justify="left" if name == "dimension" else "right")
    for name, (chosen, rejected) in made.gaps.items():
        role = " (target)" if name == made.target else ""
        table.add_row(f"{name}{role}", f"{chosen:.3f}", f"{rejected:.3f}", f"{chosen - rejected:+.3f}")
    console.print(table)
    say(f"Pairs: {made.file}")


def parity(found: Mapping[str, Any]) -> None:
    """Differences between TRL's training and ours."""
    table = Table(box=None, pad_edge=False)
    keys = ("max_loss_difference", "max_log_ratio_difference", "relative_update_difference", "loss_moved")
    for name in (
        "condition",
        *(key.replace("_", " ") for key in keys),
        "same modules",
        "same tokens",
        "agrees",
    ):
        table.add_column(name, justify="left" if name == "condition" else "right")
    for name, row in found["conditions"].items():
        flags = ["yes" if row[key] else "NO" for key in ("same_modules", "same_tokens", "agrees")]
        table.add_row(name, *(f"{row[key]:.1e}" for key in keys), *flags)
    console.print(table)
    for name, why in found["skipped"].items():
        say(f"{name}: not compared, {why}")
    verdict = "Both trainings agree" if found["agrees"] else "The trainings DIFFER"
    say(f"{verdict} over {found['steps']} steps at learning rate {found['learning_rate']:g}.")


def audit(found: Mapping[str, Any]) -> None:
    """What an adapter touches."""
    by_layer: dict[int | None, list[str]] = {}
    for module in found["modules"]:
        mark = "" if module["trained"] else " (B = 0)"
        by_layer.setdefault(module["layer"], []).append(f"{module['module'].rsplit('.', 1)[-1]}{mark}")
    for layer, names in by_layer.items():
        say(f"layer {'?' if layer is None else layer}: {', '.join(names)}")
    ranks = sorted({module["rank"] for module in found["modules"]})
    say(
        f"{len(found['modules'])} modules in {len(found['layers'])} layers ({_ranges(found['layers'])}), "
        f"rank {', '.join(map(str, ranks))}, {found['parameters']:,} parameters"
    )
    for name in found["other_tensors"]:
        say(f"also holds: {name}")
    for problem in found["problems"]:
        say(f"problem: {problem}")


def power(found: Mapping[str, Any]) -> None:
    """What prompts can see and differences need: one line for each assumption, or for each contrast of a study."""
    percent, alpha = f"{found['power']:.0%}".replace("%", " %"), f"alpha {found['alpha']:g}"
    if found["assumed"]:
        clustered = found["design_effect"] != 1
        say(
            f"Power {percent}, two-sided {alpha}"
            + (f", {found['prompts']:,} prompts" if found["prompts"] else "")
            + (f", variance x {found['design_effect']:.3g} by clusters" if clustered else "")
        )
        _assumed(found)
    if found["observed"]:
        _observed(found["observed"], f"{percent} power")


def _assumed(found: Mapping[str, Any]) -> None:
    """One line for each assumption; columns that nobody asked for are left out."""
    table = Table(box=None, pad_edge=False)
    for name in ("effect", "assumed", "tests"):
        table.add_column(name, justify="right" if name == "tests" else "left")
    wanted = found["effect"] is not None or found["net_win_rate"] is not None
    for name in ["detectable"] * bool(found["prompts"]) + ["looked for", "prompts needed"] * wanted:
        table.add_column(name, justify="right")
    if wanted and found["prompts"]:
        table.add_column("power", justify="right")
    for row in found["assumed"]:
        by_mean = row["effect"] == "mean difference"
        given = f"correlation {row['correlation']:g}" if by_mean else f"ties {row['ties']:g}"
        cells = [row["effect"], given, str(row["tests"])]
        if found["prompts"]:
            cells.append(f"{row['smallest_detectable']:.3f}")
        if wanted:
            size = found["effect"] if by_mean else found["net_win_rate"]
            cells += ["" if size is None else f"{size:g}", _prompts(row["prompts_needed"])]
            if found["prompts"]:
                cells.append("" if row["chance"] is None else f"{row['chance']:.2f}")
        table.add_row(*cells)
    console.print(table)


def _observed(rows: Sequence[Mapping[str, Any]], power: str) -> None:
    """The contrasts on the objective, as net win rates; of all others how much they could see at worst."""
    rates = [row for row in rows if row["effect"] == "net win rate"]
    shown = [row for row in rates if row["objective"]] or rates
    first = shown[0]
    say(
        f"{first['prompts']:,} prompts in {first['clusters']:,} clusters; net win rates, {power}, "
        "at the first step of Holm's correction"
    )
    table = Table(box=None, pad_edge=False)
    names = ("contrast", "dimension", "seen", "ties", "tests", "detectable", "prompts to decide")
    larger = any(row["full"] != row["prompts"] for row in shown)
    for name in (*names, *[f"detectable with {first['full']:,}"] * larger):
        table.add_column(name, justify="left" if name in ("contrast", "dimension") else "right")
    for row in shown:
        smallest, at_full = row["smallest_detectable"], row["detectable_at_full"]
        cells = [
            f"{row['condition']} - {row['against']}",
            row["dimension"],
            f"{row['observed']:+.3f}{'*' if row['sure'] else ' '}",
            f"{row['ties']:.0%}".replace("%", " %"),
            str(row["tests"]),
            "undefined" if smallest is None else f"{smallest:.3f}",
            _prompts(row["prompts_needed"]),
        ]
        table.add_row(*cells, *["undefined" if at_full is None else f"{at_full:.3f}"] * larger)
    console.print(table)
    others = [row["smallest_detectable"] for row in rates if row not in shown]
    worst = max((one for one in others if one is not None), default=None)
    if worst is not None:
        say(
            f"{len(others)} further contrasts could see {worst:.3f} at worst; --json lists them, and mean differences."
        )
    paragraph(
        '* survives Holm\'s correction. "Prompts to decide" takes what was seen for the truth, which a small pilot '
        "rarely hits: for a plan, name the smallest difference that matters (--net-win-rate)."
    )


def _prompts(needed: int | None) -> str:
    return "undefined" if needed is None else f"{needed:,}"


def catalogues(found: Mapping[str, Mapping[str, str]]) -> None:
    """Every name with its meaning."""
    for catalogue, entries in found.items():
        say(f"{catalogue}:")
        for name, about in entries.items():
            say(f"  {name:<20} {about}")


def _ranges(layers: list[int]) -> str:
    from stratalign.blocks import describe_layers

    return describe_layers(layers)
