"""What `stratalign diagnose` prints: a short table for each kind, from its record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stratalign.cli import state_tables, weight_tables
from stratalign.cli.profile_table import profile
from stratalign.cli.tabling import interval as _interval
from stratalign.cli.tabling import number as _number
from stratalign.cli.tabling import table as _table
from stratalign.cli.terminal import console, paragraph, say

if TYPE_CHECKING:
    from stratalign.pipeline import Diagnosis

SHOWN = 10
"""Modules in a table; the record has all."""


def show(found: Diagnosis) -> None:
    """A diagnosis's table, how it agrees with another record, and where the record is."""
    _TABLES[found.kind](found.record)
    if found.agreement is not None:
        agreement(found.agreement)
    say(f"Record: {found.path}")


def gradients(record: Mapping[str, Any]) -> None:
    """Norms and shares by block for every source and loss, and the verdict on Hypothesis 2."""
    if "stages" in record:
        weight_tables.stages(record)
        return
    ratio = record["settings"]["ratio"]
    say(
        f"Gradients by the weights of {record['subject']}; mean over training pairs, 95 % intervals over chunks"
    )
    for source, measured in record["sources"].items():
        say(
            f"{source}: {measured['pairs']} pairs, {measured['clusters']} clusters, {measured['chunks']} chunks"
        )
        table = _table("loss", "block", "norm", "95 %", "per weight", "share", "95 % ", "share over sft's")
        for loss, own in measured["losses"].items():
            for name, row in own["blocks"]["by_name"].items():
                over = row.get("share_over_baseline")
                table.add_row(
                    loss,
                    name,
                    f"{row['norm']:.3g}",
                    _interval(row, "{:.3g}"),
                    f"{row['relative']:.2g}" if row["relative"] is not None else "",
                    f"{row['share']['value']:.2f}" if row["share"]["value"] is not None else "",
                    _interval(row["share"], "{:.2f}"),
                    "" if over is None else over["reading"],
                )
        console.print(table)
        for loss, own in measured["losses"].items():
            for what, key in (("mean gradient", "mean_gradient"), ("single pairs", "single_pairs")):
                said = own["blocks"][key]
                others = ", ".join(
                    f"{name} {_number(row['ratio'], '{:.2f}')} {_interval(row, '{:.2f}')}"
                    for name, row in said["over"].items()
                )
                paragraph(
                    f"{loss}, {what}: largest in {said['largest']}; over {others}. Much greater than all "
                    f"others, {ratio:g} times: {_said(said['verdict'])}."
                )
            _naming(f"{source}, {loss}", own.get("named"))
    _cosines(record["cosines"])


def _naming(what: str, named: Mapping[str, Any] | None) -> None:
    """Which layer each signal names, or why it names none."""
    if not named:
        return
    told = [
        f"{signal.replace('_', ' ')} "
        + (f"layer {own['named']}" if own["named"] is not None else f"cannot tell ({own['reading']})")
        for signal, own in named.items()
    ]
    paragraph(f"Layer named by {what}: {'; '.join(told)}.")


def _cosines(pairs: Sequence[Mapping[str, Any]]) -> None:
    """Cosines between the gradients of two losses or two sources, by block."""
    if not pairs:
        return
    table = _table("gradient", "and", "block", "cosine", "95 %")
    for pair in pairs:
        one, two = pair["of"], pair["and"]
        alone = one["source"] == two["source"]
        names = [own["loss"] if alone else own["source"] for own in (one, two)]
        names[0] += f" ({one['source'] if alone else one['loss']})"
        for block, row in ({"all": pair["all"]} | pair["blocks"]).items():
            table.add_row(*names, block, _number(row["value"], "{:.2f}"), _interval(row, "{:.2f}"))
    say("Cosines between mean gradients, without the bias of noise:")
    console.print(table)


def significance(record: Mapping[str, Any]) -> None:
    """The highest and lowest modules, what masks do to the loss, and whether the training was stable."""
    rows = sorted(record["modules"], key=lambda row: row["rank"])
    say(f"Significance of {len(rows)} modules' updates in {record['subject']}; loss {record['loss']}")
    where_sloped = list(rows[0]["slopes"])
    table = _table("rank", "module", "score", "s.e.", *(f"slope, {where}" for where in where_sloped))
    for row in [*rows[:SHOWN], None, *rows[-SHOWN // 2 :]] if len(rows) > 2 * SHOWN else rows:
        if row is None:
            table.add_row("...")
            continue
        table.add_row(
            str(row["rank"]),
            row["module"],
            f"{row['score']:.3f}",
            f"{row['standard_error']:.3f}",
            *(f"{row['slopes'][where]['value']:.2g}" for where in where_sloped),
        )
    console.print(table)
    _naming("loss " + record["loss"], record["named"])
    half = record["stability"]
    if record["losses"] is not None:
        _masks(record["losses"], record["losses_of"])
    paragraph(
        f"Halves of the minibatches: Jaccard of the top {half['share']:.0%} {half['jaccard']:.2f} (chance "
        f"{half['chance']:.2f}), rank correlation {_number(half['rank_correlation'], '{:.2f}')}."
    )
    if record["difference"] is not None:
        gated, beside = (record["difference"][key] for key in ("gated", "not_gated"))
        most = ", ".join(
            f"{name} by {beside[name]:.2g}" for name in sorted(beside, key=lambda n: -beside[n])[:3]
        )
        paragraph(
            f"Difference of two checkpoints: {gated} modules gated; {len(beside)} other tensors "
            f"differ and are not{f' (relative change: {most})' if beside else ''}."
        )
    training = record["training"]
    if training is not None:
        stable = training["stable_from"]
        paragraph(
            f"Training on every linear module, {training['steps']} steps: "
            + (
                f"validation loss stable to {training['epsilon']:.0%} of its change from step {stable} on."
                if stable is not None
                else f"validation loss NOT stable to {training['epsilon']:.0%} of its change, or not watched."
            )
        )
        _gate_steps(training["gate_steps"])


def _masks(losses: Mapping[str, Any], of: str) -> None:
    """What hard masks and leaving blocks out do to the loss."""
    means = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in losses["mean"].items())
    paragraph(f"Loss on {losses['rows']} {of} rows with only these updates: {means}.")
    without = ", ".join(
        f"{name} +{row['rise']:.3f} (s.e. {_number(row['standard_error'], '{:.3f}')})"
        for name, row in losses["without_block"].items()
    )
    paragraph(f"Without one block's update: {without}.")


def _gate_steps(pairs: Sequence[Mapping[str, Any]]) -> None:
    """Theorem 3.1: one gate step at t and at t + 1, before the training is stable and after."""
    if not pairs:
        return
    table = _table("steps", "stable", "slopes differ", "bound", "in it", "update moves", "Jaccard", "chance")
    for row in pairs:
        stable = {True: "yes", False: "no", None: "-"}[row["after_stability"]]
        table.add_row(
            f"{row['step']}, {row['step'] + 1}",
            stable,
            f"{row['relative']:.2%}",
            f"{row['bound'] / row['slopes']:.2%}",
            f"{row['within_bound']} of {len(row['bounds'])}",
            f"{row['update_change']:.2%}",
            f"{row['agreement']['jaccard']:.2f}",
            f"{row['agreement']['chance']:.2f}",
        )
    say("One gate step at two consecutive training steps (Theorem 3.1), as shares of all slopes' length:")
    console.print(table)


def agreement(found: Mapping[str, Any]) -> None:
    """Two rankings' overlap, beside chance."""
    paragraph(
        f"Top {found['share']:.0%} of {found['names']} modules in both records: {found['shared']} shared, Jaccard "
        f"{found['jaccard']:.2f} where chance gives {found['chance']:.2f}, kappa {_number(found['kappa'], '{:.2f}')}, "
        f"p {found['p_value']:.2g}; rank correlation {_number(found['rank_correlation'], '{:.2f}')}."
    )


_TABLES: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "gradients": gradients,
    "significance": significance,
    "weights": weight_tables.weights,
    "deltas": weight_tables.deltas,
    "similarity": state_tables.similarity,
    "probes": state_tables.probes,
    "patching": state_tables.patching,
    "profile": profile,
}


def _said(verdict: str) -> str:
    return {"much greater": "yes", "not much greater": "no"}.get(verdict, verdict)
