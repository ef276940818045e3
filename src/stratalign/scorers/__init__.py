"""Scorers that people already have: reward models, functions of their own, and tasks of the lm-evaluation-harness."""

from stratalign.scorers.own import own_scorer
from stratalign.scorers.reward import reward_dimensions, reward_scorer
from stratalign.scorers.scorer import Exchange, Scorer, Values
from stratalign.scorers.settings import LM_EVAL, ScorerSettings
from stratalign.scorers.store import score_stored
from stratalign.scorers.tasks import TaskRun, TaskScores, check_tasks, score_tasks

__all__ = [
    "LM_EVAL",
    "Exchange",
    "Scorer",
    "ScorerSettings",
    "TaskRun",
    "TaskScores",
    "Values",
    "check_tasks",
    "own_scorer",
    "reward_dimensions",
    "reward_scorer",
    "score_stored",
    "score_tasks",
]
