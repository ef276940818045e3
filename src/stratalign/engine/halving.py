"""Packs that fit: where memory runs out the engine's packs are halved, and stay so for what follows."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial

import torch

from stratalign.engine.joint import JointEngine
from stratalign.models import is_out_of_memory
from stratalign.preferences import Tree


def for_each_pack(
    engine: JointEngine,
    trees: Sequence[Tree],
    work: Callable[[int, list[int]], None],
    *,
    undo: Callable[[], None] | None = None,
    most: int | None = None,
    lower: str = "training.max_length",
) -> None:
    """Call `work` with the number of each pack and the indices of its trees.

    A pack that runs out of memory is cut again with all packs after it, at half the tokens.

    Args:
        undo: for work that adds up: takes back what all packs so far have added; then all trees are done again.
        most: tokens in a pack, where the engine's may have more.
        lower: the setting that makes trees shorter, for the message where a single one does not fit.

    Raises:
        UserError: a pack of one tree does not fit.
    """
    left = list(range(len(trees)))
    while left:
        packs = [[left[i] for i in part] for part in engine.cut([trees[i] for i in left], most)]
        for number, pack in enumerate(packs):
            if not fits(partial(work, number, pack)):
                engine.halve([trees[i] for i in pack], lower)
                break
        else:
            return
        if undo is None:
            left = [i for rest in packs[number:] for i in rest]
        else:
            undo()
            left = list(range(len(trees)))


def fits(work: Callable[[], object]) -> bool:
    """Do the work; False, and what it held is given back, where memory runs out."""
    try:
        work()
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    gc.collect()  # outside the handler, which holds what did not fit
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False
