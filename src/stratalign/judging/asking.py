"""Language models as judges of a study: which rows each is asked about, and its judgements as scores.

Knows which answers belong to which run, and nothing of servers (`running`) or of what replies must be (`protocol`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stratalign.errors import UserError
from stratalign.judging.keys import Row, host_of
from stratalign.judging.pairwise import against_base, both_orders
from stratalign.judging.protocol import Item, JudgeProtocol, load_protocol
from stratalign.judging.readings import Judgement, models_from, scores_from
from stratalign.judging.replies import State
from stratalign.judging.settings import JudgeSettings
from stratalign.records import Response, Score, keyed_seed

ANSWER_FIRST, BASE_FIRST = "answer first", "base first"
WORST_FIRST: tuple[State, ...] = ("pending", "failed", "blocked", "truncated", "invalid")


@dataclass(frozen=True)
class ModelJudge:
    """One language model that judges: its settings, its protocol, and the share of the prompts that it is given.

    The first of a study decides; `second` ones are there for agreement alone.
    """

    settings: JudgeSettings
    protocol: JudgeProtocol
    share: float = 1.0
    second: bool = False

    @property
    def name(self) -> str:
        """What the long table of scores calls it."""
        return self.settings.model or ""

    def rows(self, responses: Sequence[Response], base_of: Mapping[str, str]) -> list[Row]:
        """What to ask. `base_of` has every run that is judged, and the run of base that it is paired with.

        A pairwise protocol is asked about every run but base, in both orders; equal texts tie unasked.
        """
        mine = [one for one in responses if one.run in base_of and self._given(one.prompt_id)]
        if self.protocol.kind == "single":
            return [Row(one.run, one.prompt_id, Item(one.prompt, (one.response,))) for one in mine]
        answers = {(one.run, one.prompt_id): one.response for one in mine}
        rows = []
        for one in mine:
            base = answers.get((base_of[one.run], one.prompt_id))
            if base_of[one.run] == one.run or base is None or base == one.response:
                continue
            orders = both_orders(one.prompt, one.response, base)
            rows += [
                Row(one.run, one.prompt_id, item, variant)
                for item, variant in zip(orders, (ANSWER_FIRST, BASE_FIRST), strict=True)
            ]
        return rows

    def scores(
        self,
        responses: Sequence[Response],
        seeds: Mapping[str, int],
        base_of: Mapping[str, str],
        store: Path,
    ) -> list[Score]:
        """One score per judged answer, repeat and dimension, as the store has it now; nothing is asked."""
        judgements = scores_from(store, self.settings, self.protocol, self.rows(responses, base_of))
        if self.protocol.kind == "single":
            found = {
                (one.row.run, one.row.prompt_id, one.repeat): (one.state, one.scores) for one in judgements
            }
        else:
            found = self._paired(responses, base_of, judgements)
        clusters = {one.prompt_id: one.cluster for one in responses}
        return [
            Score(
                prompt_id=prompt_id,
                cluster=clusters[prompt_id],
                run=run,
                seed=seeds[run],
                judge=self.name,
                protocol=self.protocol.id,
                dimension=dimension.name,
                repeat=repeat,
                value=None if values is None else float(values[dimension.name]),
                state=state,
            )
            for (run, prompt_id, repeat), (state, values) in found.items()
            for dimension in self.protocol.dimensions
        ]

    def describe(
        self, responses: Sequence[Response], base_of: Mapping[str, str], store: Path
    ) -> dict[str, Any]:
        """The judge's entry in judges.json; `answered` counts the replies of each model that the server named."""
        answered = models_from(store, self.settings, self.protocol, self.rows(responses, base_of))
        return {
            "judge": self.name,
            "protocol": self.protocol.id,
            "hash": self.protocol.hash,
            "kind": "judge",
            "model": self.name,
            "host": host_of(self.settings),
            "scale": list(self.protocol.scale),
            "anchor": self.protocol.anchor,
            "answered": [{"model": model, "replies": replies} for model, replies in answered],
            **({"second": True, "share": self.share} if self.second else {}),
        }

    def _given(self, prompt_id: str) -> bool:
        """Whether this judge gets a prompt: all answers to it, or none."""
        return self.share >= 1 or keyed_seed("share", prompt_id) < self.share * 2**63

    def _paired(
        self, responses: Sequence[Response], base_of: Mapping[str, str], judgements: Sequence[Judgement]
    ) -> dict[tuple[str, str, int], tuple[State, dict[str, int] | None]]:
        """Both orders of each pair as one reading; base, and answers equal to its, tie with base."""
        tie = {dimension.name: 0 for dimension in self.protocol.dimensions}
        answers = {(one.run, one.prompt_id): one.response for one in responses}
        found: dict[tuple[str, str, int], tuple[State, dict[str, int] | None]] = {}
        for one in responses:
            if one.run in base_of and self._given(one.prompt_id):
                base = answers.get((base_of[one.run], one.prompt_id))
                found[one.run, one.prompt_id, 0] = ("ok", tie) if base == one.response else ("pending", None)
        orders: dict[tuple[str, str, int], dict[str, Judgement]] = {}
        for judged in judgements:
            key = (judged.row.run, judged.row.prompt_id, judged.repeat)
            orders.setdefault(key, {})[judged.row.variant] = judged
        for key, both in orders.items():
            first, second = both.get(ANSWER_FIRST), both.get(BASE_FIRST)
            if first is None or second is None:  # a repeat that was drawn for one order alone
                continue
            if first.scores is not None and second.scores is not None:
                found[key] = ("ok", against_base(first.scores, second.scores))
            else:
                found[key] = (next(s for s in WORST_FIRST if s in (first.state, second.state)), None)
        return found


def model_judges(settings: JudgeSettings) -> list[ModelJudge]:
    """The judge that the settings name, and after it the others that judge a share for agreement.

    Raises:
        UserError: there is no such protocol, no server or model is named, or two judges have one name.
    """
    protocol = load_protocol(settings.protocol)
    others = [
        ModelJudge(other.beside(settings), protocol, other.share, second=True) for other in settings.others
    ]
    judges = [ModelJudge(settings, protocol), *others]
    for judge in judges:
        host_of(judge.settings)
    names = [judge.name for judge in judges]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"Two judges are the model {name!r}, and a table could not tell them apart. Another model in "
                "judge.others shows agreement between judges; judge.repeats shows a judge's with itself."
            )
    return judges
