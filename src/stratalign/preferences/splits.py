"""Divides preferences into held-out, validation and training rows by whole clusters.

Rows that open with the same human turn, or name the same cluster, are one cluster and stay together, so that
nothing that the verdict sees was trained on. Where every row says to which part it belongs, that is kept. Knows
nothing of files or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from stratalign.errors import UserError
from stratalign.preferences.dialogues import PARTS, Preference
from stratalign.preferences.settings import PreferenceSettings
from stratalign.records import keyed_seed

Cluster = list[Preference]


@dataclass(frozen=True)
class Split:
    """The parts, each in the source's order. `unused` rows were not asked for."""

    train: tuple[Preference, ...]
    validation: tuple[Preference, ...]
    held_out: tuple[Preference, ...]
    unused: tuple[Preference, ...]


def split(rows: Sequence[Preference], settings: PreferenceSettings) -> Split:
    """Assign whole clusters to held-out, then validation, then train, until each has the rows asked for.

    A cluster's turn is drawn from the seed and the cluster's own name, so adding rows does not reshuffle the
    others. A cluster that is larger than the room left is passed over, so sizes are exact except where every
    cluster that remains is too large.

    Raises:
        UserError: a part cannot be filled; the message gives numbers that work.
    """
    order = _ordered(rows, settings.seed)
    asked = (settings.held_out, settings.validation, settings.train)
    if parts_are_given(rows):
        return _as_given(rows, settings)
    parts, left = _assigned(order, *asked)
    if not parts[2] or any(want not in ("all", len(got)) for want, got in zip(asked, parts, strict=True)):
        raise _too_few(rows, order, settings)
    held_out, validation, train = parts
    return Split(train, validation, held_out, left)


def parts_are_given(rows: Sequence[Preference]) -> bool:
    """Whether every row says to which part it belongs."""
    return bool(rows) and all(row.part is not None for row in rows)


def leaks(parts: Split) -> tuple[str, ...]:
    """The clusters that lie in more than one of the parts that are used: none, in a sound split."""
    seen = [{row.cluster for row in part} for part in (parts.train, parts.validation, parts.held_out)]
    return tuple(sorted((seen[0] & seen[1]) | (seen[0] & seen[2]) | (seen[1] & seen[2])))


def _as_given(rows: Sequence[Preference], settings: PreferenceSettings) -> Split:
    """From each part the rows that say that they belong there, as many as asked for.

    The first row of every cluster, then the second of each, and so on: what counts for an interval is the number of
    clusters. What is left of a cluster belongs to the same part, so nothing leaks.
    """
    homes: dict[str, set[str]] = {}
    for row in rows:
        homes.setdefault(row.cluster, set()).add(str(row.part))
    torn = next((row for row in rows if len(homes[row.cluster]) > 1), None)
    if torn is not None:
        raise UserError(
            f"Rows of one cluster of {settings.source} say that they belong to "
            f"{' and '.join(sorted(homes[torn.cluster]))} (one is line {torn.line}), so the verdict would see what "
            "was trained on. Correct their `part`, or remove "
            "that column and let the split be drawn."
        )
    taken: dict[str, tuple[Preference, ...]] = {}
    left: list[Preference] = []
    for part in PARTS:
        own = _ordered([row for row in rows if row.part == part], settings.seed)
        flat = [row for nth in zip_longest(*own) for row in nth if row is not None]
        size = getattr(settings, part)
        wanted = len(flat) if size == "all" else size
        if wanted > len(flat) or (not flat and part == "train"):
            there = ", ".join(f"{name} {sum(row.part == name for row in rows)}" for name in PARTS)
            raise UserError(
                f"preferences asks for {part}: {size}, but {settings.source} has {len(flat)} usable rows for it: its "
                f"rows say themselves where they belong ({there})."
            )
        taken[part], rest = _in_source_order([flat[:wanted]]), flat[wanted:]
        left += rest
    return Split(taken["train"], taken["validation"], taken["held_out"], _in_source_order([left]))


def _ordered(rows: Sequence[Preference], seed: int) -> list[Cluster]:
    clusters: dict[str, Cluster] = {}
    for row in rows:
        clusters.setdefault(row.cluster, []).append(row)
    return [clusters[name] for name in sorted(clusters, key=lambda name: (keyed_seed(seed, name), name))]


def _assigned(
    order: list[Cluster], *sizes: int | str
) -> tuple[list[tuple[Preference, ...]], tuple[Preference, ...]]:
    """The rows of each part, first fit, and the rows that are left."""
    parts = []
    for size in sizes:
        room = sum(map(len, order)) if isinstance(size, str) else size
        taken, passed = [], []
        for cluster in order:
            if len(cluster) <= room:
                room -= len(cluster)
                taken.append(cluster)
            else:
                passed.append(cluster)
        parts.append(_in_source_order(taken))
        order = passed
    return parts, _in_source_order(order)


def _in_source_order(clusters: list[Cluster]) -> tuple[Preference, ...]:
    return tuple(sorted((row for cluster in clusters for row in cluster), key=lambda row: row.line))


def _too_few(rows: Sequence[Preference], order: list[Cluster], settings: PreferenceSettings) -> UserError:
    """Suggests sizes that first fit reaches exactly: asked for what it reached, it makes the same choices."""
    small = settings.held_out + settings.validation
    asked = small + (1 if settings.train == "all" else settings.train)
    share = min(1.0, len(rows) / asked)
    sizes = (int(settings.held_out * share), int(settings.validation * share))
    train = "all" if settings.train == "all" else min(settings.train, len(rows) - sum(sizes))
    parts, _ = _assigned(order, *sizes, train)
    held_out, validation, trained = (len(part) for part in parts)
    message = (
        f"preferences asks for held_out: {settings.held_out}, validation: {settings.validation} and train: "
        f"{settings.train}, but {settings.source} has {len(rows)} usable rows in {len(order)} clusters (rows that open "
        "with the same human turn stay together)."
    )
    if trained == 0:
        return UserError(f"{message} That is too few to split. Give more rows.")
    rest = "`train: all`" if settings.train == "all" else f"train: {trained} (or `train: all`)"
    return UserError(f"{message} These work: held_out: {held_out}, validation: {validation}, {rest}.")
