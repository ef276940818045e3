"""Preference pairs for the benchmark: a tokenizer trained on them, their trees, and windows drawn by a seed.

A window is what one optimizer step sees: micro-batches of equally many pairs. Shuffled windows are the first
steps of a study's own order (training.plan_steps) under the seed. Grouped micro-batches are consecutive runs of
the order that transformers' `group_by_length` gives the whole file (lengths: the longer sequence of a pair); a
window takes its micro-batches at even distances over that order, so that long and short pairs are in it as in the
file. Cost adds up over micro-batches, so it does not matter that TRL would take neighbours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stratalign.preferences import Preference, PreferenceSettings, Tree, load, tokenize
from stratalign.training import TrainingSettings, plan_steps

VARIABLE = "STRATALIGN_BENCH_PAIRS"
MAX_LENGTH = 2048
ORDERS = ("shuffled", "grouped")

Groups = list[tuple[int, ...]]  # micro-batches of indices of pairs


@dataclass(frozen=True)
class Material:
    """Pairs, and the same pairs as trees; a micro-batch is a tuple of indices into both."""

    rows: tuple[Preference, ...]
    trees: tuple[Tree, ...]
    tokenizer: Any
    corpus: dict[str, Groups]  # order -> every micro-batch of one epoch
    windows: dict[str, list[Groups]]  # order -> window -> its micro-batches

    def trees_of(self, group: Iterable[int]) -> list[Tree]:
        return [self.trees[i] for i in group]


def find_pairs(given: str | None) -> Path | None:
    """The file of pairs: the argument, or the environment variable."""
    name = given or os.environ.get(VARIABLE)
    return Path(name) if name else None


def read_material(
    source: Path, settings: TrainingSettings, windows: int, seed: int, vocabulary: int, scratch: Path
) -> Material:
    """Read the pairs, train or reload the tokenizer in `scratch`, and draw the windows.

    Raises:
        UserError: the file is missing or holds no pairs.
    """
    preferences = PreferenceSettings(source=str(source))
    found = load(preferences)
    tokenizer = _tokenizer(found.rows, vocabulary, scratch / "tokenizer")
    trees = tokenize(found.rows, tokenizer, preferences, MAX_LENGTH).trees
    by_id = {row.row_id: row for row in found.rows}
    rows = tuple(by_id[tree.row_id] for tree in trees)
    steps = plan_steps(len(trees), settings, seed)
    grouped = _grouped(trees, settings, seed)
    return Material(
        rows,
        trees,
        tokenizer,
        {"shuffled": [micro.pairs for step in steps for micro in step], "grouped": grouped},
        {
            "shuffled": [[micro.pairs for micro in steps[w % len(steps)]] for w in range(windows)],
            "grouped": [_spread(grouped, settings, w, windows) for w in range(windows)],
        },
    )


def _tokenizer(rows: Sequence[Preference], vocabulary: int, folder: Path) -> Any:
    """A byte-level BPE of these pairs, kept in `folder`; end of sequence is token 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if (folder / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text for row in rows for text in (f"{row.prompt}{row.chosen}", str(row.rejected)))
    inner.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>")
    tokenizer.save_pretrained(folder)
    return tokenizer


def _grouped(trees: Sequence[Tree], settings: TrainingSettings, seed: int) -> Groups:
    """Micro-batches in the order of transformers' own sampler, which is given the pairs of a step as its batch."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    lengths = [len(tree.prefix) + max(len(branch.ids) for branch in tree.branches) for tree in trees]
    generator = torch.Generator().manual_seed(seed)
    sampler = LengthGroupedSampler(
        settings.batch_size * settings.gradient_accumulation, lengths=lengths, generator=generator
    )
    order = list(sampler)
    size = settings.batch_size
    return [tuple(order[i : i + size]) for i in range(0, len(order), size)]


def _spread(groups: Groups, settings: TrainingSettings, window: int, windows: int) -> Groups:
    """One window: full micro-batches at even distances, different ones for every window."""
    full = [group for group in groups if len(group) == settings.batch_size]
    count = settings.gradient_accumulation
    distance = len(full) / count
    return [full[int((part + (window + 0.5) / windows) * distance)] for part in range(count)]
