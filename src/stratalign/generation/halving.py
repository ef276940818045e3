"""Batches of answers that fit: where memory runs out a batch is halved, and so are those that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from stratalign.engine import fits
from stratalign.errors import UserError
from stratalign.generation.local import Prompt

Made = TypeVar("Made")


class AnswerLimit:
    """How many answers are made at once, by what has fitted so far.

    Args:
        most: answers at once, if an earlier part of the same work has found out; None: as many as a batch has.
        halved: called with the answers that did not fit and with those that are made at once from then on.
    """

    def __init__(
        self, most: int | None = None, halved: Callable[[int, int], None] = lambda _answers, _smaller: None
    ) -> None:
        self.most = most
        self._halved = halved

    def make(
        self,
        make: Callable[[Sequence[str], Sequence[Prompt]], list[Made]],
        runs: Sequence[str],
        prompts: Sequence[Prompt],
    ) -> list[Made]:
        """What `make` gives for these runs and prompts, put together from halves (of the runs, then of the prompts)
        where they are too many.

        Raises:
            UserError: one answer of one run does not fit.
        """
        count = len(runs) * len(prompts)
        if self.most is None or count <= self.most:
            found: list[Made] = []
            if fits(lambda: found.extend(make(runs, prompts))):
                return found
            if count == 1:
                raise UserError(
                    f"Memory ran out on the answer to row {prompts[0].prompt_id!r} alone, whose prompt has "
                    f"{len(prompts[0].ids):,} tokens. Lower generation.max_new_tokens, leave long prompts out, take a "
                    "smaller model, or free memory that other programs hold."
                )
            self.most = count // 2
            self._halved(count, self.most)
        if len(runs) > 1:
            half = len(runs) // 2
            parts = [(runs[:half], prompts), (runs[half:], prompts)]
        else:
            half = len(prompts) // 2
            parts = [(runs, prompts[:half]), (runs, prompts[half:])]
        return [one for own, some in parts for one in self.make(make, own, some)]
