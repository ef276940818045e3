"""Judges: who scores answers, by which protocol. A judge receives texts and does not know who wrote them."""

from stratalign.judging.rows import score_row
from stratalign.judging.scoring import (
    PROTOCOLS,
    Protocol,
    check_judge,
    describe_judges,
    protocols,
    score_all,
    score_text,
)
from stratalign.judging.settings import JudgeSettings
from stratalign.judging.text import ANSWER_MEASURES, DEMONSTRATION_MEASURES, PAIR_MEASURES

__all__ = [
    "ANSWER_MEASURES",
    "DEMONSTRATION_MEASURES",
    "PAIR_MEASURES",
    "PROTOCOLS",
    "JudgeSettings",
    "Protocol",
    "check_judge",
    "describe_judges",
    "protocols",
    "score_all",
    "score_row",
    "score_text",
]
