"""Who scores answers: the judge's protocols, and the recipe's scorers beside them; and what judges.json says of all.

The one place where a study and `pairs` ask for scores of texts. Knows nothing of how a value comes about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from stratalign.errors import UserError
from stratalign.judging import (
    ANSWER_MEASURES,
    PROTOCOLS,
    asks_a_model,
    describe_judges,
    families,
    kinship_warning,
    model_judges,
    protocols,
    score_all,
    score_row,
)
from stratalign.models import AdapterBank, read_tokenizer, resolve_folder
from stratalign.preferences import Asked, Preference
from stratalign.recipe import Recipe
from stratalign.records import Dimension, LogProbRecord, Progress, Response, Score, silent
from stratalign.scorers import (
    Exchange,
    Scorer,
    ScorerSettings,
    TaskRun,
    check_tasks,
    own_scorer,
    reward_dimensions,
    reward_scorer,
    score_stored,
    score_tasks,
)


class Scored(NamedTuple):
    """Rows of the long table, and the entries of judges.json; the first is the judge that decides."""

    scores: list[Score]
    judges: list[dict[str, Any]]


class TaskWork(NamedTuple):
    """What tasks need beside answers: the runs, and the base with the adapters of all of them."""

    runs: Sequence[TaskRun]
    load: Callable[[], tuple[AdapterBank, PreTrainedTokenizerBase]]


class Offer(NamedTuple):
    """A judge or scorer of answers, and what it can say of one; `settings` is None for the judge's protocols."""

    name: str
    dimensions: Sequence[Dimension]
    settings: ScorerSettings | None


def check_scorers(recipe: Recipe) -> list[Offer]:
    """Make sure that every scorer of the recipe can be had, as far as can be told without weights.

    Returns:
        The scorers of answers, with their dimensions.

    Raises:
        UserError: a scorer has a protocol's name, or cannot be had.
    """
    found: list[Offer] = []
    for settings in recipe.scorers:
        if settings.called in PROTOCOLS:
            raise UserError(
                f"A scorer may not be called {settings.called!r}, which is a protocol. Give it another `name`."
            )
        if settings.tasks is not None:
            check_tasks(settings)
        elif settings.function is not None:
            declared = own_scorer(settings).dimensions
            found.append(Offer(settings.called, declared or [_undeclared(settings)], settings))
        else:
            found.append(Offer(settings.called, reward_dimensions(settings), settings))
            read_tokenizer(resolve_folder(str(settings.reward), settings.revision))
    return found


def offers(recipe: Recipe) -> list[Offer]:
    """Everything that can score an answer on its own: the judge's protocols, then the scorers.

    Raises:
        UserError: see `check_scorers`; or there is no such protocol.
    """
    judges = [
        Offer(judge.name, judge.protocol.dimensions, None)
        for judge in (model_judges(recipe.judge)[:1] if asks_a_model(recipe.judge) else ())
        if judge.protocol.kind == "single"
    ]
    judges += [
        Offer(name, [one for one in protocol.dimensions if name != "text" or one.name in _OF_ANSWERS], None)
        for name, protocol in protocols(recipe.judge).items()
    ]
    return [*judges, *check_scorers(recipe)]


_OF_ANSWERS = set(ANSWER_MEASURES) - {"kl_to_base"}
"""Text measures of an answer alone; others read log-probabilities that training recorded."""


def _undeclared(settings: ScorerSettings) -> Dimension:
    """What a function without `dimensions` scores, unless it returns a mapping."""
    name = str(settings.function).partition(":")[2]
    return Dimension(name, "", "higher", f"given by the scorer {settings.called}")


def score_answers(
    recipe: Recipe,
    responses: Sequence[Response],
    asked: Mapping[str, Preference | Asked],
    seeds: Mapping[str, int],
    base_of: Mapping[str, str],
    store: Path,
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    logprobs: Sequence[LogProbRecord] = (),
    tasks: TaskWork | None = None,
    progress: Progress = silent,
) -> Scored:
    """The scores of all judges and scorers, in the order of the recipe.

    Args:
        recipe: its `judge` and its `scorers`.
        responses: the answers of all runs.
        asked: what each answer answers, by its prompt id.
        seeds: run -> its seed; runs that are not named here are left out.
        base_of: run -> the run of base that it is paired with, see `score_all`.
        store: the judgements of language models, as far as they have been asked.
        folder: where scorers keep what they have scored.
        dtype: the precision of reward models.
        device: where they run.
        logprobs: held-out log-probabilities, for the measures that read them.
        tasks: what tasks need; without it they are left out.
        progress: told how far each scorer is.

    Raises:
        UserError: see the scorers.
    """
    responses = [one for one in responses if one.run in seeds]
    scores = score_all(recipe.judge, responses, logprobs, seeds, base_of, store)
    judges = describe_judges(recipe.judge, responses, base_of, store)
    exchanges = [
        Exchange(asked[one.prompt_id].prompt, asked[one.prompt_id].kind, one.response) for one in responses
    ]
    for settings in recipe.scorers:
        if settings.tasks is not None:
            if tasks is not None:
                made = score_tasks(settings, tasks.runs, folder, tasks.load, progress)
                scores += made.scores
                judges += made.judges
            continue
        scorer = _scorer(settings, dtype, device)
        values = score_stored(scorer, exchanges, folder, progress)
        scores += [
            score_row(response, seeds[response.run], scorer.name, dimension, value)
            for dimension, column in values.items()
            for response, value in zip(responses, column, strict=True)
        ]
        judges.append(_described(scorer, values))
    return Scored(scores, _deciding_first(judges, recipe.preferences.objective))


def with_warning(judge: dict[str, Any], model: str, model_type: str) -> dict[str, Any]:
    """An entry of judges.json, with a `warning` where a language model judges its own family.

    Args:
        judge: the entry.
        model: the studied model's hub id or folder; of a folder only the last part is said.
        model_type: its architecture, which speaks of the family where the name does not.
    """
    if judge.get("kind") != "judge":
        return judge
    said = Path(model).name if Path(model).is_absolute() or model.count("/") > 1 else model
    studied = said if families(said) else f"{said} ({model_type})"
    warning = kinship_warning(str(judge["model"]), studied)
    return judge if warning is None else {**judge, "warning": warning}


def _scorer(settings: ScorerSettings, dtype: torch.dtype, device: torch.device) -> Scorer:
    if settings.function is not None:
        return own_scorer(settings)
    return reward_scorer(settings, dtype=dtype, device=device)


def _described(scorer: Scorer, names: Iterable[str]) -> dict[str, Any]:
    about = f"given by the scorer {scorer.name}"
    dimensions = scorer.dimensions or tuple(Dimension(name, "", "higher", about) for name in names)
    return {
        "judge": scorer.name,
        "protocol": scorer.name,
        "hash": scorer.hash,
        "kind": "scorer",
        "dimensions": [asdict(dimension) for dimension in dimensions],
    }


def _deciding_first(judges: list[dict[str, Any]], objective: Sequence[str]) -> list[dict[str, Any]]:
    """The judge that has every dimension of the objective in front; the recipe's own where none or it has them.
    Measures of text judge nothing, so they never go before a judge."""
    wanted = {name.casefold() for name in objective}
    for judge in judges:
        if judge["kind"] != "measures" and wanted <= {
            dimension["name"].casefold() for dimension in judge["dimensions"]
        }:
            return [judge, *(other for other in judges if other is not judge)]
    return judges
