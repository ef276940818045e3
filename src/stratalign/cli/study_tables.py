"""What a judged study says on the terminal: the answer, contrasts with base, selectors, profile, what went wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stratalign.blocks import describe_layers
from stratalign.cli.tabling import interval, number, table
from stratalign.cli.terminal import console, paragraph, say
from stratalign.reporting.answer.commands import located
from stratalign.reporting.findings.roles import ASIDE_KINDS
from stratalign.reporting.page.tuned import tuned_in_words

ACROSS = 8
"""With more dimensions than this beside the objective, each has a line and each condition a column."""


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
    together = _told_together(found)
    rows = [
        row
        for row in found["comparisons"]
        if row["better"] is not None
        and row["condition"] not in together
        and row["seed"] is None
        and (row["judge"], row["protocol"]) == (judged.get("judge"), judged.get("protocol"))
    ]
    tied = [row for row in rows if row["n"] and row["wins"] == row["losses"] == 0]
    shown = [row for row in rows if row not in tied]
    decided = {one["dimension"] for one in found["conclusions"]["winner"]}
    objective = decided or {row["dimension"] for row in rows}
    if found.get("took_hold"):
        _took_hold(found, together)
    if shown:
        say(
            f"Against base, judged by {judged['protocol']}, paired by prompt, clustered, {found['seeds']['scope']}:"
        )
        _intervals([row for row in shown if row["dimension"] in objective])
        _elsewhere([row for row in shown if row["dimension"] not in objective])
    if together:
        say(f"{len(together)} more (random draws, windows, shifted blocks) are told together below.")
    for dimension in dict.fromkeys(row["dimension"] for row in tied):
        names = [row["condition"] for row in tied if row["dimension"] == dimension]
        paragraph(f"{dimension}: every prompt ties for {', '.join(names)}")
    conclusions(found)
    for one in found.get("judge_replies", ()):
        if one["as_asked"] and any(named["model"] != one["asked"] for named in one["answered"]):
            paragraph(f"Judge: {one['words']}")
    for contest in found.get("selectors", ()):
        for row in contest["rows"]:
            paragraph(f"Selector: {row['words']}")
    if found.get("profile"):
        _profile(found["profile"])
    for name, one in (found.get("tuning") or {}).get("conditions", {}).items():
        paragraph(f"Tuned on validation: {tuned_in_words(name, one)}")


def _took_hold(found: Mapping[str, Any], together: set[str]) -> None:
    """Without a judge: the tests of held-out rows against base, and how far the answers are from base's."""
    what, scope = found["took_hold"]["what"], found["seeds"]["scope"]
    say(f"No verdict; {what} against base, paired by row, clustered, {scope}:")
    shown = table(
        "condition", "measure", "net win rate", "95 % interval", "Holm p", "accuracy", "KL", "same answers"
    )
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for run in found["runs"]:
        runs.setdefault(run["condition"], []).append(run)
    for row in found["comparisons"]:
        if row["family"] is None or row["dimension"] not in found["took_hold"]["measures"]:
            continue
        if row["condition"] in together:
            continue
        own = runs.get(row["condition"], [])
        shown.add_row(
            row["condition"],
            row["dimension"],
            _rate(row),
            interval(row, "{:+.2f}"),
            _p_value(row),
            _mean([(run["held_out_accuracy"] or {}).get("mean") for run in own], "{:.2f}"),
            _mean([(run["kl_to_base"] or {}).get("mean") for run in own], "{:.2f}"),
            _mean([run["same_as_base"] for run in own], "{:.1%}"),
        )
    console.print(shown)
    say("accuracy: held-out pairs ranked right, not tested; KL: nats per answer; same: equal to base's")


def _mean(values: Sequence[float | None], form: str) -> str:
    """The mean over a condition's runs, as far as it is known."""
    known = [value for value in values if value is not None]
    return number(sum(known) / len(known), form) if known else "-"


def _told_together(found: Mapping[str, Any]) -> set[str]:
    """Conditions without lines of their own: several draws of one kind, and what belongs to the profile."""
    drawn = {name for one in found.get("against_draws", ()) for name in one["draws"]}
    return drawn | {one["condition"] for one in found.get("roles", ()) if one["kind"] in ASIDE_KINDS}


def _intervals(rows: Sequence[Mapping[str, Any]]) -> None:
    """One line for each contrast."""
    shown = table("condition", "dimension", "net win rate", "95 % interval", "Holm p", "verdict")
    for row in rows:
        low, high = row["low"], row["high"]
        bounds = "undefined" if low is None or high is None else f"[{low:+.2f}, {high:+.2f}]"
        shown.add_row(row["condition"], row["dimension"], _rate(row), bounds, _p_value(row), _verdict(row))
    console.print(shown)


def _p_value(row: Mapping[str, Any]) -> str:
    found = "undefined" if row["p_holm"] is None else f"{row['p_holm']:.3f}"
    return "<0.001" if found == "0.000" else found


def _verdict(row: Mapping[str, Any]) -> str:
    """The uncorrected interval's verdict, which says so where it does not survive Holm's correction."""
    return (
        row["verdict"] if row["verdict"] == "cannot tell" or _sure(row) else f"{row['verdict']}, uncorrected"
    )


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
    if len(dimensions) <= ACROSS:
        shown = table("elsewhere", *dimensions.values())
        for condition in conditions:
            shown.add_row(condition, *(cells.get((condition, name), "") for name in dimensions))
    else:  # too many to stand beside each other
        shown = table("elsewhere", *conditions)
        for name, said in dimensions.items():
            shown.add_row(said, *(cells.get((condition, name), "") for condition in conditions))
    console.print(shown)
    say("* survives Holm's correction; ~ only the uncorrected interval excludes 0")


def _profile(found: Mapping[str, Any]) -> None:
    """Every window's share of full's gain, beside the draws and what it costs; then what can be told of them."""
    places = {place["condition"]: place for place in found["places"]}
    for shares in found["shares"]:
        if shares["why_none"] is not None:
            continue
        say(
            f"Profile: the share of full's gain on {shares['dimension']} that each window of layers recovers:"
        )
        shown = table(
            "window", "layers", "share", "95 % interval", "beside the draws", "worst loss elsewhere"
        )
        for row in shares["conditions"]:
            place = places[row["condition"]]
            shown.add_row(
                row["condition"],
                describe_layers(place["layers"]),
                number(row["share"], "{:.2f}"),
                interval(row, "{:.2f}"),
                row["standing"] or "-",
                _worst(place),
            )
        console.print(shown)
    for words in found["words"]:
        paragraph(f"Profile: {words}")


def _worst(place: Mapping[str, Any]) -> str:
    """'conciseness -0.08 [-0.19, +0.00]'."""
    if place["worst"] is None:
        return "-"
    bounds = interval({"low": place["worst_low"], "high": place["worst_high"]}, "{:+.2f}")
    return f"{place['worst_dimension'].replace('_', ' ')} {place['worst']:+.2f} {bounds}"


def _rate(row: Mapping[str, Any]) -> str:
    return "undefined" if row["net_win_rate"] is None else f"{row['net_win_rate']:+.2f}"


def _marked(row: Mapping[str, Any]) -> str:
    return _rate(row) + ("*" if _sure(row) else " " if row["verdict"] == "cannot tell" else "~")


def _sure(row: Mapping[str, Any]) -> bool:
    return row["p_holm"] is not None and row["p_holm"] <= 0.05


def conclusions(found: Mapping[str, Any]) -> None:
    """The winner, the tax and the controls, a paragraph each."""
    said = found["conclusions"]
    if said["note"] and not found.get("took_hold"):  # whose own line says so
        paragraph(said["note"])
    for one in said["winner"]:
        paragraph(f"Winner: {one['words']}")
    for words in found["tax_in_words"]:
        paragraph(f"Tax: {words}")
    for words in found["controls_in_words"]:
        paragraph(f"Control: {words}")
