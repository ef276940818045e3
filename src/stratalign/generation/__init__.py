"""Answers of every run to the held-out prompts, with sampling noise that all runs share."""

from stratalign.generation.divergence import divergence_from_base
from stratalign.generation.halving import AnswerLimit
from stratalign.generation.local import Answer, Prompt, answer, answer_mixed, batches, special_tokens
from stratalign.generation.noise import gumbel_noise, keyed_choice
from stratalign.generation.settings import GenerationSettings

__all__ = [
    "Answer",
    "AnswerLimit",
    "GenerationSettings",
    "Prompt",
    "answer",
    "answer_mixed",
    "batches",
    "divergence_from_base",
    "gumbel_noise",
    "keyed_choice",
    "special_tokens",
]
