"""Answers of the base to any prompts, several to each, sampled once and kept. Knows nothing of scores or pairs.

Batches are fixed groups of prompts, and the noise is keyed by prompt and number, so that an interrupted run repeats
whole batches and gets the same answers, and more answers can join those that are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from stratalign.generation import Answer, AnswerLimit, GenerationSettings, Prompt, answer, batches
from stratalign.models import base_files, load_model
from stratalign.pipeline.execution import begin_execution, note_out_of_memory, resolve_execution
from stratalign.pipeline.fingerprints import add_fingerprints, check_fresh
from stratalign.recipe import Recipe
from stratalign.records import (
    SAMPLED,
    Progress,
    Response,
    StudyFolder,
    append_jsonl,
    digest,
    keep_jsonl,
    read_jsonl,
)

BASE = "base"
"""The run that all answers are of."""


def sample_answers(
    recipe: Recipe,
    work: StudyFolder,
    prompts: Sequence[Prompt],
    stop: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    progress: Progress,
) -> list[Response]:
    """`pairs.answers` answers to every prompt, in the order of the prompts. Done: a batch whose answers are all there.

    Each has the prompt id `<prompt>#<number>`.

    Raises:
        UserError: what lies in the folder was sampled otherwise.
    """
    settings = recipe.pairs
    generation = recipe.generation.model_copy(update={"temperature": settings.temperature})
    check_fresh(work, (made_from := {"answers": _made_from(recipe, generation, prompts, stop)}))
    add_fingerprints(work, made_from)
    groups = batches(prompts, generation.batch_size)
    wanted = [(number, group) for number in range(settings.answers) for group in groups]
    there = {(row["prompt_id"], row["number"]) for row in read_jsonl(work.responses, SAMPLED)}
    missing = [
        (number, group)
        for number, group in wanted
        if any((prompt.prompt_id, number) not in there for prompt in group)
    ]
    if missing:
        redo = {(prompt.prompt_id, number) for number, group in missing for prompt in group}
        if redo & there:
            keep_jsonl(work.responses, lambda row: (row["prompt_id"], row["number"]) not in redo, SAMPLED)
        _sample(recipe, generation, missing, work, stop, tokenizer, progress, len(wanted))
    found = {
        (row["prompt_id"], row["number"]): row
        for row in read_jsonl(work.responses, SAMPLED)
        if row["number"] < settings.answers
    }
    return [
        _response(prompt, number, found[prompt.prompt_id, number])
        for prompt in prompts
        for number in range(settings.answers)
    ]


def _sample(
    recipe: Recipe,
    generation: GenerationSettings,
    missing: Sequence[tuple[int, Sequence[Prompt]]],
    work: StudyFolder,
    stop: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    progress: Progress,
    total: int,
) -> None:
    execution = resolve_execution(work, recipe.training)
    begin_execution(work, execution)
    loaded = load_model(
        recipe.model, dtype=execution.dtype, device=execution.torch_device, attention=execution.attention
    )
    limit = AnswerLimit(execution.answers, note_out_of_memory(work, progress, "sampling", "answers"))
    for left, (number, group) in zip(range(len(missing) - 1, -1, -1), missing, strict=True):
        key = ("pairs", recipe.pairs.seed, number)

        def make(_base: Sequence[str], prompts: Sequence[Prompt], key: object = key) -> list[Answer]:
            return answer(loaded.model, tokenizer, prompts, generation, key=key, stop=stop)

        answers = limit.make(make, [BASE], group)
        append_jsonl(
            work.responses,
            [
                {
                    "prompt_id": prompt.prompt_id,
                    "number": number,
                    "text": own.text,
                    "tokens": len(own.tokens),
                    "finish": own.finish,
                }
                for prompt, own in zip(group, answers, strict=True)
            ],
        )
        progress("sampling", total - left, total)


def _made_from(
    recipe: Recipe, generation: GenerationSettings, prompts: Sequence[Prompt], stop: Sequence[str]
) -> dict[str, Any]:
    """What the answers depend on; how many there are is not part of it, so that more can join."""
    return {
        "model": recipe.model.model_dump(mode="json"),
        "files": base_files(recipe.model),
        "prompts": digest([[prompt.prompt_id, list(prompt.ids)] for prompt in prompts]),
        "seed": recipe.pairs.seed,
        **generation.model_dump(mode="json", exclude={"seed", "stop"}),
        "stop": list(stop),
    }


def _response(prompt: Prompt, number: int, row: Mapping[str, Any]) -> Response:
    return Response(
        run=BASE,
        prompt_id=f"{prompt.prompt_id}#{number}",
        cluster=prompt.cluster,
        prompt=prompt.text,
        response=row["text"],
        tokens=row["tokens"],
        finish=row["finish"],
        sampling_seed=number,
        kl_to_base=None,
    )
