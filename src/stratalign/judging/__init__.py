"""Judges: who scores answers, by which protocol. A judge receives texts and does not know who wrote them."""

from stratalign.judging.kinship import families, kinship_warning
from stratalign.judging.labels import LabelFiles, read_labels, write_label_template
from stratalign.judging.pairwise import against_base, both_orders, orders_agree
from stratalign.judging.protocol import (
    InvalidReply,
    Item,
    JudgeProtocol,
    Message,
    load_protocol,
    packaged_protocols,
)
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
    "InvalidReply",
    "Item",
    "JudgeProtocol",
    "JudgeSettings",
    "LabelFiles",
    "Message",
    "Protocol",
    "against_base",
    "both_orders",
    "check_judge",
    "describe_judges",
    "families",
    "kinship_warning",
    "load_protocol",
    "orders_agree",
    "packaged_protocols",
    "protocols",
    "read_labels",
    "score_all",
    "score_text",
    "write_label_template",
]
