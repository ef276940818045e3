"""Decodes a batch token by token with a key-value cache, and lets rows go when they have ended.

Answers differ much in length, so most of the work of a batch that is decoded to its longest row would be for rows
that ended long ago (measured on the micro-world: 2.7 times the processor time). Knows nothing of prompts or noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from stratalign.generation.prefill import Prefilled

Watch = Callable[[int, int, int], None]
"""Is called after every token with how many each going answer has, and how many answers have ended and go on."""

Choose = Callable[[Tensor, Sequence[int], int], Tensor]
"""(logits [rows, vocabulary] in float32, the rows' places in the batch, step) -> tokens [rows]."""

DROP = 0.1
"""Rows are dropped from the cache when this share of them has ended: dropping copies the cache."""


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    mask: Tensor,
    prefilled: Prefilled,
    choose: Choose,
    ended: Callable[[Sequence[int]], bool],
    limit: int,
    kept: Callable[[Sequence[int]], None],
    watch: Watch,
) -> list[list[int]]:
    """The new tokens of every row, up to and with the one that ended it; at most `limit`.

    Args:
        mask: 1 on the tokens of the prompts, which are padded on the left, 0 on padding [rows, width].
        prefilled: what the prompts left.
        ended: whether an answer, given its tokens so far, is over.
        kept: called with the rows that stay, whenever others are dropped.
    """
    made: list[list[int]] = [[] for _ in range(len(mask))]
    over = [False] * len(mask)
    rows = list(range(len(mask)))
    cache, logits = prefilled
    positions = mask.sum(-1, keepdim=True)
    for step in range(limit):
        tokens = choose(logits.float(), rows, step)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if not over[row]:
                made[row].append(token)
                over[row] = ended(made[row])
        going = [i for i, row in enumerate(rows) if not over[row]]
        watch(step + 1, len(made) - len(going), len(going))
        if not going or step + 1 == limit:
            break
        ids = tokens[:, None]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if len(going) <= (1 - DROP) * len(rows):
            places = torch.tensor(going, device=ids.device)
            cache.batch_select_indices(places)
            ids, positions, mask = ids[places], positions[places], mask[places]
            rows = [rows[i] for i in going]
            kept(rows)
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        positions = positions + 1
    return made
