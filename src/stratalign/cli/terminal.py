"""What is written to the terminal and how wide: lines, paragraphs, progress, JSON. Knows nothing of what is said."""

from __future__ import annotations

import json
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from stratalign.errors import visible
from stratalign.records import Progress as Report
from stratalign.records import duration, silent

WIDTH = 100
"""Columns of running text, and of tables that no terminal shows."""

EVERY = 60.0
"""Seconds after which a log hears of a stage that goes on."""

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=WIDTH)


def say(text: str) -> None:
    """Plain text; nothing in it is read as markup, and control characters are shown."""
    console.print(visible(text), markup=False, soft_wrap=True)


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


def json_out(value: object) -> None:
    """JSON alone, for programs."""
    text_out(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def text_out(text: str) -> None:
    """Text that goes into a file as it is."""
    sys.stdout.write(text)


@contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """Progress bars on a terminal; elsewhere a line at the end of each stage, and one after every `EVERY` seconds, with
    speed and time left."""
    if quiet:
        yield silent
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(),
            TextColumn("{task.fields[counted]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            tasks: dict[str, TaskID] = {}

            def show(what: str, done: float, total: int) -> None:
                if not total:
                    bars.console.print(visible(what), markup=False, soft_wrap=True)
                    return
                stage = _stage(what)
                if stage not in tasks:
                    tasks[stage] = bars.add_task(escape(visible(stage)), total=total, counted="")
                counted = _counted(done, total)
                bars.update(
                    tasks[stage],
                    description=escape(visible(what)),
                    completed=done,
                    total=total,
                    counted=counted,
                )

            yield show
    else:
        said = time.monotonic()
        paces: dict[str, _Pace] = {}

        def tell(what: str, done: float, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            if not total:
                say(what)
                return
            pace = paces.get(_stage(what))
            if pace is None or done < pace.done or total != pace.total:  # begun, or begun again
                pace = paces[_stage(what)] = _Pace(now, done, total)
            pace.done = done
            if done == total or now - said >= EVERY:
                said = now
                between = ", " if ": " in what else ": "
                say(f"{what}{between}{', '.join([_counted(done, total), *pace.parts(now)])}")

        yield tell


def _stage(what: str) -> str:
    """The name of a stage, without how it goes."""
    return what.partition(": ")[0]


def _counted(done: float, total: int) -> str:
    """How many are done; where begun ones count in part, the share."""
    return f"{done:,} of {total:,}" if isinstance(done, int) else f"{100 * done / total:.0f} %"


class _Pace:
    """How fast a stage goes, since it was first heard of."""

    def __init__(self, now: float, done: float, total: int) -> None:
        self.since, self.first = now, done
        self.done, self.total = done, total

    def parts(self, now: float) -> list[str]:
        """Speed and, before the end, time left; nothing of a single thing or before anything is seen to move."""
        passed, moved = now - self.since, self.done - self.first
        if passed <= 0 or moved <= 0 or self.total == 1:
            return []
        rate = moved / passed
        size, unit = next(((s, u) for s, u in ((1, "s"), (60, "min")) if rate * s >= 1), (3600, "h"))
        left = (self.total - self.done) / rate
        return [f"{rate * size:.3g}/{unit}", *([f"{duration(left)} left"] if left > 0 else [])]
