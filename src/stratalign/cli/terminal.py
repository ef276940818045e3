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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from stratalign.records import Progress as Report
from stratalign.records import silent

WIDTH = 100
"""Columns of running text, and of tables that no terminal shows."""

EVERY = 60.0
"""Seconds after which a log hears of a stage that goes on."""

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=WIDTH)


def say(text: str) -> None:
    """One line of plain text; nothing in it is read as markup."""
    console.print(text, markup=False, soft_wrap=True)


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
    """Progress bars on a terminal; elsewhere a line at the end of each stage, and one after every `EVERY` seconds."""
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
        said = time.monotonic()

        def tell(what: str, done: int, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            if done == total or now - said >= EVERY:
                said = now
                say(f"{what}: {done} of {total}")

        yield tell
