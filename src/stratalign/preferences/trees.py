"""Token trees: what training reads. A shared prefix once, then one branch for each response.

Pure arithmetic on token ids; knows nothing of tokenizers, texts or models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stratalign.preferences.dialogues import Refused

OnLong = Literal["drop", "truncate"]

ALIKE = "responses are equal as tokens"


@dataclass(frozen=True)
class Branch:
    """Token ids that follow the prefix; those from index `first_label` on are labelled (enter the loss)."""

    ids: tuple[int, ...]
    first_label: int


@dataclass(frozen=True)
class Tree:
    """One training item. A pair has two branches, chosen then rejected; a demonstration has one.

    No token of `prefix` is labelled, and it has at least one, from which the first label is predicted.
    """

    row_id: str
    cluster: str
    prefix: tuple[int, ...]
    branches: tuple[Branch, ...]


def grow(row_id: str, cluster: str, fulls: Sequence[Sequence[int]], starts: Sequence[int]) -> Tree:
    """The tree of full tokenisations, each labelled from its own index in `starts` on.

    The prefix is the longest run of tokens that is common to all and labelled in none; what remains of a
    prompt goes unlabelled into its branch.

    Raises:
        Refused: nothing precedes the labels, or both sides are the same tokens.
    """
    if len(fulls) == 2 and list(fulls[0]) == list(fulls[1]):
        raise Refused(
            ALIKE, "the tokenizer or its chat template makes the same tokens of chosen and rejected"
        )
    length = min(*starts, *(shared(fulls[0], full) for full in fulls))
    if length == 0:
        raise Refused(
            "no token before the response",
            "the tokenizer makes no token of the prompt, or one of the prompt and the start of the response; end the "
            "prompt with a space or a line break, or use a chat template",
        )
    branches = [
        Branch(tuple(full[length:]), start - length) for full, start in zip(fulls, starts, strict=True)
    ]
    return Tree(row_id, cluster, tuple(fulls[0][:length]), tuple(branches))


def fit(tree: Tree, max_length: int | None, on_long: OnLong) -> Tree:
    """The tree, its branches cut at the end if need be, so that prefix and branch have at most `max_length` tokens.

    Raises:
        Refused: it is too long and may not be cut, or cutting would leave a branch without a label, or both branches
            the same.
    """
    longest = len(tree.prefix) + max(len(branch.ids) for branch in tree.branches)
    if max_length is None or longest <= max_length:
        return tree
    detail = f"{longest} tokens, at most {max_length} allowed"
    if on_long == "drop":
        raise Refused("too long", detail)
    room = max(0, max_length - len(tree.prefix))
    if any(branch.first_label >= room for branch in tree.branches):
        raise Refused("too long", f"{detail}; cut there, a branch would have no label")
    branches = tuple(Branch(branch.ids[:room], branch.first_label) for branch in tree.branches)
    if len(branches) == 2 and branches[0] == branches[1]:
        raise Refused(ALIKE, f"{detail}; cut there, chosen and rejected are the same tokens")
    return replace(tree, branches=branches)


def without_rejected(tree: Tree) -> Tree:
    """The tree with its first branch alone: what was chosen, as a demonstration."""
    return replace(tree, branches=tree.branches[:1])


def shared(one: Sequence[object], other: Sequence[object]) -> int:
    """How many items two sequences have in common at their beginning."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length
