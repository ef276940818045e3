"""What a store says of rows: a pure read, for tables. Asks nobody, and knows nothing of how judgements come about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stratalign.errors import UserError
from stratalign.judging.keys import Row, judgements_of
from stratalign.judging.protocol import JudgeProtocol
from stratalign.judging.replies import State
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.store import Store
from stratalign.judging.store_file import readable


@dataclass(frozen=True)
class Judgement:
    """One judgement of one row: dimension -> score if `state` is "ok", else None and the reason."""

    row: Row
    repeat: int
    state: State
    scores: dict[str, int] | None
    reason: str | None = None


def models_from(
    store: Path, settings: JudgeSettings, protocol: JudgeProtocol, rows: Sequence[Row]
) -> list[tuple[str | None, int]]:
    """Which models the replies about these rows came from, as the server named them, and how many; most first.

    Every reply counts, whether it was a judgement or not.

    Raises:
        UserError: the settings name no server or no model, or the file is no store.
    """
    if not store.exists():
        return []
    keys = {one.key for one in judgements_of(settings, protocol, rows)}
    with readable(store), Store(store, read_only=True) as kept:
        found = kept.calls.models(list(keys))
    return sorted(found.items(), key=lambda one: (-one[1], one[0] or ""))


def scores_from(
    store: Path, settings: JudgeSettings, protocol: JudgeProtocol, rows: Sequence[Row]
) -> list[Judgement]:
    """Every judgement that the rows ask for, in their order, as the store has it now.

    What it does not have is "pending"; so is everything if there is no store. Nothing else stands in for a score.

    Raises:
        UserError: the settings name no server or no model, or the file is no store.
    """
    asked = list(judgements_of(settings, protocol, rows))
    if not store.exists():
        return [Judgement(rows[one.row], one.repeat, "pending", None) for one in asked]
    keys = list(dict.fromkeys(one.key for one in asked))
    with readable(store), Store(store, read_only=True) as kept:
        standing, scores = kept.standing(keys), kept.scores(keys)
    found = []
    for one in asked:
        known = standing.get(one.key)
        state: State = known.state if known else "pending"
        reason = known.reason if known else None
        # Read one after the other: a judgement that became valid in between is not told as valid without scores.
        if state == "ok" and one.key not in scores:
            state = "pending"
        if state == "ok" and not protocol.allows(scores[one.key]):
            raise UserError(
                f"{store} holds a judgement that no reply can have given: {scores[one.key]!r:.100}. It was changed "
                "from outside. Restore it from a copy, or delete it to judge anew."
            )
        found.append(
            Judgement(
                rows[one.row], one.repeat, state, scores.get(one.key) if state == "ok" else None, reason
            )
        )
    return found
