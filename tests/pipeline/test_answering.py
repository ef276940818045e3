"""Which answers are made together: after an interruption the same, and never again what is there."""

import pytest
import torch
import yaml

import stratalign as sa
from stratalign.generation import Prompt
from stratalign.pipeline import answering
from stratalign.pipeline.answering import answered, begin_batches, end_batches
from stratalign.pipeline.stages import generating
from stratalign.records import Response, StudyFolder, append_jsonl, read_jsonl
from stratalign.training import Run

GROUPS = [[Prompt(f"p{i}", "c", "", (1,)) for i in group] for group in ([0, 1], [2, 3])]


def runs(*names):
    return [Run(name, None, 0, None) for name in names]


def begun(folder, *names):
    """(runs, prompts) of the batches to be made."""
    found = begin_batches(folder, runs(*names), GROUPS)
    return [
        ([run.id for run in batch.runs], [prompt.prompt_id for prompt in batch.prompts]) for batch in found
    ]


def store(folder, *answers):
    rows = [Response(run, prompt, "c", "What?", "That.", 1, "stop", 0, None) for run, prompt in answers]
    append_jsonl(folder.responses, rows)


def test_every_group_of_prompts_is_answered_by_all_runs_at_once(tmp_path):
    assert begun(StudyFolder(tmp_path), "a", "b") == [(["a", "b"], ["p0", "p1"]), (["a", "b"], ["p2", "p3"])]


def test_a_batch_holds_as_many_runs_as_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "MOST_ANSWERS", 5)
    assert [names for names, _ in begun(StudyFolder(tmp_path), "a", "b", "c")] == [["a", "b"], ["c"]] * 2


def test_an_interrupted_batch_is_repeated_whole_by_the_same_runs_whoever_joins(tmp_path):
    folder = StudyFolder(tmp_path)
    begun(folder, "a", "b")
    store(folder, ("a", "p0"), ("a", "p1"), ("b", "p0"), ("b", "p1"), ("a", "p2"), ("a", "p3"))
    assert begun(folder, "a", "b", "c") == [
        (["a", "b"], ["p2", "p3"]),
        (["c"], ["p0", "p1"]),
        (["c"], ["p2", "p3"]),
    ]
    assert answered(folder) == {("a", "p0"), ("a", "p1"), ("b", "p0"), ("b", "p1")}


def test_runs_that_are_added_to_a_finished_study_answer_by_themselves(tmp_path):
    folder = StudyFolder(tmp_path)
    begun(folder, "a")
    store(folder, *(("a", f"p{i}") for i in range(4)))
    end_batches(folder)
    assert begun(folder, "a", "b", "c") == [(["b", "c"], ["p0", "p1"]), (["b", "c"], ["p2", "p3"])]
    assert len(answered(folder)) == 4


def test_an_answer_that_was_deleted_costs_its_run_and_group_alone(tmp_path):
    folder = StudyFolder(tmp_path)
    store(folder, *((run, f"p{i}") for run in "ab" for i in range(4) if (run, i) != ("b", 2)))
    assert begun(folder, "a", "b") == [(["b"], ["p2", "p3"])]
    assert answered(folder) == {("a", f"p{i}") for i in range(4)} | {("b", "p0"), ("b", "p1")}


def test_a_study_interrupted_in_generation_grows_keeps_its_batches_and_halves_what_does_not_fit(
    recipe, tmp_path, monkeypatch
):
    conditions = {"base": None, "base_again": {"block": "none", "sampling_seed": 1}}  # nothing to train

    def write(**changes):
        file = tmp_path / "recipe.yaml"
        file.write_text(yaml.safe_dump(recipe(conditions=conditions, **changes)))
        return file

    made, stock = [], generating.answer_mixed

    def watched(bank, tokenizer, prompts, keys, *args, **options):
        made.append(set(keys))
        if len(made) == 2:
            raise KeyboardInterrupt
        if len(made) == 5:
            raise torch.OutOfMemoryError
        return stock(bank, tokenizer, prompts, keys, *args, **options)

    monkeypatch.setattr(generating, "answer_mixed", watched)
    out = StudyFolder(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        sa.study(write(), out=out.path)
    first = [row["response"] for row in read_jsonl(out.responses)]
    assert len(first) == 2 * 4
    sa.study(write(seeds=[0, 1]), out=out.path)
    old, new = {"base@0", "base_again@0"}, {"base@1", "base_again@1"}
    assert made == [{*conditions}, {*conditions}, old, new, new, {"base@1"}, {"base_again@1"}]
    rows = list(read_jsonl(out.responses))
    assert [row["response"] for row in rows[:8]] == first
    assert len({(row["run"], row["prompt_id"]) for row in rows}) == len(rows) == 4 * 8
    assert not out.batches.exists()
