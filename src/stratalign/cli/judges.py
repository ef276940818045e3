"""What the command line prints of judges: what they would cost, what they are like, how far they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stratalign.cli.terminal import say
from stratalign.records import JUDGES, StudyFolder, read_record, read_scores
from stratalign.reporting.judge_replies import judge_replies
from stratalign.reporting.numbers import percent

if TYPE_CHECKING:
    from stratalign.judging import Estimate, LabelFiles
    from stratalign.judging.calibrating import Calibration


def judging_estimates(estimates: Mapping[str, Estimate]) -> None:
    """What judging would take, by judge."""
    for name, one in estimates.items():
        measured = f"as {one.measured} replies so far" if one.measured else "at most"
        say(
            f"{name}: {one.rows:,} answers are {one.texts:,} judgements, {one.known:,} of them known; "
            f"{one.calls:,} calls"
        )
        say(f"  tokens: about {one.tokens_in:,} in, {one.tokens_out:,} out ({measured})")
        if one.cost is not None:
            say(f"  cost: about {one.cost:,.2f} {one.currency}, without calls that fail")
        if one.minutes is not None:
            say(f"  time: at least {one.minutes:,.0f} minutes by the limits")


def calibration(found: Calibration) -> None:
    """What a judge did on a sample."""
    say(f"{found.texts} answers, {found.judgements} judgements, {found.tally.calls} calls")
    for name, value in {
        "valid": found.valid,
        "malformed at first": found.malformed,
        "cut at first": found.cut,
        "blocked": found.blocked,
        "failed": found.failed,
        "same score twice": found.agreement,
    }.items():
        say(f"  {name:<20} {percent(value)}")
    if found.difference is not None:
        say(f"  {'mean difference':<20} {found.difference:.3f} points between two judgements of one answer")
    if found.anchor is not None:
        say(
            "  the anchor example, which should have the protocol's anchor everywhere: "
            + (", ".join(f"{name} {score}" for name, score in found.anchor.items()) or "no scores")
        )
    elif found.anchor_state is not None:
        say(f"  the anchor example   {found.anchor_state}")
    if found.tokens_in is not None and found.tokens_out is not None:
        say(f"  tokens a reply       {found.tokens_in:,.0f} in, {found.tokens_out:,.0f} out")
    if found.cost_per_1000 is not None:
        say(f"  cost of 1,000        {found.cost_per_1000:,.2f} {found.currency}")


def label_files(files: LabelFiles) -> None:
    """Where the table for people lies, and what comes next."""
    say(f"Table to fill in: {files.table}")
    say(f"What the columns mean: {files.guide}")
    say(f"Which run wrote what (not for those who score): {files.key}")
    say(f"Then set judge.labels to [{{table: {files.table}, key: {files.key}}}] and judge again.")


def states(folder: StudyFolder) -> None:
    """How many answers each language model has judged, what became of the rest, and which models replied; nothing
    where none judges."""
    entries = read_record(folder.judges, JUDGES)["judges"]
    asked = {one["judge"]: len(one["dimensions"]) for one in entries if one.get("kind") == "judge"}
    counted = Counter(
        (score.judge, score.state) for score in read_scores(folder.scores) if score.judge in asked
    )
    replies = {one.asked: one.words for one in judge_replies(entries)}
    for name, dimensions in asked.items():
        mine = {state: count // dimensions for (judge, state), count in counted.items() if judge == name}
        say(f"{name}: " + ", ".join(f"{count:,} {state}" for state, count in sorted(mine.items())))
        if name in replies:
            say(f"  {replies[name]}")
