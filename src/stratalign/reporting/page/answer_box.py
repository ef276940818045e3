"""The report's first box, ready to be laid out: the recommendation, with what differs from run to run. Pure.

Text stays raw here, whoever wrote it: escaping is the template's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from stratalign.reporting.answer.commands import located
from stratalign.reporting.answer.recommendation import Recommendation, rate_words
from stratalign.reporting.answer.recommendation import Size as Gain
from stratalign.reporting.numbers import NOTHING, interval, listed, plain, seconds, signed, size, spans
from stratalign.reporting.signatures import Signature

TITLES = {
    "train": "Recommendation",
    "no judge": "No verdict",
    "cannot tell": "Cannot tell",
    "nothing": "Nothing to recommend",
    "controls fail": "Do not train on this evidence",
    "unfinished": "Unfinished",
}


class BoxRow(NamedTuple):
    name: str
    value: str


@dataclass(frozen=True)
class AnswerBox:
    """`kind` is a word for the style sheet; `commands`, and those of `signatures`, are ready to be typed."""

    kind: str
    title: str
    recommendation: Recommendation
    rows: tuple[BoxRow, ...]
    alternatives: tuple[BoxRow, ...]
    commands: tuple[str, ...]
    signatures: tuple[Signature, ...]


def answer_box(
    found: Recommendation, seen: Sequence[Signature], timings: Mapping[str, Any], path: str
) -> AnswerBox:
    """The box of one study, whose folder is `path`; `timings` is its timings.json, `seen` what went wrong."""
    return AnswerBox(
        kind=found.verdict.replace(" ", "-"),
        title=TITLES[found.verdict],
        recommendation=found,
        rows=tuple(_rows(found, timings)),
        alternatives=tuple(
            BoxRow(
                one.condition,
                f"layers {spans(one.layers)}, {plain(one.parameters)} parameters, "
                f"{listed([_gain(gain) for gain in one.gains])}: {one.words}",
            )
            for one in found.alternatives
        ),
        commands=tuple(located(command, path) for command in found.next),
        signatures=tuple(
            replace(one, check=located(one.check, path), next=located(one.next, path)) for one in seen
        ),
    )


def _rows(found: Recommendation, timings: Mapping[str, Any]) -> list[BoxRow]:
    rows = []
    if found.train is not None:
        train = found.train
        rate = rate_words(train.learning_rate)
        settings = f"learning rate {rate}, loss {train.loss or NOTHING}, β {_short(train.beta)}"
        settings += f", {plain(train.steps)} steps"
        settings += f" in {train.phases} phases" if train.phases > 1 else ""
        rows = [
            BoxRow(
                "Train",
                f"{train.condition}: layers {spans(train.layers)}; "
                f"{train.modules} modules ({', '.join(train.targets)}); "
                f"rank {plain(train.rank)}, alpha {_short(train.alpha)}",
            ),
            BoxRow("With", settings),
            BoxRow("Gain", "; ".join(_gain(gain) + _difference(gain) for gain in found.gain)),
        ]
    if found.tax is not None:
        rows.append(BoxRow("Tax", found.tax.words))
    if found.train is not None:
        rows.append(BoxRow("Cost", _cost(found, timings)))
    if found.kl_to_base:
        drift = [
            f"{plain(one.mean, 2)} ± {plain(one.standard_error, 2)}"
            + (f" ({run})" if len(found.kl_to_base) > 1 else "")
            for run, one in found.kl_to_base.items()
        ]
        rows.append(BoxRow("KL to base", f"{', '.join(drift)} nats an answer (± standard error)"))
    if found.adapters:
        rows.append(BoxRow("Adapter", ", ".join(found.adapters)))
    asked = found.reach.questions
    if asked:
        pilot = "This is a pilot: with more training pairs effects may grow. " if found.reach.pilot else ""
        rows.append(BoxRow("Size of study", pilot + " ".join(one.words for one in asked)))
    return rows


def _gain(one: Gain) -> str:
    lower = ", lower is better" if one.better == "lower" else ""
    rate = f"{signed(one.net_win_rate, 2)} {interval(one.low, one.high, 2)}"
    return f"net win rate {rate} on {one.dimension}{lower}"


def _difference(one: Gain) -> str:
    if one.mean_difference is None:
        return ""
    bounds = interval(one.difference_low, one.difference_high)
    return f", mean difference {signed(one.mean_difference)} {bounds} {one.unit}".rstrip()


def _cost(found: Recommendation, timings: Mapping[str, Any]) -> str:
    """Parameters, bytes and seconds; the seconds are this machine's, so recommendation.json has none."""
    share = f" ({100 * found.share_of_model:.2g} % of the model)" if found.share_of_model else ""
    parts = [f"{plain(found.parameters)} trained parameters{share}"]
    if found.adapter_bytes:
        parts.append(f"adapter of {size(found.adapter_bytes)}")
    timed = [
        (timings.get("runs") or {}).get(adapter.removeprefix("adapters/")) or {} for adapter in found.adapters
    ]
    own = [one["own_seconds"] for one in timed if one.get("own_seconds") is not None]
    alone = [
        one["alone_estimated_seconds"] for one in timed if one.get("alone_estimated_seconds") is not None
    ]
    if own:
        parts.append(f"{seconds(sum(own))} of its own training here")
    if alone:
        parts.append(f"about {seconds(sum(alone))} if trained alone (estimated)")
    return "; ".join(parts)


def _short(value: float | None) -> str:
    return NOTHING if value is None else f"{value:g}"
