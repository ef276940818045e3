"""What `stratalign power` prints: what prompts can see, and how many a difference needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stratalign.cli.tabling import table
from stratalign.cli.terminal import console, paragraph, say


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
    wanted = found["effect"] is not None or found["net_win_rate"] is not None
    seen = ["detectable"] * bool(found["prompts"])
    asked = ["looked for", "prompts needed"] * wanted
    shown = table("effect", "assumed", "tests", *seen, *asked, *["power"] * bool(seen and asked))
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
        shown.add_row(*cells)
    console.print(shown)


def _observed(rows: Sequence[Mapping[str, Any]], power: str) -> None:
    """The contrasts on the objective, as net win rates; of all others how much they could see at worst."""
    rates = [row for row in rows if row["effect"] == "net win rate"]
    shown = [row for row in rates if row["objective"]] or rates
    first = shown[0]
    say(
        f"{first['prompts']:,} prompts in {first['clusters']:,} clusters; net win rates, {power}, "
        "at the first step of Holm's correction"
    )
    names = ("contrast", "dimension", "seen", "ties", "tests", "detectable", "prompts to decide")
    larger = any(row["full"] != row["prompts"] for row in shown)
    lines = table(*names, *[f"detectable with {first['full']:,}"] * larger)
    for row in shown:
        smallest, at_full = row["smallest_detectable"], row["detectable_at_full"]
        cells = [
            f"{row['condition']} - {row['against']}",
            row["dimension"],
            f"{row['observed']:+.3f}{'*' if row['sure'] else ' '}",
            f"{row['ties']:.0%}".replace("%", " %"),
            str(row["tests"]),
            _detectable(smallest),
            _prompts(row["prompts_needed"]),
        ]
        lines.add_row(*cells, *[_detectable(at_full)] * larger)
    console.print(lines)
    others = [row["smallest_detectable"] for row in rates if row not in shown]
    worst = max((one for one in others if one is not None), default=None)
    if worst is not None:
        say(
            f"{len(others)} further contrasts could see {_detectable(worst)} at worst; --json lists them, and mean "
            "differences."
        )
    paragraph(
        '* survives Holm\'s correction. "Prompts to decide" takes what was seen for the truth, which a small pilot '
        "rarely hits: for a plan, name the smallest difference that matters (--net-win-rate)."
    )


def _prompts(needed: int | None) -> str:
    return "undefined" if needed is None else f"{needed:,}"


def _detectable(rate: float | None) -> str:
    """No net win rate is above 1: where one would have to be, none is detectable."""
    return "undefined" if rate is None else "none" if rate >= 1 else f"{rate:.3f}"
