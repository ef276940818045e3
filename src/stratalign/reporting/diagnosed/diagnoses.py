"""What the page shows of a study's diagnoses: bars for gradients by block, a heatmap for significance, and sentences.

Reads records of diagnoses as they are on disk and computes nothing anew. Knows nothing of models or pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stratalign.records import DIAGNOSIS
from stratalign.reporting.diagnosed import state_views, weight_views
from stratalign.reporting.diagnosed.diagnosis_picture import Picture
from stratalign.reporting.diagnosed.profile_record import profile_picture
from stratalign.reporting.figures.bars import Bar, Group, grouped_bars
from stratalign.reporting.figures.heatmap import HeatColumn, HeatRow, heatmap
from stratalign.reporting.figures.svg import Drawing
from stratalign.reporting.numbers import percent, plain

Record = Mapping[str, Any]

TITLES = {
    "gradients": "Where the gradients lie",
    "significance": "Which modules' updates the loss needs",
    **weight_views.TITLES,
    **state_views.TITLES,
    "profile": "What training each window of layers alone suffices for",
}
NOTES = {
    "gradients": "Shares of the squared norm of the mean gradient by the effective weights, with 95 % intervals over "
    "chunks of training pairs. What plain likelihood (sft) of the same chosen responses shows as well says nothing "
    "about preferences. A block's share counts its size and its heaviest layer.",
    "significance": "The learned score of every module, darker is higher: how much the loss needs that module's "
    "update in this one adapter. That it is needed here does not say that training it is needed, or would suffice.",
    **weight_views.NOTES,
    **state_views.NOTES,
    "profile": "Shares of full's fall of the loss on training pairs of clusters that were not trained on, with 95 % "
    "intervals over clusters. Held-out rows take no part, so that conditions may be chosen by this record.",
}


class CosineRow(NamedTuple):
    """The cosine of two mean gradients over all modules and in every block, each with its interval."""

    one: str
    other: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class DiagnosisView:
    """One record, as the page shows it; `places` are what the cosines' cells are of."""

    name: str
    title: str
    subject: str
    note: str
    pictures: tuple[Picture, ...]
    words: tuple[str, ...]
    places: tuple[str, ...] = ()
    cosines: tuple[CosineRow, ...] = ()


def diagnosis_views(records: Mapping[str, Record]) -> tuple[DiagnosisView, ...]:
    """The records of known kinds, by the names of their files.

    Raises:
        UserError: one of them lacks what its kind has.
    """
    found = []
    for name, record in records.items():
        kind = "stages" if "stages" in record else record.get("kind")
        if kind not in TITLES:
            continue
        try:
            pictures, words = _SHOWN[kind](name, record)
            cosines = tuple(_cosine(pair) for pair in record.get("cosines", ()))
        except (LookupError, TypeError, AttributeError, ValueError, StopIteration) as error:
            raise DIAGNOSIS.damaged(
                f"diagnostics/{name}.json", f"it is no record of {kind} ({type(error).__name__}: {error})"
            ) from None
        found.append(
            DiagnosisView(
                name=name,
                title=TITLES[kind],
                subject=str(record.get("subject", "")),
                note=NOTES[kind],
                pictures=pictures,
                words=words,
                places=("all", *record.get("partition", {})) if cosines else (),
                cosines=cosines,
            )
        )
    return tuple(found)


def diagnosis_figures(views: Sequence[DiagnosisView]) -> dict[str, Drawing]:
    """File name -> figure."""
    return {picture.name: picture.drawing for one in views for picture in one.pictures}


def _gradients(name: str, record: Record) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    pictures, words = [], []
    sources: Mapping[str, Record] = record["sources"]
    for at, (source, measured) in enumerate(sources.items(), 1):
        told = f"{source}: {measured['pairs']} pairs, {measured['clusters']} clusters"
        drawing = grouped_bars(
            _share_groups(measured), f"Share of the gradient in each block. {told}.", "share of squared norm"
        )
        if drawing is not None:
            pictures.append(Picture(name if at == 1 else f"{name}-{at}", told, drawing))
        words += [
            f"{source}, {loss}: {_verdict(own['blocks']['mean_gradient'], record['settings']['ratio'])}"
            for loss, own in measured["losses"].items()
        ]
        words += [
            f"{source}, {loss}: {told}"
            for loss, own in measured["losses"].items()
            for told in _naming(own.get("named"))
        ]
    return tuple(pictures), tuple(words)


def _naming(named: Record | None) -> tuple[str, ...]:
    """Which layer each signal names; one sentence, or none where the question was not asked."""
    if not named:
        return ()
    told = ", ".join(
        f"{signal.replace('_', ' ')} "
        + (f"layer {own['named']}" if own["named"] is not None else f"none ({own['reading']})")
        for signal, own in named.items()
    )
    return (
        f"layers that carry the preference, by signal: {told}. What is sure is the signal, not its cause.",
    )


def _share_groups(measured: Record) -> list[Group]:
    """A group for each block, a bar for each loss."""
    losses: Mapping[str, Record] = measured["losses"]
    first = next(iter(losses.values()))
    groups = []
    for block in first["blocks"]["by_name"]:
        shares = {loss: own["blocks"]["by_name"][block]["share"] for loss, own in losses.items()}
        bars = tuple(
            Bar(
                loss,
                (share["value"],),
                f"{loss} {_number(share, 'value')}",
                share["low"],
                share["high"],
            )
            for loss, share in shares.items()
            if share["value"] is not None
        )
        groups.append(Group(block, bars))
    return groups


def _verdict(said: Record, ratio: float) -> str:
    over = ", ".join(f"{_number(row, 'ratio')} times {name}" for name, row in said["over"].items())
    answer = {"much greater": "Yes", "not much greater": "No"}.get(said["verdict"], "Cannot tell")
    return (
        f"per root parameter largest in {said['largest']}, {over}. "
        f"Much greater than every other block ({ratio:g} times)? {answer}."
    )


def _cosine(pair: Record) -> CosineRow:
    one, other = (f"{own['source']}, {own['loss']}" for own in (pair["of"], pair["and"]))
    return CosineRow(one, other, tuple(_number(row) for row in (pair["all"], *pair["blocks"].values())))


def _number(row: Record, key: str = "value") -> str:
    """'0.25 [0.05, 0.45]'; ratios and shares have no sign to show."""
    low, high = (plain(row[end], 2) for end in ("low", "high"))
    return f"{plain(row[key], 2)} [{low}, {high}]"


def _significance(name: str, record: Record) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    heat = record["heatmap"]
    block_of = {layer: block for block, layers in record["partition"].items() for layer in layers}
    columns = [HeatColumn(block_of.get(layer, ""), str(layer)) for layer in heat["layers"]]
    rows = [
        HeatRow(kind, "", "score", tuple(row[at] for row in heat["values"]))
        for at, kind in enumerate(heat["kinds"])
    ]
    drawing = heatmap(columns, rows, about="Scores of modules by layer")
    pictures = () if drawing is None else (Picture(name, "", drawing),)
    half = record["stability"]
    words = [
        *(() if record["losses"] is None else _masks(record["losses"], record["losses_of"])),
        f"The top {percent(half['share'])} from two halves of the minibatches: Jaccard {plain(half['jaccard'], 2)}, "
        f"where chance gives {plain(half['chance'], 2)}.",
        *(told[0].upper() + told[1:] for told in _naming(record.get("named"))),
    ]
    training = record.get("training") or {}
    steps = [row for row in training.get("gate_steps", ()) if row["after_stability"]]
    if steps:
        low, high = (pick(row["relative"] for row in steps) for pick in (min, max))
        words.append(
            f"After the training was stable, one gate step at t and at t + 1 differed by {percent(low)} to "
            f"{percent(high)} of the step ({len(steps)} pairs of steps)."
        )
    return pictures, tuple(words)


def _masks(losses: Record, of: str) -> tuple[str, str]:
    means = ", ".join(f"{mask.replace('_', ' ')} {plain(mean)}" for mask, mean in losses["mean"].items())
    rises = ", ".join(
        f"{block} {plain(row['rise'])} (s.e. {plain(row['standard_error'])})"
        for block, row in losses["without_block"].items()
    )
    return (
        f"Loss on {losses['rows']} {of} rows with the updates of these modules alone: {means}.",
        f"Rise of the loss without one block's update: {rises}.",
    )


def _profile(name: str, record: Record) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    drawing, words = profile_picture(record)
    return (() if drawing is None else (Picture(f"diagnosed-{name}", "", drawing),)), words


_SHOWN = {
    "gradients": _gradients,
    "significance": _significance,
    "weights": weight_views.weights,
    "deltas": weight_views.deltas,
    "stages": weight_views.stages,
    "similarity": state_views.similarity,
    "probes": state_views.probes,
    "patching": state_views.patching,
    "profile": _profile,
}
