"""Batches of answers for which memory is too small: halves, remembered, and the one answer that does not fit."""

import pytest
import torch

from stratalign.errors import UserError
from stratalign.generation import AnswerLimit, Prompt

PROMPTS = [Prompt(f"p{i}", "c", "", (1,) * (10 + i)) for i in range(3)]


def maker(most):
    """Makes up to so many answers at once; with what it was called for."""
    calls = []

    def make(runs, prompts):
        calls.append((list(runs), [prompt.prompt_id for prompt in prompts]))
        if len(runs) * len(prompts) > most:
            raise torch.OutOfMemoryError
        return [(run, prompt.prompt_id) for run in runs for prompt in prompts]

    return make, calls


def test_runs_are_halved_first_then_prompts_and_answers_keep_their_order():
    make, calls = maker(2)
    said = []
    limit = AnswerLimit(halved=lambda *sizes: said.append(sizes))
    made = limit.make(make, ["a", "b"], PROMPTS)
    assert made == [(run, f"p{i}") for run in "ab" for i in range(3)]
    # 6 do not fit, so at most 3; 3 do not fit, so at most 1
    assert said == [(6, 3), (3, 1)]
    assert calls[:2] == [(["a", "b"], ["p0", "p1", "p2"]), (["a"], ["p0", "p1", "p2"])]
    assert calls[2:] == [([run], [f"p{i}"]) for run in "ab" for i in range(3)]


def test_the_smaller_size_stays_and_what_was_found_out_before_is_not_tried_again():
    make, calls = maker(3)
    limit = AnswerLimit(3)
    for _ in range(2):
        assert len(limit.make(make, ["a", "b"], PROMPTS)) == 6
    assert calls == 2 * [(["a"], ["p0", "p1", "p2"]), (["b"], ["p0", "p1", "p2"])]


def test_one_answer_that_does_not_fit_is_named_with_its_prompt_and_what_to_lower():
    make, _ = maker(0)
    with pytest.raises(
        UserError, match=r"row 'p0' alone, whose prompt has 10 tokens\. Lower generation\.max_new_"
    ):
        AnswerLimit().make(make, ["a"], PROMPTS)
