"""Rows as the model sees them: decoded from the very tokens that are trained on and that generation starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stratalign.preferences import Branch, Tree

if TYPE_CHECKING:
    from stratalign.pipeline.planned import Plan


def shown_rows(plan: Plan, count: int) -> list[dict[str, Any]]:
    """The first `count` training rows: what all their responses share, and of each response what is read before its
    labels, and the labels, which alone enter the loss. Texts hold special tokens."""
    lines = {row.row_id: row.line for row in plan.parts.train[:count]}
    return [
        {
            "line": lines[tree.row_id],
            "shared": _decoded(plan, tree.prefix),
            **{
                name: _branch(plan, tree, branch)
                for name, branch in zip(("chosen", "rejected"), tree.branches, strict=False)
            },
        }
        for tree in plan.train_trees[:count]
    ]


def shown_prompts(plan: Plan, count: int) -> list[dict[str, Any]]:
    """The first `count` prompts that the study asks, as generation starts from them."""
    return [
        {"row": prompt.prompt_id, "prompt": _decoded(plan, prompt.ids)} for prompt in plan.prompts[:count]
    ]


def _branch(plan: Plan, tree: Tree, branch: Branch) -> dict[str, Any]:
    """Text before the labels, and of the labels; decoded together, so that a character between two tokens is whole."""
    before = _decoded(plan, tree.prefix)
    unlabelled = _decoded(plan, (*tree.prefix, *branch.ids[: branch.first_label]))
    whole = _decoded(plan, (*tree.prefix, *branch.ids))
    start = len(unlabelled) if whole.startswith(unlabelled) else len(before)
    return {
        "before": whole[len(before) : start],
        "labels": whole[start:],
        "tokens": len(branch.ids) - branch.first_label,
    }


def _decoded(plan: Plan, ids: Sequence[int]) -> str:
    return str(
        plan.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )
