"""What a model can read and what ends its answers: rows and prompts against embeddings, positions and end tokens.

Works on finished tokens; nothing here renders or tokenises but `turn_end`, which looks at a few rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from transformers import PreTrainedTokenizerBase

from stratalign.errors import UserError
from stratalign.generation import Prompt, special_tokens
from stratalign.models import ModelShape
from stratalign.preferences import (
    Asked,
    BadRow,
    Preference,
    PreferenceSettings,
    Refused,
    Tokenized,
    Tree,
    tokenize,
)

NO_EMBEDDING = "token without an embedding"
SAMPLE = 64
"""Rows that `turn_end` looks at."""


def turn_end(
    rows: Iterable[Preference | Asked],
    tokenizer: PreTrainedTokenizerBase,
    settings: PreferenceSettings,
    shape: ModelShape,
) -> str | None:
    """The special token that ends the answers of most rows where none of the model's end tokens does; else None.

    It is the first special token after an answer's text: `<|im_end|>` in `Yes.<|im_end|>\\n`. A prompt alone gets an
    answer for this.
    """
    special = {token: text for text, token in special_tokens(tokenizer).items()}
    known = {tokenizer.eos_token_id, *shape.ends}
    sample = [row if isinstance(row, Preference) else _answered(row) for row in islice(rows, SAMPLE)]
    found = Counter(
        _first_special(tree, tokenizer, special) for tree in tokenize(sample, tokenizer, settings).trees
    )
    if not found:
        return None
    ((token, count),) = found.most_common(1)
    if token is None or token in known or 2 * count <= found.total():
        return None
    return special[token]


def _answered(asked: Asked) -> Preference:
    turns = ({"role": "assistant", "content": "Yes."},)
    chosen = turns if asked.kind == "messages" else " Yes."
    return Preference(asked.row_id, 0, asked.prompt, chosen, None, asked.cluster, asked.kind)


def _first_special(tree: Tree, tokenizer: PreTrainedTokenizerBase, special: Mapping[int, str]) -> int | None:
    """Of the special tokens and blanks at the end of the chosen response, the first special token."""
    chosen = tree.branches[0]
    first = None
    for token in reversed(chosen.ids[chosen.first_label :]):
        if token in special:
            first = token
        elif tokenizer.decode([token]).strip():
            break
    return first


def limit_of(max_length: int, shape: ModelShape) -> int:
    """Tokens that a row may have: `training.max_length`, or the model's positions where they are fewer."""
    return max_length if shape.positions is None else min(max_length, shape.positions)


def only_readable(
    tokenized: Tokenized,
    rows: Sequence[Preference],
    tokenizer: PreTrainedTokenizerBase,
    shape: ModelShape,
) -> Tokenized:
    """The trees whose tokens all have an embedding; the others are bad rows.

    Raises:
        UserError: more than half of the trees have tokens without an embedding.
    """
    if not _may_lack(tokenizer, shape):
        return tokenized
    lines = {row.row_id: row.line for row in rows}
    kept = []
    lacking: Counter[int] = Counter()
    refused = []
    for tree in tokenized.trees:
        token = max(tree.prefix + sum((branch.ids for branch in tree.branches), ()))
        if _has_embedding(token, shape):
            kept.append(tree)
            continue
        lacking[token] += 1
        refused.append(BadRow(lines[tree.row_id], tree.row_id, NO_EMBEDDING, _lacks(token, tokenizer, shape)))
    if 2 * len(refused) > len(tokenized.trees):
        raise UserError(
            f"{len(refused)} of {len(tokenized.trees)} rows have tokens that the model in {shape.folder} has no "
            f"embedding for: {_lacks(lacking.most_common(1)[0][0], tokenizer, shape)}. {_cause(lacking, tokenizer)}"
        )
    return Tokenized(tuple(kept), tuple(sorted((*tokenized.bad, *refused), key=lambda row: row.line)))


def check_readable(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, shape: ModelShape) -> None:
    """Refuse a prompt with tokens that the model has no embedding for.

    Raises:
        Refused: it has some.
    """
    if ids and not _has_embedding(max(ids), shape):
        raise Refused(NO_EMBEDDING, _lacks(max(ids), tokenizer, shape))


def check_answers(prompts: Sequence[Prompt], max_new_tokens: int, shape: ModelShape) -> None:
    """Raise a UserError where a prompt and the longest answer to it have more tokens than the model has positions."""
    if shape.positions is None or not prompts:
        return
    longest = max(prompts, key=lambda prompt: len(prompt.ids))
    room = shape.positions - len(longest.ids)
    if max_new_tokens <= room:
        return
    beyond = sum(len(prompt.ids) + max_new_tokens > shape.positions for prompt in prompts)
    lower = f"Set generation.max_new_tokens to {room} or less" if room > 0 else ""
    leave = (
        f"leave out the {beyond} longest prompts" if beyond > 1 else f"leave out the row {longest.prompt_id}"
    )
    raise UserError(
        f"generation.max_new_tokens is {max_new_tokens} and the longest prompt ({longest.prompt_id}) has "
        f"{len(longest.ids)} tokens, but the model in {shape.folder} has {shape.positions} positions for both. "
        f"{f'{lower}, or {leave}' if lower else leave.capitalize()}."
    )


def _may_lack(tokenizer: PreTrainedTokenizerBase, shape: ModelShape) -> bool:
    return not _has_embedding(max(tokenizer.get_vocab().values()), shape)


def _has_embedding(token: int, shape: ModelShape) -> bool:
    return shape.vocabulary is None or token < shape.vocabulary


def _lacks(token: int, tokenizer: PreTrainedTokenizerBase, shape: ModelShape) -> str:
    text = tokenizer.convert_ids_to_tokens(token)
    return f"{text!r} has the id {token}, the model has {shape.vocabulary} embeddings"


def _cause(tokens: Iterable[int], tokenizer: PreTrainedTokenizerBase) -> str:
    if all(token in tokenizer.added_tokens_decoder for token in tokens):
        return (
            "Tokens were added to the tokenizer, and the model's embeddings were not resized for them. Give the model "
            "that was trained with these tokens, or the tokenizer and chat template that belong to this model."
        )
    return (
        "The tokenizer and the model do not belong together. Put the tokenizer that the model was trained with into "
        "the model's folder."
    )
