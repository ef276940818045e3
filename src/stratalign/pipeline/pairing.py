"""pairs: preferences for an objective that has none, from the base's own answers, scored by whatever can score them.

Answers are sampled once and kept, scores too, so that a run that was interrupted goes on, and another target or weight
costs no sampling. What is written is a source of preferences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from stratalign.errors import UserError, unknown_name
from stratalign.generation import Prompt
from stratalign.judging import check_judge
from stratalign.microworld import NAME, OVERALL, people, requests
from stratalign.models import ModelShape, inspect_model, load_tokenizer
from stratalign.pipeline.asking import ask_judges
from stratalign.pipeline.checks import check_writable
from stratalign.pipeline.execution import resolve_execution
from stratalign.pipeline.limits import check_answers, check_readable, limit_of, turn_end
from stratalign.pipeline.reading import stop_texts, with_template
from stratalign.pipeline.sampling import BASE, sample_answers
from stratalign.pipeline.scoring import Offer, offers, score_answers
from stratalign.pipeline.verbs import Source
from stratalign.preferences import (
    Asked,
    BadRow,
    Choice,
    PairsSettings,
    Refused,
    Scored,
    as_text,
    best_pairs,
    check_bad,
    load_prompts,
    prompt_ids,
)
from stratalign.recipe import Recipe, load_recipe
from stratalign.records import (
    Dimension,
    Progress,
    Response,
    StudyFolder,
    locked,
    refuse_foreign,
    silent,
    write_text,
)


@dataclass(frozen=True)
class PairsMade:
    """What `pairs` wrote. `gaps` has for each dimension the means of chosen and of rejected, in the scores' units;
    `judges` are entries as those of judges.json."""

    file: Path
    target: str
    prompts: int
    answers: int
    usable: int
    """Answers that ended by themselves, say something and are not the same as another."""
    pairs: int
    gaps: Mapping[str, tuple[float, float]]
    judges: Sequence[Mapping[str, Any]] = ()


def pairs(
    recipe: Source,
    changes: Sequence[str] = (),
    out: str | Path | None = None,
    progress: Progress = silent,
) -> PairsMade:
    """Sample answers of the base, score them, and write pairs that differ in the target and little elsewhere.

    A pair is worth its gap in `pairs.target` less `off_target_weight` times its absolute gaps elsewhere; each prompt
    gives the pairs that are worth most, if more than nothing. The recipe's `judge` and `scorers` score.

    Args:
        recipe: a recipe file, or a `Recipe`; reads its model, pairs, judge, scorers, generation, and the prompts of
            preferences.source unless `pairs.prompts` names others.
        changes: `key.path=value` changes to a recipe file.
        out: the file to write, ending in .jsonl; `studies/<name of the recipe file>-pairs.jsonl` if not given. Beside
            it a folder with the ending .making keeps answers and scores.
        progress: told how far sampling and scoring are.

    Raises:
        UserError: no target, or one that nothing scores; prompts that cannot be read; a file that is in the way; or no
            pair comes of the answers.
    """
    read = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    name = "study" if isinstance(recipe, Recipe) else Path(recipe).stem
    file = Path(out) if out is not None else Path("studies") / f"{name}-pairs.jsonl"
    work = StudyFolder(_beside(file))
    aim = _aim(read)
    rows = _prompts(read)
    shape = inspect_model(read.model)
    tokenizer = load_tokenizer(read.model)
    read, _ = with_template(read, rows, tokenizer, resolve_execution(work, read.training).date)
    prompts = _tokenized(rows, tokenizer, read, shape)
    check_answers(prompts, read.generation.max_new_tokens, shape)
    ends_turn = turn_end(rows, tokenizer, read.preferences, shape)
    stop = (*stop_texts(read, rows), *([] if ends_turn is None else [ends_turn]))
    known = {row.row_id: row for row in rows}
    check_judge(read.judge, [prompt.text for prompt in prompts], ())
    with locked(work.path):
        answers = sample_answers(read, work, prompts, stop, tokenizer, progress)
        execution = resolve_execution(work, read.training)
        if read.judge.model in aim.homes.values():
            ask_judges(read.judge, answers, {BASE: BASE}, work.judgements, progress)
        used = read.model_copy(update={"scorers": [one.settings for one in aim.judges if one.settings]})
        scored = score_answers(
            used,
            answers,
            {one.prompt_id: known[one.prompt_id.rpartition("#")[0]] for one in answers},
            {BASE: 0},
            {BASE: BASE},
            work.judgements,
            work.scorers,
            dtype=execution.dtype,
            device=execution.torch_device,
            progress=progress,
        )
        values: dict[str, dict[str, float | None]] = {one.prompt_id: {} for one in answers}
        for score in scored.scores:
            if aim.homes.get(score.dimension) == score.judge:
                values[score.prompt_id][score.dimension] = score.value
        lines, usable = _chosen(prompts, known, answers, values, aim, read.pairs)
        if not lines:
            raise UserError(
                f"No pair came of {len(answers)} answers to {len(prompts)} prompts: {usable} answers could be used, "
                f"and none is better in {aim.target!r} by more than it differs elsewhere. Raise pairs.answers or "
                "pairs.temperature, or lower pairs.min_gap and pairs.off_target_weight."
            )
        write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    gaps = {
        name: (
            fmean(line["scores"]["chosen"][name] for line in lines),
            fmean(line["scores"]["rejected"][name] for line in lines),
        )
        for name in aim.homes
    }
    return PairsMade(file, aim.target, len(prompts), len(answers), usable, len(lines), gaps, scored.judges)


class _Aim(NamedTuple):
    """What pairs are chosen by: `homes` has the judge of each dimension; `sign` is -1 where lower is preferred."""

    target: str
    off_target: tuple[str, ...]
    sign: int
    homes: Mapping[str, str]
    judges: tuple[Offer, ...]


def _aim(recipe: Recipe) -> _Aim:
    """The dimensions that the recipe's `pairs` names, found among everything that can score an answer."""
    settings = recipe.pairs
    every = offers(recipe)
    names = [dimension.name for offer in every for dimension in offer.dimensions]
    if settings.target is None:
        raise UserError(
            "pairs.target is missing: name the dimension that the pairs are to move, such as --set "
            f"pairs.target={names[0]}. Known: {', '.join(names)}."
        )
    home, target = _found("pairs.target", settings.target, every)
    if settings.off_target == "others":
        elsewhere = [
            (home, one)
            for one in home.dimensions
            if OVERALL not in (one.name, target.name) and one.unit == target.unit and one.name != target.name
        ]
    else:
        elsewhere = [_found("pairs.off_target", name, every) for name in dict.fromkeys(settings.off_target)]
    if any(one.name == target.name for _, one in elsewhere):
        raise UserError(f"pairs.off_target names the target {target.name!r} itself. Take it out.")
    prefer = target.better if settings.prefer == "better" else settings.prefer
    if prefer is None:
        raise UserError(
            f"Neither more nor less of {target.name!r} is better, so nothing can be preferred by it. Set pairs.prefer: "
            "higher or pairs.prefer: lower."
        )
    homes = {one.name: offer.name for offer, one in [(home, target), *elsewhere]}
    judges = tuple(offer for offer in every if offer.name in homes.values())
    off_target = tuple(one.name for _, one in elsewhere)
    return _Aim(target.name, off_target, 1 if prefer == "higher" else -1, homes, judges)


def _found(key: str, name: str, every: Sequence[Offer]) -> tuple[Offer, Dimension]:
    """The first judge that has a dimension of this name, in any case of letters."""
    for offer in every:
        for dimension in offer.dimensions:
            if dimension.name.casefold() == name.casefold():
                return offer, dimension
    names = dict.fromkeys(dimension.name for offer in every for dimension in offer.dimensions)
    raise unknown_name(
        f"dimension in {key}",
        name,
        names,
        "Those of `judge` and `scorers` can be named; a function that returns a mapping must say its own in its "
        "attribute `dimensions`.",
    )


def _prompts(recipe: Recipe) -> tuple[Asked, ...]:
    """The prompts to answer: the micro-world's, of a file of their own, or of the preferences."""
    if recipe.pairs.prompts == NAME:
        known = people()
        return tuple(
            Asked(key, one.text, "text", one.person, known[one.person].part)
            for key, one in requests().items()
        )
    settings = recipe.preferences
    if recipe.pairs.prompts is not None:
        settings = settings.model_copy(
            update={"source": recipe.pairs.prompts, "subset": None, "revision": None, "split": "train"}
        )
    rows, bad = load_prompts(settings)
    check_bad(bad, len(rows) + len(bad), settings)
    return rows


def _tokenized(
    rows: Sequence[Asked], tokenizer: PreTrainedTokenizerBase, recipe: Recipe, shape: ModelShape
) -> list[Prompt]:
    """Every prompt's tokens; one that leaves no room for a response counts as a bad row.

    Raises:
        UserError: too many are bad, or all.
    """
    prompts, bad = [], []
    for number, row in enumerate(rows, start=1):
        try:
            ids = prompt_ids(row, tokenizer, recipe.preferences)
            check_readable(ids, tokenizer, shape)
            limit = limit_of(recipe.training.max_length, shape)
            if len(ids) >= limit:
                what = (
                    "training.max_length is"
                    if limit == recipe.training.max_length
                    else "positions of the model:"
                )
                raise Refused("too long", f"{len(ids)} tokens, {what} {limit}")
            prompts.append(Prompt(row.row_id, row.cluster, as_text(row.prompt), tuple(ids)))
        except Refused as refusal:
            bad.append(BadRow(number, row.row_id, refusal.reason, refusal.detail))
    check_bad(bad, len(rows), recipe.preferences)
    return prompts


def _chosen(
    prompts: Sequence[Prompt],
    known: Mapping[str, Asked],
    answers: Sequence[Response],
    values: Mapping[str, Mapping[str, float | None]],
    aim: _Aim,
    settings: PairsSettings,
) -> tuple[list[dict[str, Any]], int]:
    """The lines to write, in the order of the prompts, and how many answers could be used."""
    own: dict[str, list[Response]] = {prompt.prompt_id: [] for prompt in prompts}
    for one in answers:
        own[one.prompt_id.rpartition("#")[0]].append(one)
    usable = {one.prompt_id: one for group in own.values() for one in _usable(group)}
    scales = _scales([values[key] for key in usable], aim, settings)
    lines = []
    for prompt in prompts:
        group = own[prompt.prompt_id]
        scored: list[Scored | None] = [
            _scaled(values[one.prompt_id], scales) if one.prompt_id in usable else None for one in group
        ]
        for pair in best_pairs(
            scored,
            aim.target,
            aim.off_target,
            settings.off_target_weight,
            min_gap=settings.min_gap,
            most=settings.per_prompt,
        ):
            if pair.worth > 0:
                lines.append(_line(known[prompt.prompt_id], group, values, pair, aim))
    return lines, len(usable)


def _usable(group: Sequence[Response]) -> Iterator[Response]:
    """Of the answers to one prompt those that ended by themselves and say something, each text once."""
    seen: set[str] = set()
    for one in group:
        text = one.response.strip()
        if (
            text and text not in seen and one.finish == "stop"
        ):  # one that was cut here is no answer of the model's
            seen.add(text)
            yield one


def _scales(
    values: Sequence[Mapping[str, float | None]], aim: _Aim, settings: PairsSettings
) -> dict[str, float]:
    """What each dimension's values are multiplied by; the target's sign makes more of it the better."""
    scales = {}
    for name in aim.homes:
        spread = 1.0
        if settings.units == "sd":
            spread = pstdev([value for row in values if (value := row.get(name)) is not None] or [0.0]) or 1.0
        scales[name] = (aim.sign if name == aim.target else 1) / spread
    return scales


def _scaled(values: Mapping[str, float | None], scales: Mapping[str, float]) -> Scored | None:
    found = {name: value for name in scales if (value := values.get(name)) is not None}
    return (
        {name: value * scales[name] for name, value in found.items()} if len(found) == len(scales) else None
    )


def _line(
    asked: Asked,
    group: Sequence[Response],
    values: Mapping[str, Mapping[str, float | None]],
    pair: Choice,
    aim: _Aim,
) -> dict[str, Any]:
    chosen, rejected = group[pair.chosen], group[pair.rejected]
    line = {
        "prompt": asked.prompt if isinstance(asked.prompt, str) else list(asked.prompt),
        "chosen": chosen.response,
        "rejected": rejected.response,
        "cluster": asked.cluster,
        "target": aim.target,
        "worth": pair.worth,
        "scores": {
            "chosen": {name: values[chosen.prompt_id][name] for name in aim.homes},
            "rejected": {name: values[rejected.prompt_id][name] for name in aim.homes},
        },
    }
    return line if asked.part is None else line | {"part": asked.part}


def _beside(file: Path) -> Path:
    """The folder that keeps answers and scores.

    Raises:
        UserError: the file cannot be written, or is there and not of our making.
    """
    if file.suffix != ".jsonl":
        raise UserError(f"--out must name a file that ends in .jsonl, got {str(file)!r}.")
    folder = file.with_suffix(".making")
    check_writable(folder)
    refuse_foreign(StudyFolder(folder))
    if file.exists() and not (file.is_file() and StudyFolder(folder).fingerprints.is_file()):
        raise UserError(
            f"{file} exists already and was not made by `stratalign pairs`. Nothing was overwritten; name another file "
            "with --out."
        )
    return folder
