"""Partitions: the layers of a model divided into named blocks. Pure arithmetic on layer numbers.

To add a partition, write one function `(n_layers, blocks) -> {name: layers}` and add it to `PARTITIONS`; from
outside the project, name it in the recipe as `module:function`.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stratalign.blocks.sites import describe_layers
from stratalign.dotted import call_function, import_function, returned_by
from stratalign.errors import UserError, shortened, unknown_name

Blocks = dict[str, Sequence[int]]

MOST_LAYERS = 1_000
"""Layers that a model or a list of layers may have."""
RESERVED = ("full", "none", "base")
PAPER_BLOCKS = ("local", "mid", "global")


class PartitionSettings(BaseModel):
    """How layers are divided into blocks; the default is the paper's (Hierarchical Alignment v2, Table 4)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(
        "even", description="even, explicit, record, or your own function as module:function (paper: even)"
    )
    blocks: list[str] | int | dict[str, Any] = Field(
        list(PAPER_BLOCKS),
        description="names of even blocks, their number, or for explicit ones a mapping of name to layers",
    )
    by: str | None = Field(
        None, description="method record: the record that says where blocks end, in the study's folder"
    )
    signal: str | None = Field(
        None,
        description="of that record: a signal, or layer_similarity; the first that it has if not given",
    )

    @model_validator(mode="after")
    def _record_or_none(self) -> PartitionSettings:
        if self.method == "record" and (self.by is None or isinstance(self.blocks, dict)):
            raise ValueError(
                "a partition by a record names its file and its blocks, such as "
                "{method: record, by: diagnostics/gradients.json, blocks: [local, mid, global]}"
            )
        if self.method != "record" and (self.by is not None or self.signal is not None):
            raise ValueError("by and signal belong to method: record")
        return self


def partition(n_layers: int, method: str = "even", blocks: Any = PAPER_BLOCKS) -> Blocks:
    """Divide layers 0 .. n_layers - 1 into named blocks.

    Args:
        n_layers: number of layers of the model.
        method: a name in `PARTITIONS`, or `module:function` for your own.
        blocks: names, a number of blocks, or (explicit) a mapping of name to layers such as "0-10" or [0, 1].

    Returns:
        name -> layers; contiguous blocks are `range` objects.

    Raises:
        UserError: the blocks overlap, are empty, leave the model, or take a reserved name.

    >>> partition(32)
    {'local': range(0, 11), 'mid': range(11, 22), 'global': range(22, 32)}
    """
    if ":" in method:
        return _own(method, n_layers, blocks)
    if method not in PARTITIONS:
        raise unknown_name("partition", method, PARTITIONS, "For your own, give 'module:function'.")
    return _checked(PARTITIONS[method](n_layers, blocks), n_layers)


def _own(name: str, n_layers: int, blocks: Any) -> Blocks:
    """What a user's function returns for the model's number of layers and the recipe's `partition.blocks`."""
    function = import_function("partition", name)
    returned = call_function(
        "partition", name, function, n_layers, blocks, advice="; it is called with n_layers and blocks"
    )
    who = f"The partition {name!r} returned"
    with returned_by(function):
        if not isinstance(returned, Mapping) or not returned:
            raise UserError(
                f"{who} {returned!r:.100}. Return a mapping of block names to layers, such as "
                "{'low': range(0, 6), 'high': [6, 7]}."
            )
        found: Blocks = {}
        for block, layers in returned.items():
            if not isinstance(block, str) or not block.strip():
                raise UserError(
                    f"{who} a block with the name {block!r}. A name must be text that is not blank."
                )
            found[block] = _listed(layers, f"{who} {layers!r:.100} for the block {block!r}")
        try:
            return _checked(found, n_layers)
        except UserError as error:
            raise UserError(f"{who} blocks that do not fit. {error}") from None


def _listed(layers: object, who: str) -> Sequence[int]:
    """Layers as a function may return them: anything that lists whole numbers, NumPy's as well."""
    try:
        first = itertools.islice(layers, MOST_LAYERS + 1)  # type: ignore[call-overload]
        found = [operator.index(layer) for layer in first]
    except Exception as error:  # no list, or a generator that fails
        raise UserError(f"{who}. Return a range or a list of whole numbers.") from error
    if not found:
        raise UserError(f"{who}, which has no layer. Give it one, or leave it out.")
    if len(found) > MOST_LAYERS:
        raise UserError(f"{who}, which has more than {MOST_LAYERS:,} layers. Return those of the model.")
    twice = _repeated(found)
    if twice:
        raise UserError(f"{who}, which names layer {describe_layers(twice)} twice.")
    return sorted(found)


def _checked(found: Blocks, n_layers: int) -> Blocks:
    taken: dict[int, str] = {}
    for name, layers in found.items():
        if name in RESERVED:
            raise UserError(
                f"A block may not be called {name!r}: {', '.join(RESERVED)} have a fixed meaning."
            )
        if not len(layers):
            raise UserError(
                f"Block {name!r} is empty: {n_layers} layers do not suffice for {len(found)} blocks."
            )
        check_layers(layers, n_layers, f"Block {name!r}")
        for layer in layers:
            if layer in taken:
                raise UserError(
                    f"Layer {layer} is in two blocks, {taken[layer]!r} and {name!r}. Give it to one."
                )
            taken[layer] = name
    return {name: _as_range(layers) for name, layers in found.items()}


def even(n_layers: int, blocks: Any) -> Blocks:
    """Blocks as equal as possible; the first `n_layers mod k` get one layer more.

    For three blocks this is the rule of Hierarchical Alignment v2, section 3 and Table 4: n = N // 3 and
    r = N mod 3; local n + [r > 0], mid n + [r > 1], global the rest.
    """
    names = block_names(blocks)
    size, longer = divmod(n_layers, len(names))
    found: Blocks = {}
    start = 0
    for i, name in enumerate(names):
        stop = start + size + (i < longer)
        found[name] = range(start, stop)
        start = stop
    return found


def block_names(blocks: Any) -> list[str]:
    """The names in a list of them, or names for a number of blocks.

    Raises:
        UserError: there are none, or two are the same.
    """
    if isinstance(blocks, int) and blocks > MOST_LAYERS:
        raise UserError(f"A partition has at most {MOST_LAYERS:,} blocks, got {shortened(blocks)}.")
    names = [f"block_{i}" for i in range(blocks)] if isinstance(blocks, int) else list(blocks)
    if not names or isinstance(blocks, Mapping):
        raise UserError(
            f"An even partition takes a list of block names or their number, got {blocks!r}. "
            "For layers of your own use method: explicit."
        )
    if len(set(names)) != len(names):
        raise UserError(f"Two blocks of the partition have one name: {', '.join(map(str, names))}.")
    return [str(name) for name in names]


def explicit(n_layers: int, blocks: Any) -> Blocks:
    """Blocks as written: each a range "0-10" (both ends included), a list of layers, or a list of both."""
    if not isinstance(blocks, Mapping) or not blocks:
        raise UserError(
            f"An explicit partition takes a mapping of block name to layers, got {blocks!r}. "
            'Example: {method: explicit, blocks: {early: "0-3", late: [10, 11]}}.'
        )
    return {str(name): parse_layers(layers, f"Block {name!r}") for name, layers in blocks.items()}


def record(n_layers: int, blocks: Any) -> Blocks:
    """Contiguous blocks where a diagnosis's numbers for the layers change (by, signal): exact change points."""
    raise UserError(
        f"A partition of {n_layers} layers into {', '.join(block_names(blocks))} by a record needs the record, which "
        "only a study has: its recipe says `partition: {method: record, by: FILE}`."
    )


PARTITIONS: dict[str, Callable[[int, Any], Blocks]] = {"even": even, "explicit": explicit, "record": record}


def parse_layers(value: object, who: str) -> Sequence[int]:
    """Layers from a recipe: 3, "3", "0-10", [0, 1, "5-7"]. A layer named twice is an error."""
    items = value if isinstance(value, (list, tuple)) else [value]
    layers: list[int] = []
    for item in items:
        match = (
            re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", str(item))
            if isinstance(item, (int, str))
            else None
        )
        if match is None or isinstance(item, bool):
            raise UserError(
                f"{who}: {shortened(item)} is no layer. Write 3, '0-10' (both ends included) or a list of them."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UserError(f"{who}: the range {item!r} runs backwards.")
        if last >= MOST_LAYERS:
            raise UserError(f"{who} names layer {last}. Models have at most {MOST_LAYERS:,} layers here.")
        layers.extend(range(first, last + 1))
        if len(layers) > MOST_LAYERS:  # so that one is named twice
            break
    repeated = _repeated(layers)
    if repeated:
        raise UserError(f"{who} names layer {describe_layers(repeated)} twice.")
    return sorted(layers)


def _repeated(layers: Sequence[int]) -> list[int]:
    return sorted(layer for layer, count in Counter(layers).items() if count > 1)


def check_layers(layers: Sequence[int], n_layers: int, who: str) -> None:
    """Raise a UserError unless every layer exists."""
    outside = [layer for layer in layers if not 0 <= layer < n_layers]
    if outside:
        raise UserError(
            f"{who} names layer {describe_layers(outside)}, but the model has {n_layers} layers, 0 to {n_layers - 1}."
        )


def _as_range(layers: Sequence[int]) -> Sequence[int]:
    first, last = layers[0], layers[-1]
    return range(first, last + 1) if list(layers) == list(range(first, last + 1)) else tuple(layers)
