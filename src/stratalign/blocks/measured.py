"""A partition from the record of a diagnosis: blocks end where its numbers for the layers change.

Reads plain numbers; knows nothing of files or of how they were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from stratalign.blocks.partitions import Blocks, PartitionSettings, block_names, partition
from stratalign.blocks.segmentation import segment, segment_values
from stratalign.blocks.sites import Site
from stratalign.errors import UserError, unknown_name

SIMILARITY = "layer_similarity"
"""Key of a record beside `scores`: how alike any two layers are [layers, layers]."""


def measured_partition(
    settings: PartitionSettings, sites: Sequence[Site], record: Mapping[str, Any]
) -> Blocks:
    """The blocks of a partition with `method: record`.

    Args:
        settings: the record's name for messages, the blocks' names, and which of its signals is meant; without one its
            similarities of layers, else the first of its scores.
        sites: every linear module of the model.
        record: as a diagnosis wrote it.

    Raises:
        UserError: the record is of another model or has no such signal, or there are more blocks than layers.
    """
    names = block_names(settings.blocks)
    n_layers = 1 + max(site.layer for site in sites)
    scores: Mapping[str, Mapping[str, float]] = record.get("scores") or {}
    known = [*([SIMILARITY] if record.get(SIMILARITY) is not None else []), *scores]
    if not known:
        raise UserError(
            f"The record {settings.by} has nothing that a partition could be made by. Use that of another diagnosis, "
            "such as diagnostics/gradients.json."
        )
    signal = known[0] if settings.signal is None else settings.signal
    if signal not in known:
        raise unknown_name(f"signal of the record {settings.by}", signal, known, "partition.signal names it.")
    if len(names) > n_layers:
        raise UserError(f"{n_layers} layers do not suffice for {len(names)} blocks. Name fewer.")
    if signal == SIMILARITY:
        matrix = record[SIMILARITY]
        if len(matrix) != n_layers or any(len(row) != n_layers for row in matrix):
            raise _foreign(
                settings, f"its similarities are of {len(matrix)} layers, this model has {n_layers}"
            )
        found = segment(matrix, len(names))
    else:
        found = segment_values(_layer_means(settings, sites, scores[signal]), len(names))
    written = {name: list(layers) for name, layers in zip(names, found, strict=True)}
    return partition(n_layers, "explicit", written)


def _layer_means(
    settings: PartitionSettings, sites: Sequence[Site], scores: Mapping[str, float]
) -> list[float]:
    """The mean score of every layer's modules [layers]."""
    layer_of = {site.name: site.layer for site in sites}
    by_layer: dict[int, list[float]] = {site.layer: [] for site in sites}
    for name, value in scores.items():
        if name not in layer_of:
            raise _foreign(settings, f"it names {name}, which is not there")
        by_layer[layer_of[name]].append(value)
    empty = [layer for layer, values in sorted(by_layer.items()) if not values]
    if empty:
        raise _foreign(settings, f"it has no numbers for layer {empty[0]}")
    return [fmean(by_layer[layer]) for layer in sorted(by_layer)]


def _foreign(settings: PartitionSettings, why: str) -> UserError:
    return UserError(
        f"The partition is made by the record {settings.by}, which is of another model: {why}. Make the record with "
        "this recipe."
    )
